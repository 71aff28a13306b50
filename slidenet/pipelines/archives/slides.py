"""Slides of an archive: what was asked for, what was found, and the table made of it."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from slidenet.core.errors import ArchiveError, ManifestError
from slidenet.core.records import SlideRow
from slidenet.core.text import count_of, name_some
from slidenet.stores.csv_writing import csv_text
from slidenet.stores.manifest.slide_ids import check_slide_ids, look_alike_notes, same_on_disk

IDS_PER_QUESTION = 400
"""More names than that are asked for in several questions."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What of an archive is wanted. Kinds narrow each other, names of one kind add up.

    Attributes:
        collections: Collections of IDC, projects of GDC.
        patients: Ids of patients.
        ids: Of files or series, as the archive knows them.
    """

    collections: tuple[str, ...] = ()
    patients: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()

    def in_parts(self) -> "Iterable[Asked]":
        """The same in parts with at most `IDS_PER_QUESTION` of the longer list of names."""
        name = "ids" if len(self.ids) >= len(self.patients) else "patients"
        names: tuple[str, ...] = getattr(self, name)
        for start in range(0, max(len(names), 1), IDS_PER_QUESTION):
            part = names[start : start + IDS_PER_QUESTION]
            yield replace(self, ids=part) if name == "ids" else replace(self, patients=part)


@dataclass(frozen=True, slots=True)
class ArchiveSlide:
    """One slide.

    Attributes:
        slide_id: What it will be called.
        slide_path: Its address, or path of a copy.
        patient_id: Whose it is; "" where nothing says it.
        about: Further columns of the table.
        size_bytes: Of its files together; 0 where not known.
        own_id: The archive's own, which no other slide has.
        names: By which it may have been asked for, of each kind in `Asked`.
    """

    slide_id: str
    slide_path: str
    patient_id: str
    about: Mapping[str, str]
    size_bytes: int
    own_id: str
    names: Mapping[str, frozenset[str]]


@dataclass(frozen=True, slots=True)
class Found:
    """What an archive has of what was asked for.

    Attributes:
        slides: Without an order.
        source: The archive with the release it answered from, or the file.
        lines: What people should know, one line each.
    """

    slides: tuple[ArchiveSlide, ...]
    source: str
    lines: tuple[str, ...] = ()


class Archive(Protocol):
    """A public archive.

    Attributes:
        key: What a row of its lists names a slide by; the API is asked for it.
        example: What to type, for messages.
    """

    key: str
    example: str

    def tidy(self, asked: Asked) -> Asked:
        """What is wanted, in the archive's own spelling."""

    def release(self) -> str:
        """The release that its API answers from."""

    def rows(self, asked: Asked) -> Iterable[Mapping[str, Any]]:
        """What its API says of the slides that are wanted."""

    def read_list(self, path: Path) -> Sequence[Mapping[str, Any]]:
        """What a list that its portal wrote says of slides."""

    def slides(
        self,
        rows: Iterable[Mapping[str, Any]],
        source: str,
        copies: Path | None,
        *,
        allow_missing: bool,
    ) -> Found:
        """The slides that rows are about.

        Args:
            rows: Of the API or of a list, which may say little.
            source: The release or the list.
            copies: Folder with copies; None for addresses.
            allow_missing: Whether slides without a copy are left out.

        Raises:
            ManifestError: Slides without a copy.
            ArchiveError: A row says too little.
        """


@dataclass(frozen=True, slots=True)
class SlideList:
    """The slides as they are written: in order, each with an id of its own.

    Attributes:
        slides: In order of collection, patient and id.
        source: As in `Found`.
        lines: What people should know.
    """

    slides: tuple[ArchiveSlide, ...]
    source: str
    lines: tuple[str, ...] = field(default=())

    def csv(self) -> str:
        """The table: `slide_id`, `slide_path`, `patient_id`, and what else the archive says."""
        header = ("slide_id", "slide_path", "patient_id", *self.slides[0].about)
        rows = [(s.slide_id, s.slide_path, s.patient_id, *s.about.values()) for s in self.slides]
        return csv_text(header, rows)

    def counts(self, column: str) -> str:
        """`CC BY 3.0 (12), CC BY 4.0 (3)`, the most frequent first; "" for an empty column."""
        counted = Counter(slide.about.get(column, "") for slide in self.slides)
        if set(counted) == {""}:
            return ""
        ordered = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
        return name_some((f"{name or 'not said'} ({n:,})" for name, n in ordered), most=8)


def as_number(said: object, source: str) -> float:
    """A size as an archive or a list says it; 0 where it says none.

    Raises:
        ArchiveError: It is no number.
    """
    try:
        found = float(str(said)) if said not in (None, "") else 0.0
    except ValueError:
        found = -1.0
    if not 0 <= found < 1e18:
        raise ArchiveError(f"{source} gives a size of {said!r}", expected="a number")
    return found


def matching(found: Found, asked: Asked) -> Found:
    """Those of the slides that are wanted; a list may hold others."""
    names = {kind: frozenset(getattr(asked, kind)) for kind in ("collections", "patients", "ids")}
    kept = (
        slide
        for slide in found.slides
        if all(not wanted or wanted & slide.names[kind] for kind, wanted in names.items())
    )
    return replace(found, slides=tuple(kept))


def check_all_found(asked: Asked, found: Found, *, allow_missing: bool) -> list[str]:
    """Refuses names for which the archive has no slide; lines about them where that is allowed.

    Raises:
        ArchiveError: It has none at all, or none for some names.
    """
    lines = []
    for kind, noun in (("collections", "collection"), ("patients", "patient"), ("ids", "id")):
        known = frozenset().union(*(slide.names[kind] for slide in found.slides))
        missing = [name for name in getattr(asked, kind) if name not in known]
        if missing:
            named = name_some(map(repr, missing))
            lines.append(f"{found.source} has no slides of {count_of(noun, len(missing))}: {named}")
    if not found.slides or (lines and not allow_missing):
        raise ArchiveError(
            "; ".join(lines) or f"{found.source} has no slide that is all of what was asked for",
            expected="slides of every name",
            remedy="check the names on the archive's portal"
            + ("; --allow-missing goes on without them" if found.slides else ""),
        )
    return lines


def as_list(found: Found) -> SlideList:
    """The slides in order; those that share a name are told apart by the archive's own id.

    Args:
        found: At least one slide, each once.

    Raises:
        ManifestError: A name that cannot be one of a file.
    """
    shared = Counter(same_on_disk(slide.slide_id) for slide in found.slides)
    slides, lines = [], list(found.lines)
    for slide in found.slides:
        if shared[same_on_disk(slide.slide_id)] > 1:
            slide = replace(slide, slide_id=f"{slide.slide_id}--{slide.own_id}")
        slides.append(slide)
    slides.sort(key=lambda s: (s.about.get("collection", ""), s.patient_id, s.slide_id))
    several = sum(number for number in shared.values() if number > 1)
    if several:
        lines.append(
            f"{count_of('slide', several)} share the names of their files, and are called by these "
            "and the ids of the archive"
        )
    rows = [SlideRow(slide.slide_id, slide.slide_path) for slide in slides]
    check_slide_ids(rows, [found.source] * len(rows), error=ManifestError)
    lines += look_alike_notes([slide.slide_id for slide in slides])
    return SlideList(tuple(slides), found.source, tuple(lines))


def copy_of(folders: Sequence[Path], suffix: str = "") -> Path | None:
    """The first file, by name, in the first of the folders that is there.

    Args:
        folders: Where a copy may lie.
        suffix: What its name ends in, in small letters.
    """
    for folder in folders:
        if folder.is_dir():
            names = sorted(n.name for n in folder.iterdir() if n.name.lower().endswith(suffix))
            if names:
                return folder / names[0]
    return None


def check_copies(
    missing: Collection[str], total: int, where: str, allow_missing: bool
) -> list[str]:
    """Refuses slides without a copy; a line about them where that is allowed.

    Args:
        missing: Names of the slides without.
        total: Number of slides.
        where: The place a copy would have.
        allow_missing: Whether some may be missing.

    Raises:
        ManifestError: Slides have no copy.
    """
    if not missing:
        return []
    words = (
        f"{count_of('slide', len(missing))} of {total:,} have no copy: {name_some(sorted(missing))}"
    )
    if allow_missing and len(missing) < total:
        return [f"left out: {words}"]
    raise ManifestError(
        words,
        expected=f"their files in {where}",
        remedy="download them, or leave out --copies, which gives their addresses"
        + ("; --allow-missing leaves them out" if len(missing) < total else ""),
    )

"""`slidenet manifest`: the slides of a public archive as a slides.csv."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from slidenet.core.checks import check_choice
from slidenet.core.errors import ConfigError, ManifestError
from slidenet.core.extras import data_frame
from slidenet.core.text import count_of
from slidenet.pipelines.archives.asking import check_api
from slidenet.pipelines.archives.gdc import API as GDC_API
from slidenet.pipelines.archives.gdc import Gdc, SlideKind
from slidenet.pipelines.archives.idc import API as IDC_API
from slidenet.pipelines.archives.idc import Idc
from slidenet.pipelines.archives.slides import (
    Archive,
    Asked,
    SlideList,
    as_list,
    check_all_found,
    matching,
)
from slidenet.stores.atomic import atomic_path, check_output_folder, output_errors

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class ManifestReport:
    """A list of slides that was written.

    Attributes:
        slides: What stands in it.
        path: The file.
        exit_code: Always 0; a failure raises.
    """

    slides: SlideList
    path: Path
    exit_code: int = 0

    def table(self) -> str:
        """How much it is, of what, under which licences, and what to know."""
        found = self.slides.slides
        patients = {slide.patient_id for slide in found} - {""}
        size = sum(slide.size_bytes for slide in found)
        known = f", {size / 1e9:,.1f} GB" if all(slide.size_bytes for slide in found) else ""
        lines = [
            f"wrote {self.path}: {count_of('slide', len(found))} of "
            f"{count_of('patient', len(patients))}{known}; from {self.slides.source}"
        ]
        for column in ("collection", "slide_kind", "sample_type", "format", "licence", "doi"):
            if column in found[0].about and (counted := self.slides.counts(column)):
                lines.append(f"{column:<12}{counted}")
        if without := sum(not slide.patient_id for slide in found):
            lines.append(
                f"{count_of('slide', without)} without a patient: fill in the column patient_id, "
                "or splits may put a patient on both sides"
            )
        return "\n".join([*lines, *self.slides.lines])

    def to_pandas(self) -> "pandas.DataFrame":
        """One row per slide, with the columns of the file.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        names = ("slide_id", "slide_path", "patient_id")
        rows = [{**{n: getattr(s, n) for n in names}, **s.about} for s in self.slides.slides]
        return data_frame(rows)


def manifest(
    archive: Literal["idc", "gdc"],
    out: str | Path = "slides.csv",
    *,
    collections: Sequence[str] = (),
    patients: Sequence[str] = (),
    ids: Sequence[str] = (),
    portal_file: str | Path | None = None,
    slide_kind: SlideKind = "all",
    copies: str | Path | None = None,
    offline: bool = False,
    allow_missing: bool = False,
    overwrite: bool = False,
    api: str | None = None,
) -> ManifestReport:
    """Write the slides of a public archive as a slides.csv.

    Nothing is downloaded: slides are named by their addresses, which the other verbs read.

    Args:
        archive: idc (Imaging Data Commons) or gdc (Genomic Data Commons, with TCGA and CPTAC).
        out: The table to write.
        collections: Collections of IDC (tcga_luad), projects of GDC (TCGA-LUAD).
        patients: Ids of patients, such as TCGA-05-4244; of GDC also UUIDs of cases.
        ids: Of IDC: SeriesInstanceUIDs, StudyInstanceUIDs, UUIDs of series, or what stands on the
            glass (TCGA-05-4244-01Z-00-DX1); of GDC: UUIDs or names of files.
        portal_file: A list that the archive's portal wrote: a manifest of s5cmd or a CSV of IDC, a
            manifest of GDC. Its slides are wanted, together with `ids`.
        slide_kind: Of GDC: all, diagnostic (FFPE) or tissue (frozen).
        copies: Folder with copies of the files, whose paths are then written: as in the bucket or
            of `idc download`, or of `gdc-client download`.
        offline: Ask nobody: write what `portal_file` says.
        allow_missing: Go on without names that the archive does not have, and without slides that
            have no copy.
        overwrite: Replace a table that is there and says something else.
        api: Address of the archive's API, where it is another one.

    Raises:
        ArchiveError: The archive does not have it, refuses, or has changed.
        ArchiveAwayError: It does not answer.
        ManifestError: A list that cannot be used, slides without a copy, a table in the way.
    """
    check_choice(("idc", "gdc"), archive=archive)
    if slide_kind != "all" and (archive == "idc" or offline):
        raise ConfigError(
            f"slide_kind is {slide_kind!r}" + " beside --offline" * offline,
            expected="it for gdc, which is asked then",
            remedy="leave it out; columns of the table say what a slide is",
        )
    if offline and portal_file is None:
        raise ConfigError("--offline is given without a list", expected="--portal-file FILE, too")
    address = check_api(api or (IDC_API if archive == "idc" else GDC_API))
    holder: Archive = Idc(address) if archive == "idc" else Gdc(address, slide_kind)
    listed = () if portal_file is None else holder.read_list(Path(portal_file))
    names = (row.get(holder.key) or row.get("SeriesInstanceUID", "") for row in listed)
    every_id = tuple(dict.fromkeys((*ids, *names)))
    asked = holder.tidy(Asked(tuple(collections), tuple(patients), every_id))
    if asked == Asked():
        raise ConfigError(
            f"nothing of {archive} is asked for",
            expected="--collections, --patients, --ids or --portal-file",
            remedy=f"name something as its portal does, such as {holder.example}",
        )
    found = holder.slides(
        listed if offline else holder.rows(asked),
        str(portal_file) if offline else holder.release(),
        None if copies is None else Path(copies),
        allow_missing=allow_missing,
    )
    if offline:
        found = matching(found, asked)
    lines = check_all_found(asked, found, allow_missing=allow_missing)
    slides = as_list(replace(found, lines=(*found.lines, *lines)))
    path = Path(out)
    _write(path, slides.csv(), overwrite=overwrite)
    return ManifestReport(slides, path)


def _write(path: Path, text: str, *, overwrite: bool) -> None:
    """Writes the table, unless another one is in its place.

    Raises:
        ManifestError: One is.
        OutputError: The folder cannot be written.
    """
    check_output_folder(path.parent)
    with output_errors(path):
        there = path.read_bytes() if path.exists() else None
    if there == text.encode():
        return
    if there is not None and not overwrite:
        raise ManifestError(
            f"{path} is there already, and says something else",
            expected="a name that is free",
            remedy="give another --out, or --overwrite if nothing was added to it by hand",
        )
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")

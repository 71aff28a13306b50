"""Every slide of a cohort by its header, or a drawn part of them: what there is, what will fail."""

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from slidenet.core.arrays import Float64Array
from slidenet.core.errors import ConfigError
from slidenet.core.records import SlideRow
from slidenet.pipelines.cohort.layout import OutputLayout
from slidenet.pipelines.cohort.runner import LocalRunner
from slidenet.pipelines.planning.headers import Header, HeaderWork, plain_size
from slidenet.pipelines.planning.sampling import choose, expand
from slidenet.pipelines.progress.display import Display
from slidenet.pipelines.progress.gathering import CohortProgress
from slidenet.pipelines.tissue.tiler import Tiler
from slidenet.slides.fingerprint import fingerprint_file

MOST_HEADERS = 2000
"""Of a larger cohort so many headers are opened, unless all are asked for."""

MISSING = "cannot be read"


@dataclass(frozen=True, slots=True, eq=False)
class Survey:
    """What there is.

    Attributes:
        rows: The slides.
        headers: Of those that were opened or are not there at all, by their place in `rows`.
        num_opened: How many were opened.
        duplicates: Groups of slides with the same content, by their ids.
        seconds: How long it took.
        num_bytes: float64 (S,), of each slide; without companions where its header was not opened.
    """

    rows: Sequence[SlideRow]
    headers: Mapping[int, Header]
    num_opened: int
    duplicates: Sequence[Sequence[str]]
    seconds: float
    num_bytes: Float64Array

    @property
    def is_sampled(self) -> bool:
        """Whether some headers were not opened."""
        return len(self.headers) < len(self.rows)

    @property
    def failing(self) -> list[Header]:
        """The slides that are known to fail."""
        return [one for _, one in sorted(self.headers.items()) if one.problem is not None]

    def workable(self) -> list[int]:
        """Places of the slides that are not known to fail."""
        return [
            place
            for place in range(len(self.rows))
            if place not in self.headers or self.headers[place].problem is None
        ]

    def share_failing(self) -> float:
        """Of the headers that were opened, the share of slides that will fail."""
        opened = [one for one in self.headers.values() if one.format or one.problem]
        return sum(one.problem is not None for one in opened) / max(1, len(opened))


def survey(
    rows: Sequence[SlideRow],
    tiler: Tiler,
    display: Display,
    *,
    all_headers: bool = False,
    seed: int = 0,
) -> Survey:
    """Opens the header of each slide in a process of its own, three at a time.

    Args:
        rows: The slides.
        tiler: How they are to be cut.
        display: Shows how far it is.
        all_headers: Open all, however many there are.
        seed: Of the draw where not all are opened.

    Raises:
        ConfigError: There is no slide.
    """
    if not rows:
        raise ConfigError("no slide to plan for", expected="a manifest or folder with slides")
    started = time.monotonic()
    found_sizes = [_size(row) for row in rows]
    headers = {
        place: Header(
            rows[place].slide_id,
            problem=MISSING,
            detail=f"there is no {rows[place].slide_path}",
            remedy="correct the manifest, or copy the slide there",
        )
        for place, size in enumerate(found_sizes)
        if size is None
    }
    sizes = np.array([size or 0.0 for size in found_sizes])
    there = [place for place in range(len(rows)) if place not in headers]
    if len(there) > MOST_HEADERS and not all_headers:
        suffixes = [Path(rows[place].slide_path).suffix.lower() for place in there]
        drawn = choose(suffixes, sizes[there], MOST_HEADERS, seed=seed)
        there = [there[i] for i in drawn]
    place_of = {rows[place].slide_id: place for place in there}
    progress = CohortProgress("plan: headers", "slide", len(there), len(there), display)
    work = HeaderWork(OutputLayout(Path()), tiler)
    try:
        for outcome in LocalRunner().run(work, [rows[place] for place in there], progress):
            place = place_of[outcome.slide_id]
            header = outcome.value or Header(
                outcome.slide_id, problem="fails", detail=outcome.detail
            )
            headers[place] = header
            if header.num_bytes:
                sizes[place] = header.num_bytes
            progress.slide_ended(outcome)
    finally:
        progress.close()
    duplicates = _duplicates(rows, headers)
    seconds = time.monotonic() - started
    return Survey(rows, headers, len(there), duplicates, seconds, sizes)


@dataclass(frozen=True, slots=True, eq=False)
class Workable:
    """The slides that will be worked on, with what is known or estimated of their headers.

    Attributes:
        rows: The slides.
        formats: Of each; that of most slides of its ending where its header was not opened.
        lattice: float64 (S,), tiles that lie wholly inside each slide.
        num_bytes: float64 (S,).
    """

    rows: Sequence[SlideRow]
    formats: Sequence[str]
    lattice: Float64Array
    num_bytes: Float64Array


def workable(found: Survey) -> Workable:
    """What of a cohort can be worked on.

    Raises:
        ConfigError: Nothing can.
    """
    places = found.workable()
    good = [n for n, place in enumerate(places) if place in found.headers]
    if not good:
        reason = f": {found.failing[0].detail}" if found.failing else ""
        raise ConfigError(
            f"none of the {len(found.rows)} slides can be worked on{reason}",
            expected="a slide that can be read, with its microns per pixel",
            remedy=found.failing[0].remedy if found.failing else "",
        )
    of = [found.headers.get(place) for place in places]
    endings = [Path(found.rows[place].slide_path).suffix.lower() for place in places]
    by_ending: dict[str, list[str]] = defaultdict(list)
    for ending, header in zip(endings, of, strict=True):
        if header is not None:
            by_ending[ending].append(header.format)
    opened = [header for header in of if header is not None]
    usual = max({h.format for h in opened}, key=[h.format for h in opened].count)
    formats = [
        header.format if header else max(by_ending[end], key=by_ending[end].count, default=usual)
        for header, end in zip(of, endings, strict=True)
    ]
    sizes = found.num_bytes[places]
    lattices = np.array([header.lattice for header in opened], np.float64)
    lattice = expand(formats, sizes, np.array(good), lattices).each
    return Workable([found.rows[place] for place in places], formats, lattice, sizes)


def _size(row: SlideRow) -> float | None:
    """Bytes of what the manifest names; 0 of a folder; None where nothing is there."""
    path = Path(row.slide_path)
    size = plain_size(path)
    return 0.0 if size is None and path.is_dir() else size


def _duplicates(rows: Sequence[SlideRow], headers: Mapping[int, Header]) -> list[list[str]]:
    """Slides whose files have the same content: of those of one size, the fingerprints."""
    by_size: dict[int, list[int]] = defaultdict(list)
    for place, header in sorted(headers.items()):
        if header.problem is None and Path(rows[place].slide_path).is_file():
            by_size[header.num_bytes].append(place)
    same: dict[str, list[str]] = defaultdict(list)
    for places in by_size.values():
        for place in places if len(places) > 1 else ():
            try:
                found = fingerprint_file(Path(rows[place].slide_path))
            except OSError:  # gone meanwhile: the run will say so
                continue
            same[found].append(rows[place].slide_id)
    return [ids for ids in same.values() if len(ids) > 1]

"""Every slide of a cohort by its header, or a drawn part of them: what there is, what will fail."""

import time
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from slidenet.core.arrays import BoolArray, Float64Array, IntArray
from slidenet.core.errors import ConfigError, ObjectAwayError, ObjectStoreError
from slidenet.core.records import SlideRow
from slidenet.pipelines.cohort.layout import OutputLayout
from slidenet.pipelines.cohort.runner import LocalRunner
from slidenet.pipelines.fleet.settings import FleetSettings
from slidenet.pipelines.objects.staging import StagedWork, stop_fetching
from slidenet.pipelines.planning.headers import Header, HeaderWork, kind_of, plain_size
from slidenet.pipelines.planning.sampling import choose, expand
from slidenet.pipelines.progress.gathering import CohortProgress
from slidenet.pipelines.tissue.tiler import Tiler
from slidenet.slides.fingerprint import fingerprint_file
from slidenet.stores.objects import is_uri
from slidenet.stores.objects.uri import name_of_uri

MOST_HEADERS = 2000
"""Of a larger cohort so many headers are opened, unless all are asked for."""

_ASKING = 16
"""Threads that ask object stores, which take their time to answer."""


@dataclass(frozen=True, slots=True, eq=False)
class Survey:
    """What there is.

    Attributes:
        rows: The slides.
        headers: Of those that were opened or are not there at all, by their place in `rows`.
        num_opened: How many were opened.
        in_stores: How many of the slides are objects, which are fetched before they are opened.
        duplicates: Groups of slides with the same content, by their ids.
        seconds: How long it took.
        num_bytes: float64 (S,), of each slide; where its header was not opened, the companions are
            estimated from slides of the same ending.
    """

    rows: Sequence[SlideRow]
    headers: Mapping[int, Header]
    num_opened: int
    in_stores: int
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

    def expected_failing(self) -> float:
        """About how many of all slides will fail.

        Those that are not there are known of all, the others of the headers that were opened.
        """
        missing = len(self.headers) - self.num_opened
        share = (len(self.failing) - missing) / max(1, self.num_opened)
        return missing + share * (len(self.rows) - missing)


def survey(
    rows: Sequence[SlideRow],
    tiler: Tiler,
    fleet: FleetSettings,
    *,
    all_headers: bool = False,
    most_fetched: int = MOST_HEADERS,
    seed: int = 0,
) -> Survey:
    """Opens the header of each slide in a process of its own, three at a time.

    Args:
        rows: The slides.
        tiler: How they are to be cut.
        fleet: How it is told how far it is; where objects are fetched to.
        all_headers: Open all, however many there are.
        most_fetched: Of a cohort with slides in object stores so many are opened, since each is
            fetched as a whole.
        seed: Of the draw where not all are opened.

    Raises:
        ConfigError: There is no slide.
    """
    if not rows:
        raise ConfigError("no slide to plan for", expected="a manifest or folder with slides")
    started = time.monotonic()
    sizes, headers = _sizes(rows, fleet)
    there = [place for place in range(len(rows)) if place not in headers]
    in_stores = sum(is_uri(row.slide_path) for row in rows)
    most = most_fetched if in_stores else MOST_HEADERS
    if len(there) > most and not all_headers:
        drawn = choose([ending_of(rows[place]) for place in there], sizes[there], most, seed=seed)
        there = [there[i] for i in drawn]
    place_of = {rows[place].slide_id: place for place in there}
    progress = CohortProgress("plan: headers", "slide", len(there), len(there), fleet.display())
    progress.show_part("")
    opened = [rows[place] for place in there]
    plain = sizes.copy()
    work = StagedWork.where_needed(HeaderWork(OutputLayout(Path()), tiler), fleet.objects(), opened)
    try:
        for outcome in LocalRunner().run(work, opened, progress):
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
        stop_fetching()
    if len(headers) < len(rows):
        sound = [place for place in there if headers[place].format] or there
        sizes = with_companions(rows, plain, sizes, sound, headers)
    duplicates = _duplicates(rows, headers)
    seconds = time.monotonic() - started
    return Survey(rows, headers, len(there), in_stores, duplicates, seconds, sizes)


@dataclass(frozen=True, slots=True, eq=False)
class Workable:
    """The slides that will be worked on, with what is known or estimated of their headers.

    Attributes:
        rows: The slides.
        formats: Of each; that of most slides of its ending where its header was not opened.
        lattice: float64 (S,), tiles that lie wholly inside each slide.
        num_bytes: float64 (S,).
        fetched: bool (S,), which are objects.
        at_hand: int64 (K,), those whose header was opened.
    """

    rows: Sequence[SlideRow]
    formats: Sequence[str]
    lattice: Float64Array
    num_bytes: Float64Array
    fetched: BoolArray
    at_hand: IntArray


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
    endings = [ending_of(found.rows[place]) for place in places]
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
    rows = [found.rows[place] for place in places]
    fetched = np.array([is_uri(row.slide_path) for row in rows])
    return Workable(rows, formats, lattice, sizes, fetched, np.array(good, np.int64))


def ending_of(row: SlideRow) -> str:
    """The ending of the name of a slide, lower case."""
    name = name_of_uri(row.slide_path) if is_uri(row.slide_path) else row.slide_path
    return Path(name).suffix.lower()


def _sizes(
    rows: Sequence[SlideRow], fleet: FleetSettings
) -> tuple[Float64Array, dict[int, Header]]:
    """Bytes of what the manifest names, 0 of a folder; headers of what is not there."""
    cache = fleet.objects()

    def ask(place: int) -> float | Header:
        row = rows[place]
        if is_uri(row.slide_path):
            try:
                return float(sum(facts.size for _, facts in cache.parcel(row.slide_path).objects))
            except (ObjectStoreError, ObjectAwayError) as error:
                return Header(
                    row.slide_id,
                    problem=kind_of(error),
                    detail=error.found,
                    remedy=error.remedy,
                )
        path = Path(row.slide_path)
        size = plain_size(path)
        if size is None and not path.is_dir():
            return Header(
                row.slide_id,
                problem="cannot be read",
                detail=f"there is no {row.slide_path}",
                remedy="correct the manifest, or copy the slide there",
            )
        return float(size or 0)

    found = []
    with (
        closing(CohortProgress("plan: sizes", "file", len(rows), 0, fleet.display())) as progress,
        ThreadPoolExecutor(_ASKING, "plan-sizes") as pool,
    ):
        progress.show_part("")
        for one in pool.map(ask, range(len(rows))):
            found.append(one)
            progress.advance(1)
    headers = {place: one for place, one in enumerate(found) if isinstance(one, Header)}
    return np.array([0.0 if isinstance(one, Header) else one for one in found]), headers


def with_companions(
    rows: Sequence[SlideRow],
    plain: Float64Array,
    sizes: Float64Array,
    opened: Sequence[int],
    headers: Collection[int],
) -> Float64Array:
    """Bytes of all slides, from those of the files named and those of slides that were opened.

    Args:
        rows: The slides.
        plain: float64 (S,), of the files named, 0 of a folder.
        sizes: float64 (S,), the same, with companions and in folders where headers were opened.
        opened: Places of those.
        headers: Places of those and of slides that are not there.
    """
    found, known = sizes.copy(), np.zeros(len(rows), np.bool_)
    known[list(opened)] = True
    unknown = np.array([place not in headers for place in range(len(rows))])
    endings = np.array([ending_of(row) for row in rows])
    for ending in set(endings[known]):
        seen, unseen = known & (endings == ending), unknown & (endings == ending)
        named = plain[seen].sum()
        # What a folder holds is not known before it is opened.
        of_folder = sizes[seen].mean()
        found[unseen] = plain[unseen] * (sizes[seen].sum() / named) if named else of_folder
    return found


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

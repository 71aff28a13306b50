"""Tissue and tiles of a few slides, found as `slidenet preprocess` finds them, for all of them."""

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from slidenet.core.arrays import Float64Array, IntArray
from slidenet.core.records import SlideRow
from slidenet.pipelines.begun.reading import reading_of_folder
from slidenet.pipelines.cohort.layout import OutputLayout
from slidenet.pipelines.cohort.progress import CohortTeller
from slidenet.pipelines.cohort.report import RunReport, SlideOutcome
from slidenet.pipelines.cohort.runner import LocalRunner, Runner, SlideWork
from slidenet.pipelines.fleet.settings import FleetSettings
from slidenet.pipelines.planning.sampling import Expanded, choose, expand
from slidenet.pipelines.planning.survey import Workable
from slidenet.pipelines.preprocess import preprocess
from slidenet.pipelines.progress.gathering import CohortProgress
from slidenet.pipelines.settings import PreprocessSettings
from slidenet.pipelines.tissue.segmenter import settings_of_folder


@dataclass(frozen=True, slots=True, eq=False)
class TissueSample:
    """What `preprocess` made of some slides.

    Attributes:
        places: int64 (K,), which of the workable slides.
        report: How each ended.
        tiles: float64 (K,), 0 of a slide that failed.
        slide_s: float64 (K,), seconds of each.
        num_bytes: Of all files made.
        seconds: How long it took.
        layout: Where they lie.
    """

    places: IntArray
    report: RunReport
    tiles: Float64Array
    slide_s: Float64Array
    num_bytes: int
    seconds: float
    layout: OutputLayout

    @property
    def done(self) -> list[int]:
        """Which of the slides have tiles, as indices into `places`."""
        return [n for n, outcome in enumerate(self.report.outcomes) if outcome.is_done]


def tiling_of(
    settings: PreprocessSettings, out: Path | None, cohort: Workable
) -> PreprocessSettings:
    """The settings a run into `out` would have: what that folder was begun with is gone on with."""
    if out is None or not out.is_dir():
        return settings
    layout = OutputLayout(out)
    settings = settings_of_folder(settings, layout, cohort.rows, quiet=True)
    return replace(settings, reading=reading_of_folder(layout, cohort.rows, settings.reading))


class _Shown(Runner):
    """Takes one slide after the other, as steps of a plan and not of `preprocess`."""

    def __init__(self, progress: CohortProgress) -> None:
        self._progress = progress

    def run(
        self, work: SlideWork, rows: Sequence[SlideRow], progress: CohortTeller
    ) -> Iterator[SlideOutcome]:
        """See `Runner`."""
        for outcome in LocalRunner().run(work, rows, self._progress):
            self._progress.slide_ended(outcome)
            yield outcome


def quiet(fleet: FleetSettings) -> FleetSettings:
    """All slides that are given, in this process, with the same cache; nothing is shown."""
    return replace(fleet.in_this_process(), shard=None, progress="none")


def find_tissue_of_some(
    cohort: Workable,
    settings: PreprocessSettings,
    folder: Path,
    fleet: FleetSettings,
    *,
    number: int,
    seed: int,
) -> TissueSample:
    """Preprocesses slides of every format and of every size.

    Args:
        cohort: The slides.
        settings: How tissue is found and cut into tiles.
        folder: Where files are made.
        fleet: How it is told how far it is; where objects are fetched to.
        number: How many slides.
        seed: Of the draw.
    """
    started = time.monotonic()
    # Objects that were fetched for their headers are not fetched again.
    of = cohort.at_hand if cohort.fetched.any() else np.arange(len(cohort.rows))
    places = of[choose([cohort.formats[i] for i in of], cohort.lattice[of], number, seed=seed)]
    rows = [cohort.rows[place] for place in places]
    shown = CohortProgress("plan: tissue", "slide", len(rows), len(rows), fleet.display())
    with closing(shown):
        shown.show_part("")
        report = preprocess(rows, folder, settings, fleet=quiet(fleet), runner=_Shown(shown))
    outcomes = report.outcomes
    return TissueSample(
        places,
        report,
        np.array([one.num_tiles or 0 for one in outcomes], np.float64),
        np.array([one.seconds for one in outcomes], np.float64),
        bytes_below(folder),
        time.monotonic() - started,
        OutputLayout(folder),
    )


def expand_tiles(cohort: Workable, sample: TissueSample) -> tuple[Expanded, Float64Array]:
    """Tiles of every slide, and the seconds in which its tissue is found.

    Returns:
        The tiles with their interval, and float64 (S,) seconds.
    """
    tiles = expand(cohort.formats, cohort.lattice, sample.places, sample.tiles, most=cohort.lattice)
    # An overview costs nearly the same of every slide; filters read more where there is more.
    # What the verb does at its end (tables, pages) belongs to slides in equal parts.
    each = sample.slide_s + (sample.seconds - sample.slide_s.sum()) / len(sample.places)
    seconds = expand(cohort.formats, np.ones(len(cohort.rows)), sample.places, each)
    return tiles, seconds.each


def failures(sample: TissueSample) -> list[tuple[str, str]]:
    """Slides of which no tiles could be made, each with why."""
    return [(one.slide_id, one.detail) for one in sample.report.outcomes if not one.is_done]


def bytes_below(*folders: Path) -> int:
    """Bytes of all files in folders and their subfolders."""
    paths: Sequence[Path] = [path for folder in folders for path in folder.rglob("*")]
    return sum(path.stat().st_size for path in paths if path.is_file())

"""Runs one verb over the slides of a cohort: one bad slide never stops the others."""

import sys
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from slidenet.core.errors import SlidenetError
from slidenet.core.records import SlideRow
from slidenet.pipelines.cohort.layout import OutputLayout
from slidenet.pipelines.cohort.report import RunReport, SlideOutcome, utc_now, write_run_report

LOG_INTERVAL_S = 10.0


@dataclass(frozen=True, slots=True)
class Made:
    """What the work on one slide ended with.

    Attributes:
        output: The file made (or found already made).
        detail: One line for the status table.
        num_tiles: Tiles handled, if the verb counts them.
        already: True when the file was there with the same identity and nothing was done.
    """

    output: Path
    detail: str
    num_tiles: int | None = None
    already: bool = False


class Progress:
    """A progress bar over the cohort, in tiles or slides, with rate and time left."""

    def __init__(self, verb: str, unit: str, total: int, *, shown: bool = True) -> None:
        self._verb = verb
        self.unit = unit
        # A log file gets a line now and then, not ten a second.
        self._live = sys.stderr.isatty()
        self._bar = tqdm(
            total=total,
            unit=f" {unit}s",
            desc=verb,
            dynamic_ncols=self._live,
            smoothing=0.1,
            mininterval=0.1 if self._live else LOG_INTERVAL_S,
            maxinterval=LOG_INTERVAL_S,
            disable=total == 0 or not shown,
        )

    def advance(self, count: int, *, done_before: bool = False) -> None:
        """Counts `count` more units; `done_before` keeps them out of the rate."""
        if done_before:
            self._bar.initial += count
        self._bar.update(count)

    def show_slide(self, slide_id: str) -> None:
        """Names the slide being worked on."""
        self._bar.set_description(f"{self._verb} {slide_id}", refresh=self._live)

    def close(self) -> None:
        """Ends the bar."""
        self._bar.set_description(self._verb, refresh=self._live)
        self._bar.close()


SlideWork = Callable[[SlideRow, Progress], Made]


def run_cohort(
    verb: str,
    rows: Sequence[SlideRow],
    work: SlideWork,
    *,
    layout: OutputLayout,
    settings: Iterable[Any],
    unit: str = "slide",
    total: int | None = None,
    record: bool = True,
) -> RunReport:
    """Applies `work` to every slide in order and records how each ended.

    A `SlidenetError` becomes that slide's one-line failure; any other exception is recorded as an
    internal error with its traceback. `run.json` is written at the end, and also when the run is
    interrupted.

    Args:
        verb: Name shown and recorded.
        rows: The slides.
        work: Makes one slide's output; advances the progress bar when `unit` is not "slide".
        layout: Paths of the output folder.
        settings: Settings dataclasses, recorded in the report.
        unit: What the progress bar counts.
        total: How many of them there are; default: the number of slides.
        record: Whether to show progress and write `run.json`; one of several processes that work
            on the same slides does.
    """
    started, clock = utc_now(), time.monotonic()
    merged = {key: value for part in settings for key, value in asdict(part).items()}
    outcomes: list[SlideOutcome] = []
    progress = Progress(verb, unit, len(rows) if total is None else total, shown=record)
    try:
        for row in rows:
            progress.show_slide(row.slide_id)
            outcomes.append(_one_slide(row, work, progress, layout.root))
            if unit == "slide":
                progress.advance(1)
    finally:
        progress.close()
        report = RunReport(verb, merged, started, time.monotonic() - clock, outcomes)
        if record:
            write_run_report(layout.run_report, report)
    return report


def _one_slide(row: SlideRow, work: SlideWork, progress: Progress, root: Path) -> SlideOutcome:
    clock = time.monotonic()
    trace = None
    try:
        made = work(row, progress)
    except SlidenetError as error:
        detail = str(error.with_slide(row.slide_id))
    # The one broad catch of the house: a fault nobody foresaw in one slide must not cost the rest
    # of a cohort. It is recorded in full and the run still ends with a non-zero exit code.
    except Exception as error:
        detail = f"slide {row.slide_id!r}: internal error, {type(error).__name__}: {error}"
        trace = traceback.format_exc()
    else:
        return SlideOutcome(
            row.slide_id,
            "already done" if made.already else "done",
            made.detail,
            num_tiles=made.num_tiles,
            seconds=round(time.monotonic() - clock, 3),
            output=str(made.output.relative_to(root)),
        )
    seconds = round(time.monotonic() - clock, 3)
    return SlideOutcome(
        row.slide_id, "failed", " ".join(detail.split()), seconds=seconds, traceback=trace
    )

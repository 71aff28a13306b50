"""Who works on the slides of a cohort, and how the work on one slide ends.

A verb describes its work on a slide as a `SlideWork`: a picklable object that knows everything but
the slide. A `Runner` applies it to every slide; `LocalRunner` does so in this process, one slide
after the other. Another one (worker processes, a cluster) sends the work to where it is done, calls
`work_on` there, and yields what comes back.
"""

import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

from slidenet.core.errors import SlidenetError
from slidenet.core.records import SlideRow
from slidenet.pipelines.cohort.layout import OutputLayout
from slidenet.pipelines.cohort.progress import Progress, ProgressBar
from slidenet.pipelines.cohort.report import SlideOutcome


@dataclass(frozen=True, slots=True)
class SlideResult:
    """What the work on one slide ended with.

    Attributes:
        output: The file made (or found already made).
        detail: One line for the status table.
        num_tiles: Tiles handled, if the verb counts them.
        already_done: Whether the file was there with the same identity and nothing was done.
        value: What the verb needs beside the file (a prediction).
    """

    output: Path
    detail: str
    num_tiles: int | None = None
    already_done: bool = False
    value: Any = None


class SlideWork(Protocol):
    """The work of one verb on one slide; picklable.

    Attributes:
        unit: What its progress counts.
        layout: Paths of the output folder.
    """

    unit: ClassVar[Literal["slide", "tile"]] = "slide"
    layout: OutputLayout

    def count(self, row: SlideRow) -> int:
        """Units of a slide, for the progress bar."""
        return 1

    def __call__(self, row: SlideRow, progress: Progress) -> SlideResult:
        """Makes the output of one slide; advances `progress` where its unit is not the slide."""


class Runner(Protocol):
    """Applies work to slides."""

    def run(
        self, work: SlideWork, rows: Sequence[SlideRow], progress: ProgressBar
    ) -> Iterator[SlideOutcome]:
        """Yields the outcome of every slide (of `work_on`) when it ends, in any order."""


class LocalRunner(Runner):
    """One slide after the other, in this process."""

    def run(
        self, work: SlideWork, rows: Sequence[SlideRow], progress: ProgressBar
    ) -> Iterator[SlideOutcome]:
        """Yields the outcome of every slide, in order."""
        for row in rows:
            progress.show_slide(row.slide_id)
            yield work_on(row, work, progress)


def work_on(row: SlideRow, work: SlideWork, progress: Progress) -> SlideOutcome:
    """Does the work on one slide; whatever goes wrong with it is an outcome, not an exception.

    A `SlidenetError` becomes the slide's one-line failure; any other exception is recorded as an
    internal error with its traceback.
    """
    clock = time.monotonic()
    trace = None
    try:
        result = work(row, progress)
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
            "already done" if result.already_done else "done",
            result.detail,
            num_tiles=result.num_tiles,
            seconds=round(time.monotonic() - clock, 3),
            output=str(result.output.relative_to(work.layout.root)),
            value=result.value,
        )
    seconds = round(time.monotonic() - clock, 3)
    detail = " ".join(detail.split())
    return SlideOutcome(row.slide_id, "failed", detail, seconds=seconds, traceback=trace)

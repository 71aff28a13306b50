"""Who works on the slides of a cohort, and how the work on one slide ends.

A verb describes its work on a slide as a `SlideWork`: a picklable object that knows everything but
the slide. A `Runner` applies it to every slide; `LocalRunner` does so in this process, one slide
after the other (of work that reads ahead, the next one begins when one has been read). Another one
(worker processes, a cluster) sends the work to where it is done, calls `work_on` there, and yields
what comes back.
"""

import threading
import time
import traceback
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, as_completed, wait
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

from slidenet.core.errors import ClaimedElsewhere, SlidenetError, fault_of
from slidenet.core.records import SlideRow
from slidenet.pipelines.cohort.layout import OutputLayout
from slidenet.pipelines.cohort.progress import CohortTeller, Progress
from slidenet.pipelines.cohort.report import ELSEWHERE, SlideOutcome
from slidenet.slides.isolation import end_all_processes
from slidenet.slides.limits import time_limit
from slidenet.stores.claims import claim


@dataclass(frozen=True, slots=True)
class SlideResult:
    """What the work on one slide ended with.

    Attributes:
        output: The file made (or found already made).
        detail: One line for the status table.
        num_tiles: Tiles handled, if the verb counts them.
        num_unreadable: Tiles that could not be read, if the verb knows.
        already_done: Whether the file was there with the same identity and nothing was done.
        value: What the verb needs beside the file (a prediction).
    """

    output: Path
    detail: str
    num_tiles: int | None = None
    num_unreadable: int | None = None
    already_done: bool = False
    value: Any = None


class SlideWork(Protocol):
    """The work of one verb on one slide; picklable.

    Attributes:
        unit: What its progress counts.
        reads_ahead: Whether it may work on a slide in a thread of its own, and tells its progress
            when the next slide may start.
        layout: Paths of the output folder.
    """

    unit: ClassVar[Literal["slide", "tile"]] = "slide"
    reads_ahead: ClassVar[bool] = False
    layout: OutputLayout

    def count(self, row: SlideRow) -> int:
        """Units of a slide, for the progress bar; may raise as its work does."""
        return 1

    @property
    def device(self) -> str:
        """Where its models lie in this process: cpu, cuda, cuda:0."""
        return "cpu"

    @property
    def comes_back(self) -> bool:
        """Whether slides that other processes hold may be tried again at the end."""
        return True

    def claimed(self, row: SlideRow) -> Path | None:
        """The path to claim for the work on a slide; None where none is needed."""
        return None

    def files_of(self, row: SlideRow) -> Sequence[Path]:
        """What the work on a slide reads and makes in the output folder.

        Of an output in a bucket they are fetched before and published after. What says that the
        slide is done comes last; a name that ends in "*" stands for all that begin so.
        """
        path = self.claimed(row)
        return () if path is None else (path,)

    @property
    def time_limit_s(self) -> float | None:
        """Seconds that the work on one slide may take; None: as many as it needs."""
        return None

    def __call__(self, row: SlideRow, progress: Progress) -> SlideResult:
        """Makes the output of one slide; advances `progress` where its unit is not the slide."""


class Runner(Protocol):
    """Applies work to slides."""

    def run(
        self, work: SlideWork, rows: Sequence[SlideRow], progress: CohortTeller
    ) -> Iterator[SlideOutcome]:
        """Yields the outcome of every slide (of `work_on`) when it ends, in any order."""


SLIDES_AT_ONCE = 3
"""So many slides are open at most: short ones may end in any order before the next may start."""


class LocalRunner(Runner):
    """One slide after the other, in this process.

    Work that reads ahead begins with a slide once the one before has been read, while that one's
    last tiles are still being computed and written.
    """

    def run(
        self, work: SlideWork, rows: Iterable[SlideRow], progress: CohortTeller
    ) -> Iterator[SlideOutcome]:
        """Yields the outcome of every slide when it ends; a row is taken when its turn is."""
        if work.reads_ahead:
            yield from _overlapped(work, rows, progress)
            return
        for row in rows:
            progress.show_slide(row.slide_id)
            yield work_on(row, work, progress)


class _SlideProgress(Progress):
    """What the work on one of several slides tells, from its thread.

    Args:
        bar: Of the cohort.
        interrupted: Set when the work is to stop where it is.

    Attributes:
        may_follow: Done when the next slide may start.
    """

    def __init__(self, bar: CohortTeller, interrupted: threading.Event) -> None:
        self.may_follow: Future[None] = Future()
        self._bar = bar
        self._interrupted = interrupted

    def advance(self, count: int, *, done_before: bool = False) -> None:
        """Counts `count` more units; stops the work where the run was interrupted."""
        if self._interrupted.is_set():
            raise KeyboardInterrupt
        self._bar.advance(count, done_before=done_before)

    def next_slide_may_start(self) -> None:
        """See `Progress`."""
        if not self.may_follow.done():
            self.may_follow.set_result(None)

    def slide_ended(self, _: Future[SlideOutcome]) -> None:
        """Lets the next slide start after one whose work did not say so."""
        self.next_slide_may_start()


def _overlapped(
    work: SlideWork, rows: Iterable[SlideRow], progress: CohortTeller
) -> Iterator[SlideOutcome]:
    """Yields the outcome of every slide when it ends; each is worked on in a thread of its own."""
    interrupted = threading.Event()
    running: set[Future[SlideOutcome]] = set()
    with ThreadPoolExecutor(SLIDES_AT_ONCE, thread_name_prefix="slide") as threads:
        try:
            for row in rows:
                progress.show_slide(row.slide_id)
                told = _SlideProgress(progress, interrupted)
                slide = threads.submit(work_on, row, work, told)
                slide.add_done_callback(told.slide_ended)
                running.add(slide)
                while not told.may_follow.done() or len(running) == SLIDES_AT_ONCE:
                    waited_for: set[Future[Any]] = set(running)
                    if not told.may_follow.done():
                        waited_for.add(told.may_follow)
                    ended = running & wait(waited_for, return_when=FIRST_COMPLETED).done
                    running -= ended
                    yield from [one.result() for one in ended]
            yield from [one.result() for one in as_completed(running)]
        except (KeyboardInterrupt, GeneratorExit):
            end_all_processes()  # one that is kept busy by a damaged slide would keep its thread
            raise
        finally:
            interrupted.set()


def work_on(row: SlideRow, work: SlideWork, progress: Progress) -> SlideOutcome:
    """Does the work on one slide; whatever goes wrong with it is an outcome, not an exception.

    The work is done under a claim (`stores.claims`), so that no two processes make the same file.
    Where another one holds it, the slide is in progress elsewhere, and `held_by` is what was seen
    of the claim. A `SlidenetError`, or a fault of disk or memory, becomes the slide's one-line
    failure; any other exception is recorded as an internal error with its traceback.
    """
    clock = time.monotonic()
    trace = None
    try:
        path = work.claimed(row)
        held: AbstractContextManager[Any] = (
            nullcontext() if path is None else claim(path, slide=row.slide_id)
        )
        with time_limit(work.time_limit_s), held:
            result = work(row, progress)
    except ClaimedElsewhere as error:
        detail = " ".join(str(error.with_slide(row.slide_id)).split())
        seconds = round(time.monotonic() - clock, 3)
        return SlideOutcome(row.slide_id, ELSEWHERE, detail, seconds=seconds, held_by=error.seen)
    except SlidenetError as error:
        detail = str(error.with_slide(row.slide_id))
    # The one broad catch of the house: a fault nobody foresaw in one slide must not cost the rest
    # of a cohort. It is recorded in full and the run still ends with a non-zero exit code.
    except Exception as error:
        fault = fault_of(error)
        if fault is not None:
            detail = str(fault.with_slide(row.slide_id))
        else:
            detail = f"slide {row.slide_id!r}: internal error, {type(error).__name__}: {error}"
            trace = traceback.format_exc()
    else:
        root, output = work.layout.root, result.output
        output = output.relative_to(root) if output.is_relative_to(root) else output
        return SlideOutcome(
            row.slide_id,
            "already done" if result.already_done else "done",
            result.detail,
            num_tiles=result.num_tiles,
            num_unreadable=result.num_unreadable,
            seconds=round(time.monotonic() - clock, 3),
            output=str(output),
            value=result.value,
        )
    seconds = round(time.monotonic() - clock, 3)
    detail = " ".join(detail.split())
    return SlideOutcome(row.slide_id, "failed", detail, seconds=seconds, traceback=trace)

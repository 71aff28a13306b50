"""A process at each GPU, or each group of cores, which together drain one list of slides."""

import pickle
import queue
import tempfile
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from slidenet.core.errors import ConfigError, SlideTimeoutError, UnreadableSlideError, WorkerError
from slidenet.core.records import SlideRow
from slidenet.pipelines.cohort.progress import CohortTeller
from slidenet.pipelines.cohort.report import SlideOutcome
from slidenet.pipelines.cohort.runner import Runner, SlideWork
from slidenet.pipelines.fleet.messages import Advanced, Stop, Take, Unfit, WantsSlide
from slidenet.pipelines.fleet.places import Place
from slidenet.pipelines.fleet.process import WorkerProcess

STOPPING_S = 20.0
"""So long may workers tidy up; schedulers give a job some 30 s."""

OVERDUE_S = 60.0
"""After so long beyond its time a slide is taken for one that hangs where only a kill ends it."""

_LOOK_S = 5.0


class DevicesRunner(Runner):
    """Hands slides to processes, each at its place; one that ends early is replaced.

    A context manager: the processes live until it ends, through all calls of `run`, which are all
    for the same work.

    Args:
        places: Where they work.
        work: What they do.

    Raises:
        ConfigError: The work cannot be sent to another process.
    """

    def __init__(self, places: Sequence[Place], work: SlideWork) -> None:
        self._places = places
        self._work = work
        self._processes: list[WorkerProcess] = []
        self._heard: queue.SimpleQueue[tuple[WorkerProcess, object]] = queue.SimpleQueue()
        self._folder = tempfile.TemporaryDirectory(prefix="slidenet-")
        self._path = Path(self._folder.name) / "work.pickle"
        try:
            with self._path.open("wb") as file:
                pickle.dump(work, file, protocol=5)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            self._folder.cleanup()
            raise ConfigError(
                f"the work cannot be sent to other processes ({error})",
                expected="encoders and readers that another process can import",
                remedy="put them into a module, or leave out --devices",
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            for process in self._processes:
                if process.ready:
                    process.send(Stop())
                else:
                    process.kill()  # it has begun nothing, and would hear only when it has loaded
            until = time.monotonic() + STOPPING_S
            for process in self._processes:
                if not process.wait(until - time.monotonic()):
                    process.kill()
        finally:
            self._folder.cleanup()

    def run(
        self, work: SlideWork, rows: Sequence[SlideRow], progress: CohortTeller
    ) -> Iterator[SlideOutcome]:
        """Yields the outcome of every slide when it ends."""
        assert work is self._work, "the processes have their work"
        waiting, deaths = deque(rows), Counter[str]()
        wanted = min(len(self._places), len(waiting))
        while len(self._processes) < wanted:
            self._start(self._places[len(self._processes)])
        for process in self._processes:
            if process.idle:
                self._answer(process, waiting, progress)
        look = time.monotonic() + _LOOK_S
        while waiting or any(process.at_work for process in self._processes):
            if time.monotonic() > look:
                yield from self._end_overdue()
                look = time.monotonic() + _LOOK_S
            try:
                process, message = self._heard.get(timeout=_LOOK_S)
            except queue.Empty:
                continue
            name = process.place.name
            if isinstance(message, Advanced):
                progress.advance(message.count, done_before=message.done_before, worker=name)
            elif isinstance(message, SlideOutcome):
                process.at_work.pop(message.slide_id, None)
                yield message
            elif isinstance(message, WantsSlide):
                process.ready = True
                self._answer(process, waiting, progress)
            elif isinstance(message, Unfit):
                raise ConfigError(
                    f"the process at {name} cannot do the work ({message.reason})",
                    expected="encoders and readers that another process can import",
                    remedy="put them into a module, or leave out --devices",
                )
            elif message is None:
                yield from self._bury(process, waiting, deaths, progress)

    def _start(self, place: Place) -> None:
        self._processes.append(WorkerProcess(place, self._path, self._heard))

    def _answer(
        self, process: WorkerProcess, waiting: deque[SlideRow], progress: CohortTeller
    ) -> None:
        """Gives a process that asks its next slide."""
        if waiting:
            row = waiting.popleft()
            progress.show_slide(row.slide_id, worker=process.place.name)
            process.give(row, Take(row))
        elif process.at_work:
            process.give(None, Take(None))  # so that it ends those
        else:
            process.idle = True

    def _bury(
        self,
        process: WorkerProcess,
        waiting: deque[SlideRow],
        deaths: Counter[str],
        progress: CohortTeller,
    ) -> Iterator[SlideOutcome]:
        """Tries again what a process that ended was working on, once, at the same place."""
        self._processes.remove(process)
        if not process.ready:
            raise WorkerError(
                f"the process at {process.place.name} ended before it began ({process.ending()})",
                expected="memory for one more copy of the model at each place",
                remedy="give fewer --devices",
            )
        for slide_id, (row, _) in process.at_work.items():
            deaths[slide_id] += 1
            if deaths[slide_id] == 1:
                waiting.appendleft(row)
                continue
            error = UnreadableSlideError(
                f"the process that worked on it ended twice ({process.ending()})",
                expected="a slide that no library crashes on, and enough memory",
                remedy="run this slide alone, without --devices, to see why",
                slide=slide_id,
            )
            yield SlideOutcome(slide_id, "failed", str(error))
        process.at_work.clear()
        if waiting:
            self._start(process.place)
            for other in self._processes:
                if other.idle:
                    self._answer(other, waiting, progress)

    def _end_overdue(self) -> Iterator[SlideOutcome]:
        """Kills processes that hang in a slide; others that they were working on begin again."""
        limit = self._work.time_limit_s
        if limit is None:
            return
        for process in self._processes:
            late = [
                slide_id
                for slide_id, (_, since) in process.at_work.items()
                if time.monotonic() - since > limit + OVERDUE_S
            ]
            for slide_id in late:
                process.at_work.pop(slide_id)
                process.kill()
                error = SlideTimeoutError(
                    f"the work on it took more than {limit:g} s, and its process had to be killed",
                    expected="an end within --slide-timeout",
                    remedy="see whether disk and GPU answer, or raise --slide-timeout",
                    slide=slide_id,
                )
                yield SlideOutcome(slide_id, "failed", str(error), seconds=limit + OVERDUE_S)

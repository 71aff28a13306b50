"""Workers in other processes drain one list of slides: who gets which, and what if one ends."""

import queue
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self

from slidenet.core.errors import ConfigError, SlideTimeoutError, UnreadableSlideError
from slidenet.core.records import SlideRow
from slidenet.pipelines.cohort.progress import CohortTeller
from slidenet.pipelines.cohort.report import SlideOutcome
from slidenet.pipelines.cohort.runner import Runner, SlideWork
from slidenet.pipelines.fleet.messages import Advanced, Stop, Take, Unfit, WantsSlide
from slidenet.pipelines.fleet.stragglers import Stragglers

STOPPING_S = 20.0
"""So long may workers tidy up; schedulers give a job some 30 s."""

OVERDUE_S = 60.0
"""After so long beyond its time a slide is taken for one that hangs where only a kill ends it."""

LOOK_S = 5.0

MOST_LOSSES = 5
"""So often a slide is begun again where its worker ended for something else; then it is suspected
of bringing machines down."""


class Worker:
    """A process that does the work, as the process of the command sees it.

    Whoever makes one puts what it says into a queue, as (worker, message), and (worker, None) when
    it has ended.

    Args:
        name: Tells it from the others.

    Attributes:
        name: As given.
        at_work: The slides it has been given, each with when.
        ready: Whether it has its work, and has asked for a slide.
        idle: Whether it asked for a slide and waits.
        blameless: Of one that ended: whether none of its slides can be why, as its machine is gone,
            or it was killed for another slide.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.at_work: dict[str, tuple[SlideRow, float]] = {}
        self.ready = self.idle = self.blameless = False

    def give(self, row: SlideRow | None, message: object) -> None:
        """Answers its question for a slide; `message` says it."""
        self.idle = False
        if row is not None:
            self.at_work[row.slide_id] = (row, time.monotonic())
        self.send(message)

    def send(self, message: object) -> None:
        """Says something; of one that has ended, the end is heard."""
        raise NotImplementedError

    def kill(self) -> None:
        """Ends it now."""
        raise NotImplementedError

    def wait(self, seconds: float) -> bool:
        """Whether it ends in time."""
        raise NotImplementedError

    def ending(self) -> str:
        """How it ended, in a few words."""
        raise NotImplementedError


Heard = queue.SimpleQueue[tuple[Worker, object]]


class WorkersRunner(Runner):
    """Hands slides to workers; one that ends early is replaced.

    A context manager: the workers live until it ends, through all calls of `run`, which are all for
    the same work. Others say how workers are started.

    Args:
        work: What they do.

    Attributes:
        flag: What asked for workers, as it is typed.
        workers: Those that live.
        heard: What they said.
    """

    flag = ""

    def __init__(self, work: SlideWork) -> None:
        self.workers: list[Worker] = []
        self.heard: Heard = queue.SimpleQueue()
        self._work = work

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for worker in self.workers:
            if worker.ready:
                worker.send(Stop())
            else:
                worker.kill()  # it has begun nothing, and would hear only when it has loaded
        until = time.monotonic() + STOPPING_S
        for worker in self.workers:
            if not worker.wait(until - time.monotonic()):
                worker.kill()

    def start_workers(self, count: int) -> None:
        """Starts so many, as far as there are places for them."""
        raise NotImplementedError

    def ended_before_it_began(self, worker: Worker) -> None:
        """Called for one that ended without having asked for a slide; raises where that is fatal.

        Raises:
            WorkerError: The run cannot go on.
        """
        raise NotImplementedError

    def unfit(self, worker: Worker, reason: str) -> None:
        """Called for one that cannot do the work; raises where that is fatal.

        Raises:
            ConfigError: The run cannot go on.
        """
        raise ConfigError(
            f"the process at {worker.name} cannot do the work ({reason})",
            expected="encoders and readers that another process can import",
            remedy=f"put them into a module, or leave out {self.flag}",
        )

    def look(self) -> None:
        """Called every `LOOK_S` while there is work."""

    def run(
        self, work: SlideWork, rows: Sequence[SlideRow], progress: CohortTeller
    ) -> Iterator[SlideOutcome]:
        """Yields the outcome of every slide when it ends."""
        assert work is self._work, "the workers have their work"
        waiting, deaths = deque(rows), Counter[tuple[str, bool]]()
        stragglers = Stragglers(work)
        self._start_for(waiting)
        self._answer_idle(waiting, progress)
        look = time.monotonic() + LOOK_S
        while waiting or any(worker.at_work for worker in self.workers):
            if time.monotonic() > look:
                yield from self._end_overdue()
                self.look()
                self._start_for(waiting)
                for worker in self.workers:
                    stragglers.tell(worker.name, worker.at_work)
                look = time.monotonic() + LOOK_S
            try:
                worker, message = self.heard.get(timeout=LOOK_S)
            except queue.Empty:
                continue
            if isinstance(message, Advanced):
                progress.advance(message.count, done_before=message.done_before, worker=worker.name)
            elif isinstance(message, SlideOutcome):
                row, _ = worker.at_work.pop(message.slide_id, (None, 0.0))
                if row is not None:  # else it was overdue, and has failed
                    stragglers.ended(row, message)
                    yield message
            elif isinstance(message, WantsSlide):
                worker.ready = True
                self._answer(worker, waiting, progress)
            elif isinstance(message, Unfit):
                self.unfit(worker, message.reason)
            elif message is None:
                yield from self._bury(worker, waiting, deaths)
                self._start_for(waiting)
                self._answer_idle(waiting, progress)

    def _start_for(self, waiting: Sequence[SlideRow]) -> None:
        """Starts workers for slides that wait for one."""
        free = sum(worker.idle or not worker.ready for worker in self.workers)
        if len(waiting) > free:
            self.start_workers(len(waiting) - free)

    def _answer_idle(self, waiting: deque[SlideRow], progress: CohortTeller) -> None:
        for worker in self.workers:
            if worker.idle:
                self._answer(worker, waiting, progress)

    def _answer(self, worker: Worker, waiting: deque[SlideRow], progress: CohortTeller) -> None:
        """Gives a worker that asks its next slide."""
        if waiting:
            row = waiting.popleft()
            progress.show_slide(row.slide_id, worker=worker.name)
            worker.give(row, Take(row))
        elif worker.at_work:
            worker.give(None, Take(None))  # so that it ends those
        else:
            worker.idle = True

    def _bury(
        self, worker: Worker, waiting: deque[SlideRow], deaths: Counter[tuple[str, bool]]
    ) -> Iterator[SlideOutcome]:
        """Tries again what a worker that ended was working on: once, if a slide may be why."""
        if worker not in self.workers:
            return
        self.workers.remove(worker)
        if not worker.ready:
            self.ended_before_it_began(worker)
        for slide_id, (row, _) in worker.at_work.items():
            ends = deaths[slide_id, worker.blameless] = deaths[slide_id, worker.blameless] + 1
            if ends <= (MOST_LOSSES if worker.blameless else 1):
                waiting.appendleft(row)
                continue
            times = "twice" if ends == 2 else f"{ends} times"
            error = UnreadableSlideError(
                f"the process that worked on it ended {times} ({worker.ending()})",
                expected="a slide that no library crashes on, and enough memory",
                remedy=f"run this slide alone, without {self.flag}, to see why",
                slide=slide_id,
            )
            yield SlideOutcome(slide_id, "failed", str(error))
        worker.at_work.clear()

    def _end_overdue(self) -> Iterator[SlideOutcome]:
        """Kills workers that hang in a slide; others that they were working on begin again."""
        limit = self._work.time_limit_s
        if limit is None:
            return
        for worker in self.workers:
            late = [
                slide_id
                for slide_id, (_, since) in worker.at_work.items()
                if time.monotonic() - since > limit + OVERDUE_S
            ]
            for slide_id in late:
                worker.at_work.pop(slide_id)
                worker.blameless = True  # the other slides did not keep it
                worker.kill()
                error = SlideTimeoutError(
                    f"the work on it took more than {limit:g} s, and its process had to be killed",
                    expected="an end within --slide-timeout",
                    remedy="see whether disk and GPU answer, or raise --slide-timeout",
                    slide=slide_id,
                )
                yield SlideOutcome(slide_id, "failed", str(error), seconds=limit + OVERDUE_S)

"""How far a run over a cohort is, gathered from all who work on it, and shown now and then."""

import threading

from slidenet.pipelines.cohort.progress import Progress
from slidenet.pipelines.cohort.report import SlideOutcome
from slidenet.pipelines.progress.display import Display
from slidenet.pipelines.progress.meter import Meter
from slidenet.pipelines.progress.states import CohortState, WorkerState


class CohortProgress(Progress):
    """Gathers what all who work on a cohort tell; threads may share it.

    Args:
        verb: What is done.
        unit: What is counted, such as "slide" or "tile".
        total: Units of all.
        num_slides: How many slides there are; 0 where others are counted.
        display: Shows it.
    """

    def __init__(self, verb: str, unit: str, total: int, num_slides: int, display: Display) -> None:
        self._verb, self._unit, self._total = verb, unit, total
        self._num_slides, self._ended, self._failed = num_slides, 0, 0
        self._part = ""
        self._display = display
        self._meter = Meter()
        self._meters: dict[str, Meter] = {}
        self._at_work: dict[str, str] = {}  # slide to worker
        self._lock = threading.RLock()  # of the above, and of the display
        self._closed = threading.Event()
        display.begin(self._state())
        self._ticker = threading.Thread(target=self._tick, name="progress", daemon=True)
        self._ticker.start()

    def advance(self, count: int, *, done_before: bool = False, worker: str = "") -> None:
        """Counts `count` more units; `done_before` keeps them out of the rate."""
        self._meter.count(count, done_before=done_before)
        with self._lock:
            self._meters.setdefault(worker, Meter()).count(count, done_before=done_before)

    def show_part(self, part: str, *, at_once: bool = True) -> None:
        """Says what of the work is done now, in words; at once, or when it is shown next."""
        with self._lock:
            self._part = part
            if at_once:
                self._display.show(self._state())

    def show_slide(self, slide_id: str, *, worker: str = "") -> None:
        """Says that the work on a slide begins."""
        with self._lock:
            self._at_work[slide_id] = worker
            self._display.slide_begins(slide_id, worker)

    def put_back(self, slide_id: str) -> None:
        """Says that another process holds a slide; it may begin again later."""
        with self._lock:
            self._at_work.pop(slide_id, None)
            self._display.slide_put_back(slide_id)

    def slide_ended(self, outcome: SlideOutcome) -> None:
        """Says how the work on a slide ended."""
        with self._lock:
            worker = self._at_work.pop(outcome.slide_id, "")
            self._ended += 1
            self._failed += outcome.status == "failed"
            if self._unit == "slide":
                self.advance(1, done_before=outcome.status == "already done", worker=worker)
            self._display.slide_ended(outcome, worker)

    def close(self) -> None:
        """Ends the display."""
        self._closed.set()
        with self._lock:
            self._display.end(self._state())

    def _tick(self) -> None:
        while not self._closed.wait(self._display.interval_s):
            with self._lock:
                if not self._closed.is_set():
                    self._display.show(self._state())

    def _state(self) -> CohortState:
        of_worker: dict[str, list[str]] = {name: [] for name in sorted(self._meters)}
        for slide, worker in self._at_work.items():
            of_worker.setdefault(worker, []).append(slide)
        workers = [
            WorkerState(name, tuple(slides), self._meters.setdefault(name, Meter()).read())
            for name, slides in of_worker.items()
        ]
        return CohortState(
            self._verb,
            self._unit,
            self._total,
            self._meter.read(),
            self._num_slides,
            self._ended,
            self._failed,
            workers,
            self._part,
        )

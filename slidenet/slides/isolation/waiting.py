"""What waits in the parent for a child process."""

import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from slidenet.core.errors import SlidenetError
from slidenet.slides.isolation.messages import Answer, InPlace, Place
from slidenet.slides.limits import TimeLimit

WATCH_S = 2.0


class Stream:
    """Answers of a stream, and the places it may still write to."""

    def __init__(self) -> None:
        self.answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self.places: deque[Place] = deque()
        self._lock = threading.Lock()
        self._closed = False

    def hand_on(self, answer: Answer, give_back: Callable[[Place], None]) -> None:
        """Queues an answer; where nobody takes it any more, its place is given back."""
        with self._lock:
            place = None if answer.last else _place_of(answer)
            if place is not None:
                self.places.remove(place)
            if answer.last:
                while self.places:
                    give_back(self.places.popleft())
            if not self._closed:
                self.answers.put(answer)
            elif place is not None:
                give_back(place)

    def close(self, give_back: Callable[[Place], None]) -> None:
        """Says that nobody takes answers any more."""
        with self._lock:
            self._closed = True
            while not self.answers.empty():
                place = _place_of(self.answers.get())
                if place is not None:
                    give_back(place)


def _place_of(answer: Answer) -> Place | None:
    """Where the pixels of a batch lie."""
    pixels = getattr(answer.value, "pixels", None)
    return pixels.place if isinstance(pixels, InPlace) else None


@dataclass(frozen=True, slots=True)
class Patience:
    """How long an answer is waited for.

    Attributes:
        stall_s: Wall time that the process may take without using the CPU.
        on_stall: Makes the error where it does.
        time_limit: Of all the work on the slide, if it has one.
        doing: What is waited for, as a noun.
    """

    stall_s: float
    on_stall: Callable[[], SlidenetError]
    time_limit: TimeLimit | None = None
    doing: str = ""


class Watch:
    """Whether a process has long neither answered nor used the CPU, or its time is over."""

    def __init__(self, pid: int, patience: Patience) -> None:
        self._pid = pid
        self._patience = patience
        self._used: int | None = None
        self._since = 0.0

    @property
    def step_s(self) -> float:
        """How long to wait before the next look."""
        limit = self._patience.time_limit
        return min(WATCH_S, limit.left_s or WATCH_S) if limit is not None else WATCH_S

    def reason_to_end_it(self) -> SlidenetError | None:
        """Called now and then while waiting."""
        patience = self._patience
        if patience.time_limit is not None and not patience.time_limit.left_s:
            return patience.time_limit.error(patience.doing)
        used = self._cpu_ticks()
        if used is None or used != self._used:
            self._used, self._since = used, time.monotonic()
        stalled = time.monotonic() - self._since > patience.stall_s
        return patience.on_stall() if stalled else None

    def _cpu_ticks(self) -> int | None:
        """CPU time used, in ticks of the clock; None where the system does not say."""
        try:
            fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return int(fields[11]) + int(fields[12])

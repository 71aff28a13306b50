"""What waits in the parent for a child process."""

import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from slidenet.slides.isolation.messages import Answer, InPlace, Place


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


class Watch:
    """Whether a process has long neither answered nor used the CPU."""

    def __init__(self, pid: int, seconds: float) -> None:
        self._pid = pid
        self._seconds = seconds
        self._used: int | None = None
        self._since = 0.0

    def stalled(self) -> bool:
        """Called now and then while waiting."""
        used = self._cpu_ticks()
        if used is None or used != self._used:
            self._used, self._since = used, time.monotonic()
        return time.monotonic() - self._since > self._seconds

    def _cpu_ticks(self) -> int | None:
        """CPU time used, in ticks of the clock; None where the system does not say."""
        try:
            fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return int(fields[11]) + int(fields[12])

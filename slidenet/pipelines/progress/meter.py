"""How far something is, how fast it goes and how long it will take."""

import math
import threading
import time
from collections import deque
from dataclasses import dataclass

WINDOW_S = 180.0
"""A rate is that of the last minutes: slides differ."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A look at a meter.

    Attributes:
        done: Units that are done, those found done included.
        rate: Units per second of late; 0 where nothing has been done here yet.
    """

    done: int
    rate: float

    def seconds_left(self, total: int) -> float | None:
        """Until all are done at this rate; None where nobody can say."""
        return max(0, total - self.done) / self.rate if self.rate else None


class Meter:
    """Counts units; threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._done = self._made = 0
        self._seen: deque[tuple[float, int]] = deque([(time.monotonic(), 0)])

    def count(self, units: int, *, done_before: bool = False) -> None:
        """Adds units; those that were done before stay out of the rate."""
        with self._lock:
            self._done += units
            self._made += 0 if done_before else units

    def read(self) -> Reading:
        """A look, which the rate of the next ones is measured from."""
        now = time.monotonic()
        with self._lock:
            while len(self._seen) > 1 and self._seen[1][0] < now - WINDOW_S:
                self._seen.popleft()
            since, made = self._seen[0]
            rate = (self._made - made) / (now - since) if now > since else 0.0
            if now - self._seen[-1][0] > WINDOW_S / 100:
                self._seen.append((now, self._made))
            return Reading(self._done, rate)


def rate_in_words(rate: float, unit: str) -> str:
    """`210 tiles/s`, `3.2 slides/min`; "" for none."""
    for name, seconds in (("s", 1), ("min", 60), ("h", 3600)):
        if rate * seconds >= 1:
            return f"{_three_digits(rate * seconds)} {unit}s/{name}"
    return ""


def time_in_words(seconds: float | None) -> str:
    """`about 40 s left`, `about 12 min left`, `about 3.5 h left`; "" where nobody can say."""
    return "" if seconds is None else f"about {span_in_words(seconds)} left"


def span_in_words(seconds: float) -> str:
    """`40 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{math.ceil(seconds)} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"


def _three_digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"

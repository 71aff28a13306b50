"""How much work and memory one slide may cost. A header is a claim; these are the budgets.

Every number leaves room for the largest slides in use and stops what no scanner writes. Readers
take the limits in force when they are made (`current_limits`), so that readers of other packages
need no further argument.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from slidenet.core.checks import check_positive, check_whole
from slidenet.core.errors import SlideTimeoutError

_EASY_BYTES_PER_CPU_S = 2e6
_STORED_BYTES_PER_CPU_S = 1e6
_LONGEST_CPU_S = 3600.0


@dataclass(frozen=True, slots=True)
class ReadingLimits:
    """Budgets of one slide.

    Attributes:
        max_directories: TIFF directories that are looked at, those of SubIFDs included. A slide
            of 40 channels and 8 levels has 320.
        max_index_bytes: Bytes read to know where tiles lie: offsets, byte counts, descriptions and
            tables of all directories. 16 bytes a tile, so that 256 px tiles may cover 10^12 px.
        max_tile_px: Longest side of a tile stored in the file. Scanners write 128 to 4096; one
            tile of 8192 px decodes to 200 MB.
        max_open_cpu_s: CPU seconds until a slide is open and its overview is there; a slide that
            stores more bytes than can be decoded in that time gets more (`overview_cpu_s`).
        max_megapixel_cpu_s: CPU seconds for each megapixel that is asked for, beside what an
            overview may take; JPEG takes 0.004, JPEG 2000 0.04.
        max_stall_s: Seconds of wall time without an answer and without any use of the CPU: the
            disk no longer answers. A tape library takes minutes.
        max_memory_bytes: Memory that opening and reading may take beyond what the process had.

    Raises:
        ConfigError: A limit is not above zero.
    """

    max_directories: int = 4096
    max_index_bytes: int = 256_000_000
    max_tile_px: int = 8192
    max_open_cpu_s: float = 8.0
    max_megapixel_cpu_s: float = 0.25
    max_stall_s: float = 600.0
    max_memory_bytes: int = 900_000_000

    def __post_init__(self) -> None:
        check_whole(
            max_directories=self.max_directories,
            max_index_bytes=self.max_index_bytes,
            max_tile_px=self.max_tile_px,
            max_memory_bytes=self.max_memory_bytes,
        )
        check_positive(
            max_open_cpu_s=self.max_open_cpu_s,
            max_megapixel_cpu_s=self.max_megapixel_cpu_s,
            max_stall_s=self.max_stall_s,
        )

    def overview_cpu_s(self, stored_bytes: int) -> float:
        """CPU seconds for opening and one overview of a slide of so many bytes.

        Lawful work grows with the bytes stored: the slowest codec of slides, JPEG 2000, decodes 2
        to 5 MB of its bytes per second. What can be done in `max_open_cpu_s` at 2 MB per second
        gets no more, the rest 1 s per MB, an hour at most (or `max_open_cpu_s`).
        """
        beyond = stored_bytes - _EASY_BYTES_PER_CPU_S * self.max_open_cpu_s
        growing = self.max_open_cpu_s + max(0.0, beyond) / _STORED_BYTES_PER_CPU_S
        return max(self.max_open_cpu_s, min(growing, _LONGEST_CPU_S))


LIMITS = ReadingLimits()
"""The default."""

_in_force: ContextVar[ReadingLimits] = ContextVar("reading limits", default=LIMITS)


def current_limits() -> ReadingLimits:
    """The limits a slide that is opened now must keep."""
    return _in_force.get()


@contextmanager
def limits_in_force(limits: ReadingLimits) -> Iterator[None]:
    """Slides opened inside keep these limits."""
    token = _in_force.set(limits)
    try:
        yield
    finally:
        _in_force.reset(token)


class TimeLimit:
    """Wall time that the work on one slide may take, from now on.

    Args:
        seconds: How much.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end = time.monotonic() + seconds

    @property
    def left_s(self) -> float:
        """What is left; 0 where nothing is."""
        return max(0.0, self._end - time.monotonic())

    def check(self, doing: str) -> None:
        """Stops the work where the time is over.

        Args:
            doing: What the work is about to do, as a noun.

        Raises:
            SlideTimeoutError: It is.
        """
        if not self.left_s:
            raise self.error(doing)

    def error(self, doing: str) -> SlideTimeoutError:
        """What the user is told; `doing` is what the work was doing, as a noun."""
        return SlideTimeoutError(
            f"the work on it took more than {self._seconds:g} s, and had come to {doing}",
            expected="an end within --slide-timeout",
            remedy="raise --slide-timeout, or see what makes its disk or this machine slow, and "
            "run again: features go on where they were",
        )


_time: ContextVar[TimeLimit | None] = ContextVar("time limit", default=None)


def current_time_limit() -> TimeLimit | None:
    """That of the slide which this thread works on; None where it has none."""
    return _time.get()


@contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """Slides that this thread opens and reads inside must be done with in time.

    Args:
        seconds: From now on, all slides together; None: for ever.
    """
    token = _time.set(None if seconds is None else TimeLimit(seconds))
    try:
        yield
    finally:
        _time.reset(token)

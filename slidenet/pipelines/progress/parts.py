"""How far work is that is no list of slides: its parts, one after the other."""

from types import TracebackType
from typing import Self

from slidenet.pipelines.progress.display import Display
from slidenet.pipelines.progress.gathering import CohortProgress


class Parts:
    """Tells which part of some work is done now; each is told when it begins.

    Parts take different times, so that nobody reckons from them how long the rest will take.

    Args:
        verb: What is done.
        total: How many parts there are.
        display: Shows it.
    """

    def __init__(self, verb: str, total: int, display: Display) -> None:
        self._progress = CohortProgress(verb, "part", total, 0, display)
        self._part = ""

    def begin(self, part: str) -> None:
        """The part before has ended, and this one begins."""
        self._end_part()
        self._part = part
        self._progress.show_part(part)

    def turn(self, number: int, most: int) -> None:
        """A turn of this part begins, of as many at most."""
        self._progress.show_part(f"{self._part}, turn {number} of {most}", at_once=False)

    def _end_part(self) -> None:
        if self._part:
            self._progress.advance(1, done_before=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self._end_part()
            self._progress.show_part("", at_once=False)
        self._progress.close()

"""What the work on a slide tells how far it is, and what a runner tells of many slides."""

from typing import Protocol


class Progress(Protocol):
    """What the work on a slide tells how far it is."""

    def advance(self, count: int, *, done_before: bool = False) -> None:
        """Counts `count` more units; `done_before` keeps them out of the rate."""

    def next_slide_may_start(self) -> None:
        """Tells that nothing is left to be asked of this slide, so that the next one may start."""
        return  # who takes one slide after the other need not know


class CohortTeller(Progress, Protocol):
    """What a runner tells of the slides of a cohort; threads may share it.

    `worker` names the process that does the work, where it is another one.
    """

    def advance(self, count: int, *, done_before: bool = False, worker: str = "") -> None:
        """Counts `count` more units; `done_before` keeps them out of the rate."""

    def show_slide(self, slide_id: str, *, worker: str = "") -> None:
        """Says that the work on a slide begins."""

    def put_back(self, slide_id: str) -> None:
        """Says that another process holds a slide; it may begin again later."""
        return  # who shows no slides has nothing to take back


class SilentProgress(Progress):
    """Tells nobody; for work in another process, where a bar cannot go."""

    def advance(self, count: int, *, done_before: bool = False) -> None:
        """Counts nothing."""

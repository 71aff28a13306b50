"""How far a run over a cohort is, on stderr."""

import sys
import threading
from typing import Protocol

from tqdm import tqdm

LOG_INTERVAL_S = 10.0


class Progress(Protocol):
    """What the work on a slide tells how far it is."""

    def advance(self, count: int, *, done_before: bool = False) -> None:
        """Counts `count` more units; `done_before` keeps them out of the rate."""

    def next_slide_may_start(self) -> None:
        """Tells that nothing is left to be asked of this slide, so that the next one may start."""
        return  # who takes one slide after the other need not know


class SilentProgress(Progress):
    """Tells nobody; for work in another process, where a bar cannot go."""

    def advance(self, count: int, *, done_before: bool = False) -> None:
        """Counts nothing."""


class ProgressBar(Progress):
    """A bar over the cohort, in tiles or slides, with rate and time left; threads may share it.

    Args:
        verb: Shown in front.
        unit: What is counted: "slide" or "tile".
        total: How many there are.
        shown: Whether to show anything.
    """

    def __init__(self, verb: str, unit: str, total: int, *, shown: bool = True) -> None:
        self._verb = verb
        self._one_at_a_time = threading.Lock()
        # A log file gets a line now and then, not ten a second.
        self._live = sys.stderr.isatty()
        self._bar = tqdm(
            total=total,
            unit=f" {unit}s",
            desc=verb,
            dynamic_ncols=self._live,
            smoothing=0.1,
            mininterval=0.1 if self._live else LOG_INTERVAL_S,
            maxinterval=LOG_INTERVAL_S,
            disable=total == 0 or not shown,
        )

    def advance(self, count: int, *, done_before: bool = False) -> None:
        """Counts `count` more units; `done_before` keeps them out of the rate."""
        with self._one_at_a_time:
            if done_before:
                self._bar.initial += count
            self._bar.update(count)

    def show_slide(self, slide_id: str) -> None:
        """Names the slide being worked on; "" names none."""
        self._bar.set_description(f"{self._verb} {slide_id}".rstrip(), refresh=self._live)

    def close(self) -> None:
        """Ends the bar."""
        self.show_slide("")
        self._bar.close()

"""Slides that take far longer than others of their size: seen and told, never done twice at once.

A second process on the same slide would wait for the claim of the first, or take it away; so the
slow one goes on, and who looks at the log knows where.
"""

import logging
import statistics
import time
from collections.abc import Mapping

from slidenet.core.errors import FAULTS, SlidenetError
from slidenet.core.escapes import in_terminal
from slidenet.core.records import SlideRow
from slidenet.pipelines.cohort.report import SlideOutcome
from slidenet.pipelines.cohort.runner import SlideWork
from slidenet.pipelines.progress.meter import span_in_words

_log = logging.getLogger(__name__)

FEWEST_DONE = 5
"""Before so many slides are done nobody knows what is usual."""
TIMES_AS_LONG = 4.0
SHORTEST_S = 120.0
"""Nobody is told of slides that were at work for less."""


class Stragglers:
    """Knows how long slides take for each of their units, and which take much longer.

    Args:
        work: Counts the units of a slide.
    """

    def __init__(self, work: SlideWork) -> None:
        self._work = work
        self._seconds_per_unit: list[float] = []
        self._told: set[str] = set()

    def ended(self, row: SlideRow, outcome: SlideOutcome) -> None:
        """Learns from a slide that was made."""
        if outcome.status == "done":
            self._seconds_per_unit.append(outcome.seconds / self._units(row))

    def tell(self, worker: str, at_work: Mapping[str, tuple[SlideRow, float]]) -> None:
        """Logs a warning, once, of each slide that is at work for far longer than is usual.

        Args:
            worker: Who works on them.
            at_work: The slides, each with when it was begun (`time.monotonic`).
        """
        if len(self._seconds_per_unit) < FEWEST_DONE:
            return
        usual = statistics.median(self._seconds_per_unit)
        for slide_id, (row, since) in at_work.items():
            seconds = time.monotonic() - since
            if seconds < SHORTEST_S or slide_id in self._told:
                continue
            expected = usual * self._units(row)
            if seconds > TIMES_AS_LONG * expected:
                self._told.add(slide_id)
                _log.warning(
                    "slide %s has been at work on %s for %s; a slide of its size takes %s. It goes "
                    "on: look at that machine and its disk",
                    *(in_terminal(slide_id), worker),
                    *(span_in_words(seconds), span_in_words(expected)),
                )

    def _units(self, row: SlideRow) -> int:
        try:
            return max(1, self._work.count(row))
        except (SlidenetError, *FAULTS):
            return 1

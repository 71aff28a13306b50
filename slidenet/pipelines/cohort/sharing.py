"""Slides that other processes hold: passed over at first, and come back to at the end.

Any number of jobs may drain one list. A job goes on with the slides that are free; what is left
then is tried again until it is done, or until it is known that its owner is alive: then the slide
is in progress elsewhere. The claim of an owner that died is taken over (`stores.claims`).
"""

import logging
from collections.abc import Iterator, Sequence
from time import monotonic, sleep

from slidenet.core.records import SlideRow
from slidenet.core.text import count_of
from slidenet.pipelines.cohort.progress import CohortTeller
from slidenet.pipelines.cohort.report import ELSEWHERE, SlideOutcome
from slidenet.pipelines.cohort.runner import Runner, SlideWork
from slidenet.stores import claims

_log = logging.getLogger(__name__)

_FIRST_PAUSE_S, _LAST_PAUSE_S = 0.1, 5.0


def drain(
    runner: Runner, work: SlideWork, rows: Sequence[SlideRow], progress: CohortTeller
) -> Iterator[SlideOutcome]:
    """Yields the last outcome of every slide.

    Args:
        runner: Who does the work.
        work: The work on one slide.
        rows: The slides.
        progress: Of the cohort.
    """
    todo, seen, pause, since = list(rows), dict[str, object](), _FIRST_PAUSE_S, 0.0
    while todo:
        held: dict[str, SlideOutcome] = {}
        for outcome in runner.run(work, todo, progress):
            if outcome.status == ELSEWHERE and work.comes_back:
                held[outcome.slide_id] = outcome
                progress.put_back(outcome.slide_id)
            else:
                yield outcome
        since = since or monotonic()
        if monotonic() - since > claims.HEARTBEAT_S:  # short work has had time to end
            alive = [o for i, o in held.items() if seen.get(i, o.held_by) != o.held_by]
            yield from alive
            for outcome in alive:
                del held[outcome.slide_id]
        for slide_id, outcome in held.items():
            seen.setdefault(slide_id, outcome.held_by)
        todo = [row for row in todo if row.slide_id in held]
        if todo:
            _log.info("waiting for %s of other processes", count_of("slide", len(todo)))
            sleep(pause)
            pause = min(2 * pause, _LAST_PAUSE_S)

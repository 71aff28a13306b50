"""Runs one verb over the slides of a cohort: one bad slide never stops the others."""

import time
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from typing import Any

from slidenet.core.errors import (
    FAULTS,
    ObjectAwayError,
    ObjectStoreError,
    OutputError,
    SlidenetError,
)
from slidenet.core.records import SlideRow
from slidenet.pipelines.cohort.report import RunReport, SlideOutcome, utc_now
from slidenet.pipelines.cohort.run_files import write_run_report
from slidenet.pipelines.cohort.runner import LocalRunner, Runner, SlideWork
from slidenet.pipelines.cohort.sharing import drain
from slidenet.pipelines.fleet.settings import WHOLE, FleetSettings
from slidenet.pipelines.objects.outputs import output_of
from slidenet.pipelines.objects.staging import StagedWork, stop_fetching
from slidenet.pipelines.progress.display import Display
from slidenet.pipelines.progress.gathering import CohortProgress

LOCAL = LocalRunner()


def _units(work: SlideWork, row: SlideRow) -> int:
    """What the bar counts of a slide; 0 where that cannot be told, which its turn will say."""
    try:
        return work.count(row)
    except (SlidenetError, *FAULTS):
        return 0


def run_cohort(
    verb: str,
    rows: Sequence[SlideRow],
    work: SlideWork,
    *,
    settings: Iterable[Any] = (),
    fleet: FleetSettings = WHOLE,
    runner: Runner = LOCAL,
    rank: int = 0,
) -> RunReport:
    """Applies `work` to every slide and records how each ended.

    Slides that other processes hold are come back to at the end (`drain`). `run.json` is written
    then, and also when the run is interrupted.

    Args:
        verb: Name shown and recorded.
        rows: The slides.
        work: Makes one slide's output.
        settings: Settings dataclasses, recorded in the report.
        fleet: Which of them this call takes.
        runner: Who does the work.
        rank: Of the processes that do the same work on the same slides together; the first shows
            progress and writes `run.json`.
    """
    started, clock = utc_now(), time.monotonic()
    merged = {key: value for part in settings for key, value in asdict(part).items()}
    notes, rows = fleet.notes(rows), fleet.share(rows)
    outcomes: list[SlideOutcome] = []
    total = sum(_units(work, row) for row in rows)
    output = output_of(work.layout.root)
    if output is not None:  # a bucket
        output.publish_begun()
        work = output.published(work)
    work = StagedWork.where_needed(work, fleet.objects(), rows)
    display = fleet.display() if rank == 0 else Display()
    progress = CohortProgress(verb, work.unit, total, len(rows), display)
    try:
        with fleet.workers(work, runner) as chosen:
            for outcome in drain(chosen, work, rows, progress):
                outcomes.append(outcome)
                progress.slide_ended(outcome)
    finally:
        progress.close()
        stop_fetching()
        place = {row.slide_id: i for i, row in enumerate(rows)}
        outcomes.sort(key=lambda outcome: place[outcome.slide_id])
        report = RunReport(verb, merged, started, time.monotonic() - clock, outcomes, rank, notes)
        if rank == 0:
            try:
                with output.shared_runs(work.layout) if output else nullcontext():
                    write_run_report(work.layout, report)
            except (OutputError, ObjectStoreError, ObjectAwayError) as error:
                # The slides are what they are, told or not.
                report = replace(report, notes=(*report.notes, f"warning: {error}"))
    return report

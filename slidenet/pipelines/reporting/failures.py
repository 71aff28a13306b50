"""What failed, and what could not be read."""

from collections import Counter
from collections.abc import Sequence

from slidenet.core.text import count_of
from slidenet.pipelines.reporting.cohort_files import CohortFound
from slidenet.visualisation.html import (
    Column,
    Html,
    Section,
    details,
    element,
    listing,
    missing,
    note,
    paragraph,
    table,
)

MOST_ROWS = 500


def failures_section(found: CohortFound, problems: Sequence[str]) -> Section:
    """Every slide that failed, with its reason, and every file that is damaged.

    Args:
        found: What the folder holds.
        problems: What could not be read, of the cohort and of the runs.
    """
    failed = [
        (slide.slide_id, verb, outcome)
        for slide in found.slides.values()
        for verb, outcome in slide.outcomes.items()
        if outcome.status == "failed"
    ]
    parts: list[Html] = []
    if not found.stages:
        parts.append(missing("run.json, which says what failed; every verb on slides writes it."))
    if failed:
        by_verb = Counter(verb for _, verb, _ in failed)
        counts = ", ".join(f"{n:,} in {verb}" for verb, n in by_verb.most_common())
        parts.append(paragraph(f"{count_of('failure', len(failed))}: {counts}."))
        if len(failed) > MOST_ROWS:
            parts.append(note("plain", f"The first {MOST_ROWS:,} are listed; run.json has all."))
        columns = [Column("slide"), Column("verb"), Column("why")]
        rows = [(name, verb, outcome.detail) for name, verb, outcome in failed[:MOST_ROWS]]
        parts.append(table(columns, rows, caption="Slides that failed, and why"))
        unforeseen = [(name, verb, one) for name, verb, one in failed if one.traceback][:20]
        parts += [
            details(
                f"Traceback of {name} in {verb}",
                *(element("p", element("code", line)) for line in one.traceback.splitlines()[-25:]),
            )
            for name, verb, one in unforeseen
        ]
    elif found.stages:
        parts.append(note("good", "No slide failed in any verb that run.json knows."))
    if problems:
        parts.append(note("bad", f"{count_of('file', len(problems))} could not be read."))
        parts.append(details("Which, and why", listing(problems[:MOST_ROWS])))
    return Section("failures", "Failures", parts, "" if found.stages else "no run.json")

"""How alike the methods are on every slide, as one table."""

from collections.abc import Mapping
from pathlib import Path

from slidenet.pipelines.cohort.report import RunReport
from slidenet.pipelines.explaining.work import ExplainWork
from slidenet.stores import read_tile_maps
from slidenet.stores.csv_writing import write_csv

COLUMNS = ("slide_id", "target", "method", "other", "spearman", "top_overlap", "num_top")


def write_agreement_table(work: ExplainWork, report: RunReport) -> Path | None:
    """Writes the agreement of every two methods on every slide that is done.

    Args:
        work: Of the verb.
        report: How it ended.

    Returns:
        The path written; None where no slide is done.
    """
    layout = work.layout.explanations(compare=work.settings.compare)
    slide_ids = [
        member.slide_id
        for outcome in report.outcomes
        if outcome.is_done
        for member in work.opener.members[outcome.slide_id]
    ]
    rows = []
    for slide_id in slide_ids:
        for one in read_tile_maps(layout.maps(slide_id)).maps:
            said = one.details.get("agreement")
            for other, numbers in (said if isinstance(said, Mapping) else {}).items():
                assert isinstance(numbers, Mapping), "as `with_agreement` writes it"
                rows.append(
                    (slide_id, one.target, one.method, other, *(numbers[n] for n in COLUMNS[4:]))
                )
    if not rows:
        return None
    write_csv(layout.agreement_table, COLUMNS, rows)
    return layout.agreement_table

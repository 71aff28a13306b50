"""How alike the methods are on every slide, as one table."""

from collections.abc import Mapping
from pathlib import Path

from slidenet.core.errors import StoreError
from slidenet.core.provenance import cohort_identity
from slidenet.pipelines.cohort.report import RunReport
from slidenet.pipelines.explaining.work import ExplainWork
from slidenet.stores import read_tile_maps
from slidenet.stores.csv_writing import write_csv

COLUMNS = ("slide_id", "target", "method", "other", "spearman", "top_overlap", "num_top")


def write_agreement_table(work: ExplainWork, report: RunReport) -> Path | None:
    """Writes the agreement of every two methods on every slide that is explained alike.

    Also of slides that other jobs and shards have explained in this folder; not of those that are
    left of another model, nor of files that cannot be read, which the call that takes their slides
    makes again.

    Args:
        work: Of the verb.
        report: How it ended.

    Returns:
        The path written; None where no slide is done.
    """
    layout = work.layout.explanations(compare=work.settings.compare)
    done = [outcome.slide_id for outcome in report.outcomes if outcome.is_done]
    if not done:
        return None
    first = layout.maps(work.opener.members[done[0]][0].slide_id)
    wanted = cohort_identity(read_tile_maps(first).identity)
    rows = []
    for path in sorted(first.parent.glob("[!.]*.h5")):
        try:
            maps = read_tile_maps(path)
        except StoreError:
            continue
        if cohort_identity(maps.identity) != wanted:
            continue
        for one in maps.maps:
            said = one.details.get("agreement")
            for other, numbers in (said if isinstance(said, Mapping) else {}).items():
                assert isinstance(numbers, Mapping), "as `with_agreement` writes it"
                alike = (numbers[name] for name in COLUMNS[4:])
                rows.append((maps.slide_id, one.target, one.method, other, *alike))
    write_csv(layout.agreement_table, COLUMNS, rows)
    return layout.agreement_table

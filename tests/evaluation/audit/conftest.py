"""Auditing a generated cohort as `slidenet audit` does."""

import pytest

from slidenet.data.bag_files import find_bag_files
from slidenet.data.splits import read_splits
from slidenet.data.task_from_labels import make_task
from slidenet.evaluation.audit import audit_cohort, read_table_leniently


@pytest.fixture(scope="session")
def audited():
    """Findings of a cohort on disk."""

    def run(paths, **settings):
        table, findings = read_table_leniently(paths.labels)
        task = make_task(table, "binary", ["label"])
        files, splits = find_bag_files(paths.features), read_splits(paths.splits)
        return findings + audit_cohort(table, task, files, splits, **settings)

    return run

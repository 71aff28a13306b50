"""All checks of a cohort, in the order a person would go about it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from slidenet.auditing.cohort import DEFAULT_SETTINGS, AuditSettings, Cohort
from slidenet.auditing.covariate_checks import acquired_covariates, telling_covariates
from slidenet.auditing.duplicate_checks import near_duplicates, same_features, same_slide_files
from slidenet.auditing.file_checks import (
    constant_features,
    mixed_features,
    refused_files,
    rows_and_files,
)
from slidenet.auditing.finding import Finding
from slidenet.auditing.patient_checks import (
    patients_of_two_names,
    similar_ids,
    unknown_patients,
)
from slidenet.auditing.robustness import features_by_site
from slidenet.auditing.shortcut_checks import shortcuts
from slidenet.auditing.split_checks import (
    patients_in_two_splits,
    slides_in_two_splits,
    splits_without_class,
    unknown_slides,
)
from slidenet.auditing.table_checks import (
    contradicting_labels,
    events_named_censored,
    few_patients,
    missing_labels,
    similar_classes,
)
from slidenet.data.labels.table import LabelTable
from slidenet.data.splits.record import Split
from slidenet.stores import FeatureFile, FeatureMemory
from slidenet.tasks import Task

Check = Callable[[Cohort], Iterable[Finding]]
"""One look at a cohort; to add one, write it, list it here and its codes in `finding.CODES`."""

CHECKS: tuple[Check, ...] = (
    missing_labels,
    contradicting_labels,
    few_patients,
    similar_classes,
    events_named_censored,
    unknown_patients,
    similar_ids,
    patients_of_two_names,
    rows_and_files,
    refused_files,
    constant_features,
    mixed_features,
    unknown_slides,
    slides_in_two_splits,
    patients_in_two_splits,
    splits_without_class,
    same_slide_files,
    same_features,
    near_duplicates,
    shortcuts,
    telling_covariates,
    acquired_covariates,
    features_by_site,
)


def audit_cohort(
    table: LabelTable,
    task: Task | None,
    files: Mapping[str, Path | FeatureFile] | None = None,
    splits: Sequence[Split] = (),
    *,
    settings: AuditSettings = DEFAULT_SETTINGS,
    given: Mapping[str, Any] | None = None,
    memory: FeatureMemory | None = None,
) -> list[Finding]:
    """Looks for faults that would make a classifier look better, or worse, than it is.

    Args:
        table: The labels.
        task: What they mean; None to check splits and files only.
        files: The features file of each slide_id, as `find_bag_files` or `open_bag_files` gives it;
            None to leave features out.
        splits: Of the cohort, where there are any yet.
        settings: What is tolerated.
        given: `slide_mpp`, `tile_size_px` and `target_mpp` for `open_features`.
        memory: Keeps the features read, for whoever needs them next; nothing is kept without.

    Returns:
        What was found; errors first, then warnings, then notes. Empty for a clean cohort.

    Raises:
        LabelError: A label does not fit the task (`make_task` refuses it before).
    """
    cohort = Cohort(
        table, task, files, tuple(splits), settings, given or {}, memory or FeatureMemory(0)
    )
    found = [finding for check in CHECKS for finding in check(cohort)]
    order = ("error", "warning", "note")
    return sorted(found, key=lambda finding: order.index(finding.severity))

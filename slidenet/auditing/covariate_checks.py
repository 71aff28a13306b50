"""Checks of covariates: what a model is shown beside the tiles must not be the label itself."""

from collections.abc import Iterator

import numpy as np
from sklearn.metrics import roc_auc_score

from slidenet.auditing.association import association
from slidenet.auditing.cohort import Cohort
from slidenet.auditing.finding import Finding
from slidenet.auditing.shortcut_checks import acquisition_columns, column_codes
from slidenet.core.arrays import Float64Array, IntArray
from slidenet.core.vocabulary import as_number, is_doubtful, is_missing
from slidenet.data.labels.encoding import encode_targets

NEARLY_ALL = 0.98
"""AUROC of a single covariate from which on it is hardly a cause of what is to be predicted."""


def telling_covariates(cohort: Cohort) -> Iterator[Finding]:
    """Covariates that alone tell the label nearly always, by value or by being missing."""
    names = [n for n in cohort.settings.covariates if n in cohort.table.columns]
    if cohort.task is None or cohort.labelled is None or not names:
        return
    first: dict[str, str] = {}
    for slide_id in cohort.labelled.slide_ids:
        first.setdefault(cohort.labelled.patient_of(slide_id), slide_id)
    slides = list(first.values())
    labels = cohort.task.codes(encode_targets(cohort.task, cohort.labelled, slides))
    table = cohort.labelled.select(slides)
    for name in names:
        cells = table.column(name)
        gone = np.array([is_missing(cell) or is_doubtful(cell) for cell in cells])
        values = np.array([as_number(cell) for cell in cells])
        for label, classes in labels.items():
            found = max(_of_numbers(values, classes), _of_codes(column_codes(cells), classes))
            where = f"{cohort.table.path}, the covariate {name!r} alone tells {label!r}"
            if found >= NEARLY_ALL:
                yield Finding(
                    "covariate-tells-label",
                    "warning",
                    f"{where} (AUROC {found:.2f})",
                    f"is {name!r} a result of the label, or found out after it? Then leave it away "
                    "from --data.covariates",
                )
            elif _of_codes(gone.astype(np.int64), classes) >= NEARLY_ALL:
                yield Finding(
                    "covariate-tells-label",
                    "warning",
                    f"{where} by whether it is known ({int(gone.sum())} of {len(gone)} patients "
                    "lack it)",
                    "leave it away from --data.covariates, or fill it in for all patients",
                )


def acquired_covariates(cohort: Cohort) -> Iterator[Finding]:
    """Covariates that by their name say where and how slides were made."""
    for name in acquisition_columns(cohort.table):
        if name in cohort.settings.covariates:
            yield Finding(
                "covariate-of-acquisition",
                "warning",
                f"{cohort.table.path}, the covariate {name!r} says where or how slides were made",
                "a model that knows it learns the habits of sites, and new ones count as unknown; "
                "leave it away from --data.covariates",
            )


def _of_numbers(values: Float64Array, classes: IntArray) -> float:
    """How well numbers part classes: AUROC of one class against the rest, the mean over classes."""
    both = ~np.isnan(values) & (classes >= 0)
    values, classes = values[both], classes[both]
    present = np.unique(classes)
    if len(present) < 2 or len(values) < 2 * len(present):
        return 0.0
    aurocs = [roc_auc_score(classes == one, values) for one in present]
    return float(np.mean([max(auroc, 1 - auroc) for auroc in aurocs]))


def _of_codes(known: IntArray | None, classes: IntArray) -> float:
    return 0.0 if known is None else association(known, classes, level=0.5).auroc

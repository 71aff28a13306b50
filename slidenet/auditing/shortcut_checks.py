"""Checks for shortcuts: what tells the label without any tissue being looked at."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from slidenet.auditing.association import Association, association
from slidenet.auditing.cohort import Cohort
from slidenet.auditing.finding import Finding, Severity
from slidenet.auditing.patients import column_codes, first_slides, label_codes
from slidenet.stores import SLIDE_COLUMNS
from slidenet.tasks.targets import quarters

Codes = npt.NDArray[np.int64]

_ACQUISITION = re.compile(
    r"site|scann|cent(er|re)|hospital|instit|batch|lab(?!el)|stain|cohort|source|vendor|device"
    r"|magnif|mpp|year|date|country|fold|split",
    re.IGNORECASE,
)
_LEAST_PATIENTS = 10


def shortcuts(cohort: Cohort) -> Iterator[Finding]:
    """Columns of the table, numbers of tiles and sizes of files that tell the label.

    Patients, not slides, are counted: each by its first slide. The significance is shared among all
    associations tested (Bonferroni).
    """
    if cohort.task is None or cohort.labelled is None:
        return
    table = cohort.labelled
    slides = first_slides(table)
    if len(slides) < _LEAST_PATIENTS:
        return
    labels = label_codes(cohort.task, table, slides)
    columns = _columns(cohort, slides)
    sizes = _sizes(cohort, slides)
    level = cohort.settings.significance / max(len(labels) * (len(columns) + len(sizes)), 1)
    for label, classes in labels.items():
        for column, codes in columns.items():
            found = association(codes, classes, level=level)
            if _matters(cohort, found, level):
                yield _column_finding(cohort, column, label, found)
        for size, codes in sizes.items():
            found = association(codes, classes, level=level)
            if _matters(cohort, found, level):
                yield Finding(
                    "size-tells-label",
                    "warning",
                    f"the {size} alone tells {label!r} ({_strength(found)})",
                    "look for another way of cutting or scanning in one class; if it is real, "
                    "report this baseline beside the model",
                )


def _columns(cohort: Cohort, slides: Sequence[str]) -> Mapping[str, Codes]:
    assert cohort.task is not None
    left_out = {*SLIDE_COLUMNS, *cohort.task.label_columns, *cohort.settings.ignore_columns}
    table = cohort.table.select(slides)
    found = {c: column_codes(table.column(c)) for c in table.columns if c not in left_out}
    return {column: codes for column, codes in found.items() if codes is not None}


def _sizes(cohort: Cohort, slides: Sequence[str]) -> Mapping[str, Codes]:
    bags = cohort.opened[0]
    tiles = np.array([bags[s].num_tiles if s in bags else np.nan for s in slides])
    sizes = {"number of tiles": tiles, "size of the slide file": _file_sizes(cohort, slides)}
    return {name: quarters(values) for name, values in sizes.items() if not np.isnan(values).all()}


def _file_sizes(cohort: Cohort, slides: Sequence[str]) -> npt.NDArray[np.float64]:
    paths = [Path(cohort.table.row(s).slide_path or "\x00") for s in slides]
    return np.array([_size(path) for path in paths])


def _size(path: Path) -> float:
    try:
        return float(path.stat().st_size)
    except (OSError, ValueError):  # the slides need not be at hand to train on their features
        return np.nan


def _matters(cohort: Cohort, found: Association, level: float) -> bool:
    return found.p < level and found.effect >= cohort.settings.least_effect


def _column_finding(cohort: Cohort, column: str, label: str, found: Association) -> Finding:
    acquired = _ACQUISITION.search(column) is not None
    severity: Severity = "warning" if acquired else "note"
    return Finding(
        "metadata-tells-label",
        severity,
        f"{cohort.table.path}, column {column!r} alone tells {label!r} ({_strength(found)})",
        f"balance it, or make folds that keep it apart: crossval --folds.site-column {column}"
        if acquired
        else f"if {column!r} is no result of the label, report it as a baseline beside the model",
    )


def _strength(found: Association) -> str:
    return (
        f"AUROC {found.auroc:.2f}, Cramer's V {found.effect:.2f}, p = {found.p:.2g}, "
        f"n = {found.num_patients} patients"
    )

"""Checks for shortcuts: what tells the label without any tissue being looked at."""

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from slidenet.auditing.association import Association, association
from slidenet.auditing.cohort import Cohort
from slidenet.auditing.finding import Finding
from slidenet.core.arrays import IntArray
from slidenet.core.vocabulary import as_number, is_missing
from slidenet.data.labels.encoding import encode_targets
from slidenet.data.labels.table import LabelTable
from slidenet.stores import SLIDE_COLUMNS
from slidenet.tasks.targets import quarters

_ACQUISITION = re.compile(
    r"site|scann|cent(er|re)|hospital|instit|batch|lab(?!el)|stain|cohort|source|vendor|device"
    r"|magnif|mpp|year|date|country|fold|split",
    re.IGNORECASE,
)
_LEAST_PATIENTS = 10
_LEAST_NUMBERS = 7


def shortcuts(cohort: Cohort) -> Iterator[Finding]:
    """Columns of the table, numbers of tiles and sizes of files that tell the label.

    Patients, not slides, are counted: each by its first slide. The significance is shared among all
    associations tested (Bonferroni).
    """
    if cohort.task is None or cohort.labelled is None:
        return
    table, first = cohort.labelled, dict[str, str]()
    for slide_id in table.slide_ids:
        first.setdefault(table.patient_of(slide_id), slide_id)
    slides = list(first.values())
    if len(slides) < _LEAST_PATIENTS:
        return
    labels = cohort.task.codes(encode_targets(cohort.task, table, slides))
    left_out = {*SLIDE_COLUMNS, *cohort.task.label_columns, *cohort.settings.ignore_columns}
    left_out.add(str(table.patient_column))
    chosen = cohort.table.select(slides)
    coded = {c: column_codes(chosen.column(c)) for c in chosen.columns if c not in left_out}
    columns = {column: codes for column, codes in coded.items() if codes is not None}
    sizes = _sizes(cohort, slides)
    level = cohort.settings.significance / max(len(labels) * (len(columns) + len(sizes)), 1)
    for label, classes in labels.items():
        for is_column, known in ((True, columns), (False, sizes)):
            for name, codes in known.items():
                found = association(codes, classes, level=level)
                if found.p < level and found.effect >= cohort.settings.least_effect:
                    yield _finding(cohort, name, is_column, label, found)


def acquisition_columns(
    table: LabelTable, label_columns: Sequence[str] = ()
) -> dict[str, IntArray]:
    """The columns that by their name tell where and how slides were made, as codes, -1 unknown."""
    names = [
        name
        for name in table.columns
        if _ACQUISITION.search(name) and name not in (*SLIDE_COLUMNS, *label_columns)
    ]
    found = {name: column_codes(table.column(name)) for name in names}
    return {name: codes for name, codes in found.items() if codes is not None}


def column_codes(cells: Sequence[str]) -> IntArray | None:
    """A column as classes, -1 where missing; numbers of many values are cut into quarters.

    Returns:
        None for a column that names rather than describes: more than a third of its values differ.
    """
    missing = np.array([is_missing(cell) for cell in cells])
    values = np.array([as_number(cell) for cell in cells])
    known = [cell for cell, gone in zip(cells, missing, strict=True) if not gone]
    different = len(set(known))
    if different >= _LEAST_NUMBERS and not np.isnan(values[~missing]).any():
        return quarters(np.where(missing, np.nan, values))
    if different < 2 or different > max(len(known) / 3, 2):
        return None
    codes = np.unique(list(cells), return_inverse=True)[1]
    return np.where(missing, -1, codes).astype(np.int64)


def _sizes(cohort: Cohort, slides: Sequence[str]) -> Mapping[str, IntArray]:
    bags = cohort.opened[0]
    tiles = np.array([bags[s].num_tiles if s in bags else np.nan for s in slides])
    paths = [Path(cohort.table.row(s).slide_path or "\x00") for s in slides]
    num_bytes = np.full(len(slides), np.nan)
    for i, path in enumerate(paths):
        # The slides need not be at hand to train on their features.
        with contextlib.suppress(OSError, ValueError):
            num_bytes[i] = path.stat().st_size
    sizes = {"number of tiles": tiles, "size of the slide file": num_bytes}
    return {name: quarters(values) for name, values in sizes.items() if not np.isnan(values).all()}


def _finding(cohort: Cohort, name: str, is_column: bool, label: str, found: Association) -> Finding:
    """What a column of the table, or a size of slides, tells of the label."""
    strength = (
        f"AUROC {found.auroc:.2f}, Cramer's V {found.effect:.2f}, p = {found.p:.2g}, "
        f"n = {found.num_patients} patients"
    )
    if not is_column:
        return Finding(
            "size-tells-label",
            "warning",
            f"the {name} alone tells {label!r} ({strength})",
            "look for another way of cutting or scanning in one class; if it is real, "
            "report this baseline beside the model",
        )
    acquired = _ACQUISITION.search(name) is not None
    return Finding(
        "metadata-tells-label",
        "warning" if acquired else "note",
        f"{cohort.table.path}, column {name!r} alone tells {label!r} ({strength})",
        f"balance it, or make folds that keep it apart: crossval --folds.site-column {name}"
        if acquired
        else f"if {name!r} is no result of the label, report it as a baseline beside the model",
    )

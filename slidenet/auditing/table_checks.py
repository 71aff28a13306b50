"""Checks of the table alone: rows that come twice; labels missing, contradicting, odd or few."""

import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from slidenet.auditing.cohort import Cohort
from slidenet.auditing.finding import Finding
from slidenet.core.errors import LabelError
from slidenet.core.text import count_of, name_some
from slidenet.core.vocabulary import spelling
from slidenet.data.labels.cells import has_no_label, label_columns
from slidenet.data.labels.classes import like_words
from slidenet.data.labels.table import REGION_COLUMN, LabelTable, labels_of
from slidenet.data.splits.strata import strata_of
from slidenet.stores import SLIDE_COLUMNS, CsvRow, read_csv_table
from slidenet.stores.manifest.patients import find_patient_column

_LEAST_PATIENTS = 3


def read_table_leniently(
    path: str | os.PathLike[str], *, patient_column: str | None = None
) -> tuple[LabelTable, list[Finding]]:
    """The table of labels with the first row of every slide, and the rows that come again.

    Args:
        path: The CSV.
        patient_column: Says whose slide it is; found by its name where not given.

    Raises:
        LabelError: The table cannot be read for any other reason.
    """
    found = read_csv_table(
        path, error=LabelError, one_of=("slide_path", "slide_id"), known=SLIDE_COLUMNS
    )
    first: dict[str, CsvRow] = {}
    again: list[CsvRow] = []
    regions: set[tuple[str, str]] = set()
    for row in found.rows:
        key = unicodedata.normalize("NFC", _slide_id(row)).casefold()
        # Rows about regions of one slide, as `--data.bag region` takes them: one stands for all.
        region = row.cells.get(REGION_COLUMN, "").strip()
        if key and key in first:
            if not region or (key, region) in regions:
                again.append(row)
        else:
            first[key or str(row.line)] = row
        regions.add((key, region))
    kept = replace(found, rows=tuple(first.values()))
    table = labels_of(kept, find_patient_column(found, patient_column))
    if not again:
        return table, []
    where = name_some(f"row {row.line} ({_slide_id(row)})" for row in again)
    finding = Finding(
        "duplicate-row",
        "error",
        f"{found.path}: {count_of('row', len(again))} of slides that have one already: {where}",
        "keep one row per slide",
    )
    return table, [finding]


def missing_labels(cohort: Cohort) -> Iterator[Finding]:
    """Slides without a label, column by column; for "multilabel" slides without any."""
    if cohort.task is None or cohort.labelled is None:
        return
    labelled = set(cohort.labelled.slide_ids)
    gone = [i for i, slide in enumerate(cohort.table.slide_ids) if slide not in labelled]
    for column, task in label_columns(cohort.task):
        cells = cohort.table.column(column)
        here = [i for i in gone if has_no_label(cells[i], task.kind, task.class_names)]
        if here:
            yield Finding(
                "missing-label",
                "error",
                f"{cohort.table.place(here, column)}: {count_of('slide', len(here))} without label",
                "fill the cells, remove the rows, or train with --data.drop-unlabelled",
            )
            if cohort.task.partial_labels:
                return  # the same slides in every column


def contradicting_labels(cohort: Cohort) -> Iterator[Finding]:
    """Patients whose slides do not agree."""
    if cohort.task is None or cohort.labelled is None:
        return
    table = cohort.labelled
    for column, task in label_columns(cohort.task):
        by_patient: dict[str, list[int]] = defaultdict(list)
        for i, row in enumerate(table.rows):
            if row.patient_id:
                by_patient[row.patient_id].append(i)
        cells = table.column(column)
        differing = {
            patient: rows
            for patient, rows in by_patient.items()
            if len({cells[i] for i in rows if not has_no_label(cells[i], task.kind)}) > 1
        }
        if differing:
            rows = [i for found in differing.values() for i in found]
            yield Finding(
                "contradicting-labels",
                "warning",
                f"{table.place(rows, column)}: slides of {count_of('patient', len(differing))} "
                f"({name_some(differing)}) have different labels",
                "correct them where labels are of patients; slides (--data.bag slide) may differ",
            )


def few_patients(cohort: Cohort) -> Iterator[Finding]:
    """Classes, values of a label, or events that too few patients have."""
    if cohort.task is None or cohort.labelled is None:
        return
    strata = strata_of(cohort.labelled, cohort.task, group_column="patient_id")
    numbers = dict(zip(strata.names, strata.group_members().sum(0), strict=True))
    few = {
        name: int(numbers[name])
        for name, needed in zip(strata.names, strata.needed, strict=True)
        if needed and numbers[name] < cohort.settings.min_patients
    }
    if not strata.needed.any() and strata.num_groups < cohort.settings.min_patients:
        few = {cohort.task.label_columns[0]: strata.num_groups}
    for name, number in few.items():
        column = name_some(cohort.task.label_columns)
        yield Finding(
            "few-patients",
            "error" if number < _LEAST_PATIENTS else "warning",
            f"{cohort.table.path}, column {column}: {count_of('patient', number)} with {name}, "
            + (
                f"fewer than the {_LEAST_PATIENTS} that train, val and test need"
                if number < _LEAST_PATIENTS
                else f"fewer than {cohort.settings.min_patients}: intervals will be wide"
            ),
            "add patients, merge the class with another, or leave it out",
        )


def similar_classes(cohort: Cohort) -> Iterator[Finding]:
    """Classes that may be one, mistyped."""
    if cohort.task is None or not cohort.task.exclusive_classes:
        return
    pairs = like_words(cohort.task.class_names)
    if pairs:
        shown = name_some(f"{one!r} and {other!r}" for one, other in pairs)
        yield Finding(
            "similar-classes",
            "note",
            f"{cohort.table.path}, column {cohort.task.label_columns[0]!r}: classes that look "
            f"alike: {shown}",
            "write them in one way if they are one class",
        )


def events_named_censored(cohort: Cohort) -> Iterator[Finding]:
    """A column of events whose name says that 1 means censored."""
    if cohort.task is None or not cohort.task.is_survival:
        return
    column = cohort.task.label_columns[1]
    words = {spelling(cell) for cell in cohort.table.column(column)}
    if "censor" in spelling(column) and not words & {"censored", "alive", "dead", "event"}:
        yield Finding(
            "event-column",
            "warning",
            f"{cohort.table.path}, column {column!r}: 1 is taken for an event that happened, and "
            "the name of the column says that it means censored",
            "if so, make a column event with 1 - this one; rename the column if not",
        )


def _slide_id(row: CsvRow) -> str:
    if "slide_id" in row.cells:
        return row.cells["slide_id"].strip()
    return Path(row.cells["slide_path"].strip()).stem

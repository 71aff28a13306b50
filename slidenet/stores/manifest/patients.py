"""Whose slide a row is about: which column says it, and what is done where none does.

A column `patient_id` is taken; else one whose name means the same (`case_id`, `PATIENT`,
`submitter_id` ...); else the one that the user names. TCGA barcodes name the patient too, but are
used only where they are asked for: the table may hold an id that is not meant so.
"""

import math
from collections.abc import Mapping, Sequence

from slidenet.core.text import count_of
from slidenet.core.vocabulary import (
    PATIENT_COLUMN,
    TCGA,
    as_truth,
    is_no_id,
    may_name_patients,
    names_patients,
    tcga_case,
)
from slidenet.stores.csv_table import CsvTable

SLIDE_ITSELF = "slide_id"
"""The column to name where every slide is of another patient, and the table need not say it."""


def find_patient_column(
    table: CsvTable, named: str | None = None, *, refuse: bool = True
) -> str | None:
    """The column that says whose slide a row is about.

    Args:
        table: The table.
        named: As the user says: a column, `slide_id` for a patient per slide, or `tcga` for the
            first twelve characters of TCGA barcodes.
        refuse: Whether columns that could both be meant, and group the slides in different ways,
            are refused; otherwise none is taken.

    Returns:
        None where the table does not say it.

    Raises:
        SlidenetError: Of the class of the table: no such column, or several that could be meant.
    """
    if named is not None and named not in table.columns and named not in (TCGA, SLIDE_ITSELF):
        like = [column for column in table.columns if may_name_patients(column)]
        raise table.error(
            f"{table.path} has no column {named!r}, named as patient_column",
            expected=f"one of {', '.join(map(repr, table.columns))}, or {TCGA!r}",
            remedy=f"did you mean {' or '.join(map(repr, like))}?" if like else "",
        )
    if named is not None:
        return named
    candidates = [
        column
        for column in table.columns
        if names_patients(column) and not _is_a_choice(table, column)
    ]
    candidates.sort(key=lambda column: column != PATIENT_COLUMN)
    groups = {column: _groups(table, column) for column in candidates}
    filled = [column for column in candidates if groups[column] is not None]
    if not filled:
        return None
    first = filled[0]
    others = [column for column in filled if groups[column] != groups[first]]
    if first == PATIENT_COLUMN or not others:
        return first
    if not refuse:
        return None
    raise table.error(
        f"{table.path} has the columns {' and '.join(map(repr, (first, *others)))}, which both "
        "could name the patients and group the slides in different ways",
        expected="one column of patients",
        remedy=f"say which with --data.patient-column, such as {first}",
    )


def patient_of_cells(cells: Mapping[str, str], slide_id: str, column: str | None) -> str | None:
    """Whose slide a row is about; None where it does not say, in whatever words.

    Args:
        cells: Of the row.
        slide_id: Of the row.
        column: As `find_patient_column` gives it.
    """
    if column is None:
        return None
    if column in cells:
        cell = cells[column].strip()
        return None if is_no_id(cell) else cell
    return tcga_case(slide_id) if column == TCGA else slide_id


def barcodes(slide_ids: Sequence[str]) -> tuple[str, ...]:
    """The TCGA cases of slides, each once; none unless every slide is one of TCGA."""
    cases = [tcga_case(slide_id) for slide_id in slide_ids]
    return () if None in cases else tuple(dict.fromkeys(case for case in cases if case))


def like_patients(columns: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Columns that look as if they named patients, by name or by what they hold.

    Args:
        columns: The cells of each column that has no other meaning.
    """
    return tuple(
        name for name, cells in columns.items() if may_name_patients(name) or _holds_ids(cells)
    )


def _holds_ids(cells: Sequence[str]) -> bool:
    """Whether most values are named once to a few times each, and look like ids."""
    known = [cell for cell in cells if not is_no_id(cell)]
    different = set(known)
    if len(known) < 6 or not 0.3 * len(known) <= len(different) < len(known):
        return False
    return all(any(c.isdigit() for c in v) and any(c.isalpha() for c in v) for v in different)


def _is_a_choice(table: CsvTable, column: str) -> bool:
    """Whether a column such as `case` or `patient` says yes or no, rather than who it is."""
    different = {cell.casefold() for cell in table.cells(column) if not is_no_id(cell)}
    words = all(not math.isnan(as_truth(cell)) or cell == "control" for cell in different)
    return column != PATIENT_COLUMN and len(different) == 2 and (words or "case" in different)


def _groups(table: CsvTable, column: str) -> tuple[int, ...] | None:
    """The number of the patient of each row, by first appearance; None for an empty column."""
    cells = table.cells(column)
    if all(map(is_no_id, cells)):
        return None
    names = [f"{row}\0" if is_no_id(cell) else cell for row, cell in enumerate(cells)]
    number = {name: i for i, name in enumerate(dict.fromkeys(names))}
    return tuple(number[name] for name in names)


def describe_patients(column: str | None, num_patients: int | None = None) -> str:
    """Where patients come from, in a clause: `24 patients by the column 'case_id'`."""
    if column is None:
        return "the table names no patients"
    if column == SLIDE_ITSELF:
        return "every slide is of a patient of its own, as patient_column slide_id says"
    known = "known" if num_patients is None else count_of("patient", num_patients)
    if column == TCGA:
        return f"{known} by the TCGA barcodes in slide_id"
    return f"{known} by the column {column!r}"

"""Cells of a table of labels as classes and numbers, refused by file, column and row."""

import math
from collections.abc import Callable, Collection, Sequence

import numpy as np
import numpy.typing as npt

from slidenet.core.errors import LabelError
from slidenet.core.words import name_some
from slidenet.data.labels.table import LabelTable
from slidenet.tasks import TASKS, TaskKind

MISSING = ("", "na", "n/a", "nan", "null")
"""Cells that mean "not known", whatever the case of their letters."""


def is_missing(text: str, class_names: Collection[str] = ()) -> bool:
    """Whether a cell holds no label. A class may be called NA where `class_names` says so."""
    return text.casefold() in MISSING and text not in class_names


def as_number(text: str) -> float:
    """The number a cell holds, NaN where it holds none."""
    try:
        value = float(text)
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan


def labelled_rows(
    table: LabelTable,
    kind: TaskKind,
    label_columns: Sequence[str],
    *,
    class_names: Collection[str] = (),
) -> LabelTable:
    """The rows that have a label; where some may be missing those that have at least one.

    Raises:
        LabelError: There is no such column, or no row has a label.
    """
    columns = [table.column(name) for name in label_columns]
    missing = [[is_missing(cell, class_names) for cell in cells] for cells in columns]
    enough = all if TASKS[kind].partial_labels else any
    gone = [enough(row) for row in zip(*missing, strict=True)]
    if all(gone):
        raise LabelError(
            f"{table.path}: no row has a label in the column {' and '.join(label_columns)}",
            expected="labels",
        )
    kept = zip(table.slide_ids, gone, strict=True)
    return table.select([slide_id for slide_id, left_out in kept if not left_out])


def class_indices(
    table: LabelTable, column: str, class_names: Sequence[str]
) -> npt.NDArray[np.int64]:
    """int64 (N,), index into `class_names` of every row.

    Raises:
        LabelError: A label is missing or none of the classes.
    """
    cells = table.column(column)
    index = {name: i for i, name in enumerate(class_names)}
    # Spreadsheets turn a class 1 into 1.0 once a cell of its column is empty.
    values = ((as_number(name), i) for i, name in enumerate(class_names))
    numbers = {value: i for value, i in values if not math.isnan(value)}
    found = [index.get(cell, numbers.get(as_number(cell), -1)) for cell in cells]
    refuse_missing(table, column, cells, class_names=class_names)
    _refuse(
        table,
        column,
        cells,
        lambda i: found[i] < 0,
        expected=f"one of the classes {', '.join(class_names)}",
        remedy="correct the cells, or name every class in class_names",
    )
    return np.array(found, dtype=np.int64)


def label_matrix(table: LabelTable, columns: Sequence[str]) -> npt.NDArray[np.float32]:
    """float32 (N, K) of 0, 1 and NaN where missing, one column per label.

    Raises:
        LabelError: A cell is neither 0 nor 1 nor missing, or a row has no label at all.
    """
    words = {"0": 0.0, "1": 1.0, "false": 0.0, "true": 1.0}
    matrix = np.full((len(table), len(columns)), np.nan, dtype=np.float32)
    for k, column in enumerate(columns):
        cells = table.column(column)
        values = [
            math.nan if is_missing(cell) else words.get(cell.casefold(), as_number(cell))
            for cell in cells
        ]
        bad = [
            not is_missing(c) and v not in (0.0, 1.0) for c, v in zip(cells, values, strict=True)
        ]
        _refuse(table, column, cells, bad.__getitem__, expected="0, 1, or nothing where not known")
        matrix[:, k] = values
    empty = np.flatnonzero(np.isnan(matrix).all(axis=1)).tolist()
    if empty:
        raise LabelError(
            f"{table.place(empty, columns[0])} and the other label columns are empty",
            expected="at least one label per slide",
            remedy="fill them, or leave such slides out with --data.drop-unlabelled",
        )
    return matrix


def number_column(
    table: LabelTable, column: str, *, expected: str, good: Callable[[float], bool]
) -> npt.NDArray[np.float32]:
    """float32 (N,), the numbers of a column.

    Args:
        table: The labels.
        column: Which column.
        expected: What the numbers must be, for messages.
        good: Whether a number is one of those.

    Raises:
        LabelError: A cell is missing, no number, or not `good`.
    """
    cells = table.column(column)
    refuse_missing(table, column, cells)
    values = [as_number(cell) for cell in cells]
    _refuse(
        table,
        column,
        cells,
        lambda i: math.isnan(values[i]) or not good(values[i]),
        expected=expected,
    )
    return np.array(values, dtype=np.float32)


def refuse_missing(
    table: LabelTable, column: str, cells: Sequence[str], *, class_names: Collection[str] = ()
) -> None:
    """Refuses cells without a label.

    Raises:
        LabelError: Naming the column and the rows.
    """
    missing = [i for i, cell in enumerate(cells) if is_missing(cell, class_names)]
    if missing:
        written = {cells[i] for i in missing} - {""}
        raise LabelError(
            f"{table.place(missing, column)}: {len(missing)} of {len(cells)} slides have no label"
            + (f" (written {', '.join(sorted(written))})" if written else ""),
            expected="a label for every slide",
            remedy="fill the cells, or leave such slides out with --data.drop-unlabelled",
        )


def _refuse(
    table: LabelTable,
    column: str,
    cells: Sequence[str],
    wrong: Callable[[int], bool],
    *,
    expected: str,
    remedy: str = "",
) -> None:
    positions = [i for i in range(len(cells)) if wrong(i)]
    if positions:
        values = name_some(map(repr, dict.fromkeys(cells[i] for i in positions)))
        raise LabelError(
            f"{table.place(positions, column)} is {values}", expected=expected, remedy=remedy
        )

"""Cells of a table of labels as classes and numbers, refused by file, column and row."""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np

from slidenet.core.arrays import BoolArray, FloatArray, IntArray
from slidenet.core.errors import LabelError
from slidenet.core.text import name_some
from slidenet.core.vocabulary import (
    as_event,
    as_number,
    as_truth,
    is_doubtful,
    is_missing,
    is_missing_number,
    number_remedy,
    spelling,
)
from slidenet.data.labels.classes import LEAVE_OUT, list_flag
from slidenet.data.labels.table import LabelTable
from slidenet.tasks import TASKS, MultiTask, Task, TaskKind


def has_no_label(cell: str, kind: TaskKind, class_names: Collection[str] = ()) -> bool:
    """Whether a cell holds no label of such a task. A class may be called NA where it is named."""
    if TASKS[kind].exclusive_classes:
        return is_missing(cell, class_names)
    return is_missing_number(cell)


def label_columns(task: Task) -> list[tuple[str, Task]]:
    """Each column of labels, and the task it is of: itself, or that of one of several targets."""
    tasks = task.targets.values() if isinstance(task, MultiTask) else [task]
    return [(column, one) for one in tasks for column in one.label_columns]


def has_label(table: LabelTable, task: Task) -> BoolArray:
    """Bool (N,), which rows have a label of a task; of several targets, of one at least."""
    if isinstance(task, MultiTask):
        each = [has_label(table, one) for one in task.targets.values()]
        return np.asarray(np.logical_or.reduce(each))
    return _has_label(table, task.kind, task.label_columns, task.class_names)


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
    known = _has_label(table, kind, label_columns, class_names)
    if not known.any():
        raise LabelError(
            f"{table.path}: no row has a label in the column {' and '.join(label_columns)}",
            expected="labels",
        )
    return table.take(known)


def _has_label(
    table: LabelTable, kind: TaskKind, label_columns: Sequence[str], class_names: Collection[str]
) -> BoolArray:
    columns = [table.column(name) for name in label_columns]
    missing = [[has_no_label(cell, kind, class_names) for cell in cells] for cells in columns]
    enough = all if TASKS[kind].partial_labels else any
    return np.array([not enough(row) for row in zip(*missing, strict=True)], dtype=np.bool_)


@dataclass(frozen=True)
class TableCells:
    """The rows of a table of labels as `slidenet.tasks.targets.LabelCells`.

    Every method raises a `LabelError` naming the column and the rows where cells do not fit.

    Attributes:
        table: The rows.
    """

    table: LabelTable

    def __len__(self) -> int:
        return len(self.table)

    def labelled(self, task: Task) -> IntArray:
        """int64 (M,), the rows that have a label of a task."""
        return np.flatnonzero(has_label(self.table, task))

    def take(self, rows: IntArray) -> "TableCells":
        """Some of the rows."""
        return TableCells(self.table.take(rows))

    def classes(self, column: str, class_names: Sequence[str]) -> IntArray:
        """int64 (N,), index into `class_names`."""
        cells = self.table.column(column)
        index = {name: i for i, name in enumerate(class_names)}
        # Spreadsheets turn a class 1 into 1.0 once a cell of its column is empty.
        values = ((as_number(name), i) for i, name in enumerate(class_names))
        numbers = {value: i for value, i in values if not math.isnan(value)}
        found = [index.get(cell, numbers.get(as_number(cell), -1)) for cell in cells]
        self._refuse_missing(column, [is_missing(cell, class_names) for cell in cells])
        near = {spelling(name): name for name in class_names}
        unknown = [cell for cell, number in zip(cells, found, strict=True) if number < 0]
        meant = [(cell, near[spelling(cell)]) for cell in unknown if spelling(cell) in near]
        self._refuse(
            column,
            [number < 0 for number in found],
            expected=f"one of the classes {', '.join(class_names)}",
            remedy=f"write {meant[0][0]!r} as the class {meant[0][1]!r} is written"
            if meant
            else "correct the cells, name every class in class_names, or leave such slides out "
            f"with {list_flag(LEAVE_OUT, sorted(set(unknown)))}",
        )
        return np.array(found, dtype=np.int64)

    def flags(self, columns: Sequence[str]) -> FloatArray:
        """float32 (N, len(columns)) of 0, 1 and NaN where missing; no row lacks all."""
        matrix = np.full((len(self.table), len(columns)), np.nan, dtype=np.float32)
        for k, column in enumerate(columns):
            cells = self.table.column(column)
            matrix[:, k] = [as_truth(cell) for cell in cells]
            wrong = [
                math.isnan(value) and not is_missing_number(cell)
                for cell, value in zip(cells, matrix[:, k], strict=True)
            ]
            expected = "0, 1, or nothing where not known; words such as yes or negative will do"
            self._refuse(column, wrong, expected=expected)
        empty = np.flatnonzero(np.isnan(matrix).all(axis=1)).tolist()
        if empty:
            raise LabelError(
                f"{self.table.place(empty, columns[0])} and the other label columns are empty",
                expected="at least one label per slide",
                remedy="fill them, or leave such slides out with --data.drop-unlabelled",
            )
        return matrix

    def values(self, column: str) -> FloatArray:
        """float32 (N,), finite."""
        return self._numbers(column, as_number, lambda value: True, "a number")

    def times(self, column: str) -> FloatArray:
        """float32 (N,), above 0."""
        expected = "a time above 0 (half a day, say, for an event on the first day)"
        return self._numbers(column, as_number, lambda value: value > 0, expected)

    def events(self, column: str) -> FloatArray:
        """float32 (N,) of 1 (happened) and 0 (censored)."""
        cells = self.table.column(column)
        known = {as_number(cell) for cell in cells if not is_missing_number(cell)}
        remedy = "if 2 means that it happened, as in R, write 1 for it, and 0 for 1"
        expected = "1 (happened) or 0 (censored), or words such as dead and alive"
        return self._numbers(
            column, as_event, lambda value: True, expected, remedy if known == {1.0, 2.0} else ""
        )

    def _numbers(
        self,
        column: str,
        read: Callable[[str], float],
        fits: Callable[[float], bool],
        expected: str,
        remedy: str = "",
    ) -> FloatArray:
        cells = self.table.column(column)
        self._refuse_missing(column, [is_missing_number(cell) for cell in cells])
        values = [read(cell) for cell in cells]
        wrong = [math.isnan(value) or not fits(value) for value in values]
        refused = {cell for cell, bad in zip(cells, wrong, strict=True) if bad}
        self._refuse(column, wrong, expected=expected, remedy=remedy or number_remedy(refused))
        return np.array(values, dtype=np.float32)

    def _refuse_missing(self, column: str, missing: Sequence[bool]) -> None:
        rows = np.flatnonzero(missing).tolist()
        if rows:
            cells = self.table.column(column)
            written = sorted({cells[row] for row in rows} - {""})
            raise LabelError(
                f"{self.table.place(rows, column)}: {len(rows)} of {len(cells)} slides have no "
                "label" + (f" (written {', '.join(written)})" if written else ""),
                expected="a label for every slide",
                remedy="fill the cells, or leave such slides out with --data.drop-unlabelled"
                + ("; if it is a class, name all of them: --data.class-names" if written else ""),
            )

    def _refuse(
        self, column: str, wrong: Sequence[bool], *, expected: str, remedy: str = ""
    ) -> None:
        rows = np.flatnonzero(wrong).tolist()
        if rows:
            cells = self.table.column(column)
            doubtful = sorted({cells[row] for row in rows if is_doubtful(cells[row])})
            if doubtful:
                remedy = f"leave such slides out with {list_flag(LEAVE_OUT, doubtful)}"
            different = name_some(dict.fromkeys(repr(cells[row]) for row in rows))
            raise LabelError(
                f"{self.table.place(rows, column)} is {different}", expected=expected, remedy=remedy
            )

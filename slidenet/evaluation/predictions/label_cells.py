"""Label columns of a table of predictions as the targets of a task."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from slidenet.core.arrays import FloatArray, IntArray
from slidenet.core.vocabulary import is_missing, is_missing_number
from slidenet.evaluation.predictions.columns import class_index
from slidenet.stores.csv_table import CsvTable
from slidenet.tasks import Task


@dataclass(frozen=True)
class PredictionCells:
    """The label columns of a table of predictions as `LabelCells`.

    Attributes:
        table: The rows.
    """

    table: CsvTable

    def __len__(self) -> int:
        return len(self.table)

    def labelled(self, task: Task) -> IntArray:
        """int64 (M,), the rows that have a label of a task."""
        names = task.class_names if task.exclusive_classes else ()
        columns = [
            [not (is_missing(cell, names) if names else is_missing_number(cell)) for cell in cells]
            for cells in map(self.table.cells, task.label_columns)
        ]
        enough = any if task.partial_labels else all
        return np.flatnonzero([enough(row) for row in zip(*columns, strict=True)])

    def take(self, rows: IntArray) -> "PredictionCells":
        """Some of the rows."""
        return PredictionCells(replace(self.table, rows=tuple(self.table.rows[i] for i in rows)))

    def classes(self, column: str, class_names: Sequence[str]) -> IntArray:
        """int64 (N,), index into `class_names`."""
        targets = np.empty(len(self.table), dtype=np.int64)
        for row, cell in enumerate(self.table.cells(column)):
            found = class_index(cell, class_names)
            if found is None:
                raise self.table.cell_error(
                    row,
                    column,
                    expected=f"one of the classes {', '.join(class_names)}",
                    remedy="name the classes with --class-names, in order of the probabilities"
                    if not is_missing(cell, class_names)
                    else "delete the row, or fill in its label",
                )
            targets[row] = found
        return targets

    def flags(self, columns: Sequence[str]) -> FloatArray:
        """float32 (N, len(columns)) of 0, 1 and NaN where missing."""
        labels = [self.table.truths(column, may_be_missing=True) for column in columns]
        return np.stack(labels, axis=1).astype(np.float32)

    def values(self, column: str) -> FloatArray:
        """float64 (N,), finite."""
        return self.table.numbers(column)

    def times(self, column: str) -> FloatArray:
        """float64 (N,), above 0."""
        times = self.table.numbers(column)
        for row in np.flatnonzero(times <= 0):
            raise self.table.cell_error(int(row), column, expected="a positive time")
        return times

    def events(self, column: str) -> FloatArray:
        """float64 (N,) of 1 (happened) and 0 (censored)."""
        return self.table.events(column)

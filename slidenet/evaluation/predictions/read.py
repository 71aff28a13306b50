"""Reads predictions from our CSV or anybody's, and says exactly what it cannot make sense of."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from slidenet.core.arrays import FloatArray, IntArray
from slidenet.core.errors import PredictionsError
from slidenet.evaluation.predictions.columns import PredictionColumns, Roles, class_index, recognise
from slidenet.evaluation.predictions.record import SUM_TOLERANCE, Predictions, find_fault
from slidenet.stores.csv_table import CsvTable, read_csv_table
from slidenet.tasks import PredictionArrays, Task, TaskKind
from slidenet.tasks.predictions import PROBABILITIES


def read_predictions(
    path: str | os.PathLike[str],
    *,
    task: TaskKind | None = None,
    columns: PredictionColumns | None = None,
    labelled: bool = True,
) -> Predictions:
    """Reads a CSV of predictions.

    Args:
        path: A file of `write_predictions`, or any CSV with a header and one row per bag.
        task: What is predicted; default: recognised from the columns. Needed for "ordinal", whose
            columns look like those of "multiclass".
        columns: Names of columns that are not recognised by themselves.
        labelled: Labels must be there, and of more than one class; otherwise they may be missing.

    Returns:
        The predictions, in order of the rows.

    Raises:
        PredictionsError: Naming file, column and row: a missing column, a cell that is not a number
            or not finite, probabilities outside [0, 1] or not adding up to 1, an unknown class, one
            class only, a bag twice.
    """
    # A table that pandas wrote has an index without a name in its first column.
    table = read_csv_table(path, error=PredictionsError, unnamed_first=True)
    roles = recognise(table, task, columns or PredictionColumns(), labelled=labelled)
    arrays: dict[str, Any] = {
        name: _array(table, roles.task, name, names) for name, names in roles.arrays.items()
    }
    targets = roles.task.encode(PredictionCells(table)) if roles.labelled else None
    patients: tuple[str | None, ...] = (None,) * len(table)
    if roles.patient is not None:
        patients = tuple(cell or None for cell in table.cells(roles.patient))
    predictions = Predictions(
        roles.task,
        _bag_ids(table, roles),
        patients,
        targets,
        PredictionArrays(**arrays, survival_times=roles.survival_times),
        None if roles.fold is None else _folds(table, roles.fold),
    )
    if labelled:
        check_evaluable(predictions, where=f"{path}: ")
    return predictions


def check_evaluable(predictions: Predictions, *, where: str = "") -> None:
    """Refuses labels no metric can be computed from.

    Raises:
        PredictionsError: No labels, one class only, no event, or a single bag or patient.
    """
    task, targets = predictions.task, predictions.labels
    if len(predictions) < 2:
        raise PredictionsError(f"{where}there is one bag only", expected="at least two")
    if predictions.num_patients < 2:
        raise PredictionsError(
            f"{where}all bags are of the patient {predictions.patient_ids[0]!r}",
            expected="two patients at least, to say how sure a number is",
            remedy="name the column of patients with --patient-column if this is another one",
        )
    lack = task.find_lack(targets)
    if lack is not None and task.output != "value":  # errors of values are defined all the same
        raise PredictionsError(
            f"{where}column {lack.column!r} {lack.found}",
            expected=lack.expected,
            remedy="evaluate on bags that differ, or leave this column out",
        )


def _bag_ids(table: CsvTable, roles: Roles) -> tuple[str, ...]:
    bags = table.cells(roles.bag)
    seen: dict[tuple[str, str], int] = {}
    folds = table.cells(roles.fold) if roles.fold else [""] * len(table)
    for row, key in enumerate(zip(bags, folds, strict=True)):
        if not key[0]:
            raise table.cell_error(row, roles.bag, found="is empty", expected="an id for each bag")
        if key in seen:
            first = table.rows[seen[key]].line
            raise table.cell_error(
                row,
                roles.bag,
                found=f"is {key[0]!r}, as in row {first}" + (", same fold" if roles.fold else ""),
                expected="one row per bag",
                remedy="say --fold-column if the file holds repeated cross-validation",
            )
        seen[key] = row
    return tuple(bags)


def _folds(table: CsvTable, column: str) -> IntArray:
    values = table.numbers(column)
    for row in np.flatnonzero(values != np.rint(values)):
        raise table.cell_error(int(row), column, expected="a whole number")
    return values.astype(np.int64)


def _array(table: CsvTable, task: Task, name: str, columns: Sequence[str]) -> FloatArray:
    """An array of `PredictionArrays` from its columns, (N,) or (N, number of columns)."""
    if name not in PROBABILITIES:
        return table.numbers(*columns)
    array = np.empty((len(table), len(columns)))
    for position, column in enumerate(columns):
        array[:, position] = table.numbers(column)
        fault = find_fault(array[:, position], probability=True)
        if fault:
            row, expected = fault
            raise table.cell_error(
                row, column, expected=expected, remedy="apply a sigmoid or softmax"
            )
    if name != "probabilities" or not task.exclusive_classes:
        return array
    if len(columns) == 1:  # of the second class
        return np.concatenate([1 - array, array], axis=1)
    sums = array.sum(axis=1)
    for row in np.flatnonzero(np.abs(sums - 1) > SUM_TOLERANCE).tolist():
        raise PredictionsError(
            f"{table.path}, row {table.rows[row].line}, columns "
            f"{', '.join(map(repr, columns))} add up to {sums[row]:.4g}",
            expected="probabilities that add up to 1",
            remedy="apply a softmax to logits, or say --task multilabel",
        )
    return array


@dataclass(frozen=True)
class PredictionCells:
    """The label columns of a table of predictions as `LabelCells`.

    Attributes:
        table: The rows.
    """

    table: CsvTable

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
                    if cell
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
        return self.table.truths(column)


def align(first: Predictions, second: Predictions) -> Predictions:
    """The rows of `second` in the order of `first`, for comparing two models on the same bags.

    Raises:
        PredictionsError: Other bags, other labels, or another task.
    """
    if first.task != second.task:
        raise PredictionsError(
            f"the two models are of different tasks: {first.task.describe()} and "
            f"{second.task.describe()}",
            expected="the same task, label columns and classes",
        )
    keys, others = _keys(first), _keys(second)
    missing = [k for k in keys if k not in set(others)] + [k for k in others if k not in set(keys)]
    if missing:
        raise PredictionsError(
            f"{len(missing)} bags are predicted by one of the two models only, "
            f"such as {missing[0][0]!r}",
            expected="the same bags, for a paired comparison",
            remedy="keep the bags both files have",
        )
    position = {key: row for row, key in enumerate(others)}
    result = second.take(np.array([position[key] for key in keys]))
    same = np.isclose(first.labels, result.labels, equal_nan=True)
    if not same.all():
        row = int(np.argwhere(~same)[0][0])
        raise PredictionsError(
            f"bag {first.bag_ids[row]!r} has the label {result.labels[row]} in one file and "
            f"{first.labels[row]} in the other",
            expected="the same labels",
        )
    return replace(result, patient_ids=first.patient_ids)


def _keys(predictions: Predictions) -> list[tuple[str, int]]:
    """What names a row in both models: the bag, and how often it came before (repeated folds)."""
    seen: dict[str, int] = {}
    keys = []
    for bag in predictions.bag_ids:
        seen[bag] = seen.get(bag, -1) + 1
        keys.append((bag, seen[bag]))
    return keys

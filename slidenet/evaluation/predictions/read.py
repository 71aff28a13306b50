"""Reads predictions from our CSV or anybody's, and says exactly what it cannot make sense of."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from slidenet.core.arrays import FloatArray
from slidenet.core.errors import PredictionsError
from slidenet.evaluation.predictions.columns import PredictionColumns, Roles, class_index, recognise
from slidenet.evaluation.predictions.csv_columns import CsvColumns
from slidenet.evaluation.predictions.faults import find_fault
from slidenet.evaluation.predictions.record import SUM_TOLERANCE, Predictions
from slidenet.evaluation.report.words import task_words
from slidenet.tasks.prediction import PredictionArrays
from slidenet.tasks.task import Task, TaskKind


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
    table = CsvColumns.read(Path(path))
    roles = recognise(table, task, columns or PredictionColumns(), labelled=labelled)
    predicted = PredictionArrays(
        _probabilities(table, roles) if roles.task.is_classification else None,
        table.numbers(roles.value) if roles.value else None,
        table.numbers(roles.risk) if roles.risk else None,
        _ranged(table, roles.survival) if roles.survival else None,
        roles.survival_times,
    )
    targets = _targets(table, roles) if roles.labels else None
    bags, patients = _bag_ids(table, roles), _patients(table, roles)
    predictions = Predictions(roles.task, bags, patients, targets, predicted, _folds(table, roles))
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
    column = task.label_columns[0]
    if task.kind == "multilabel":
        _check_labels(task, targets, where)
    elif task.is_survival:
        if not targets[:, 1].any():
            raise PredictionsError(
                f"{where}column {task.label_columns[1]!r} holds no event (all are 0)",
                expected="at least one 1",
            )
    elif task.is_classification and len(np.unique(targets)) < 2:
        raise PredictionsError(
            f"{where}column {column!r} holds the class {task.class_names[int(targets[0])]!r} only",
            expected=f"at least two of {', '.join(task.class_names)}",
            remedy="evaluate on bags of both classes",
        )


def _check_labels(task: Task, targets: npt.NDArray[Any], where: str) -> None:
    for name, label in zip(task.class_names, targets.T, strict=True):
        known = np.unique(label[~np.isnan(label)])
        if len(known) < 2:
            found = f"holds {known[0]:g} only" if len(known) else "is empty"
            raise PredictionsError(
                f"{where}column {name!r} {found}",
                expected="both 0 and 1",
                remedy="leave this label out, or evaluate on bags with and without it",
            )


def _bag_ids(table: CsvColumns, roles: Roles) -> tuple[str, ...]:
    bags = table.cells(roles.bag)
    seen: dict[tuple[str, str], int] = {}
    folds = table.cells(roles.fold) if roles.fold else [""] * len(table)
    for row, key in enumerate(zip(bags, folds, strict=True)):
        if not key[0]:
            raise table.error(row, roles.bag, found="is empty", expected="an id for each bag")
        if key in seen:
            first = table.table.rows[seen[key]].line
            raise table.error(
                row,
                roles.bag,
                found=f"is {key[0]!r}, as in row {first}" + (", same fold" if roles.fold else ""),
                expected="one row per bag",
                remedy="say --fold-column if the file holds repeated cross-validation",
            )
        seen[key] = row
    return tuple(bags)


def _patients(table: CsvColumns, roles: Roles) -> tuple[str | None, ...]:
    if roles.patient is None:
        return (None,) * len(table)
    return tuple(cell or None for cell in table.cells(roles.patient))


def _folds(table: CsvColumns, roles: Roles) -> npt.NDArray[np.int64] | None:
    if roles.fold is None:
        return None
    values = table.numbers(roles.fold)
    for row in np.flatnonzero(values != np.rint(values)):
        raise table.error(int(row), roles.fold, expected="a whole number")
    return values.astype(np.int64)


def _probabilities(table: CsvColumns, roles: Roles) -> FloatArray:
    """(N, C); a single column of "binary" is the probability of the second class."""
    given = _ranged(table, roles.probabilities)
    if roles.task.kind == "multilabel":
        return given
    if given.shape[1] == 1:
        return np.concatenate([1 - given, given], axis=1)
    sums = given.sum(axis=1)
    for row in np.flatnonzero(np.abs(sums - 1) > SUM_TOLERANCE):
        line = table.table.rows[row].line
        raise PredictionsError(
            f"{table.table.path}, row {line}, columns "
            f"{', '.join(map(repr, roles.probabilities))} add up to {sums[row]:.4g}",
            expected="probabilities that add up to 1",
            remedy="apply a softmax to logits, or say --task multilabel",
        )
    return given


def _ranged(table: CsvColumns, names: tuple[str, ...]) -> FloatArray:
    """Columns of probabilities, (N, len(names))."""
    result = np.empty((len(table), len(names)))
    for position, name in enumerate(names):
        result[:, position] = table.numbers(name)
        fault = find_fault(result[:, position], probability=True)
        if fault:
            raise table.error(
                fault.row, name, expected=fault.expected, remedy="apply a sigmoid or softmax"
            )
    return result


def _targets(table: CsvColumns, roles: Roles) -> npt.NDArray[Any]:
    task = roles.task
    if task.kind == "multilabel":
        labels = [_binary(table, name, may_be_missing=True) for name in roles.labels]
        return np.stack(labels, axis=1).astype(np.float32)
    if task.is_survival:
        time, event = roles.labels
        return np.stack([_times(table, time), _binary(table, event)], axis=1)
    column = roles.labels[0]
    if task.kind == "regression":
        return table.numbers(column)
    targets = np.empty(len(table), dtype=np.int64)
    for row, cell in enumerate(table.cells(column)):
        found = class_index(cell, task.class_names)
        if found is None:
            raise table.error(
                row,
                column,
                expected=f"one of the classes {', '.join(task.class_names)}",
                remedy="name the classes with --class-names, in order of the probabilities"
                if cell
                else "delete the row, or fill in its label",
            )
        targets[row] = found
    return targets


def _times(table: CsvColumns, name: str) -> FloatArray:
    times = table.numbers(name)
    for row in np.flatnonzero(times <= 0):
        raise table.error(int(row), name, expected="a positive time")
    return times


_TRUTH = {"0": 0.0, "1": 1.0, "false": 0.0, "true": 1.0, "no": 0.0, "yes": 1.0}


def _binary(table: CsvColumns, name: str, *, may_be_missing: bool = False) -> FloatArray:
    values = np.empty(len(table))
    for row, cell in enumerate(table.cells(name)):
        key = cell.lower().removesuffix(".0")
        missing = may_be_missing and key in ("", "na", "nan", "none")
        if not missing and key not in _TRUTH:
            raise table.error(
                row, name, expected="0 or 1" + (" or nothing" if may_be_missing else "")
            )
        values[row] = np.nan if missing else _TRUTH[key]
    return values


def align(first: Predictions, second: Predictions) -> Predictions:
    """The rows of `second` in the order of `first`, for comparing two models on the same bags.

    Raises:
        PredictionsError: Other bags, other labels, or another task.
    """
    if first.task != second.task:
        raise PredictionsError(
            f"the two models are of different tasks: {task_words(first.task)} and "
            f"{task_words(second.task)}",
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
    """What makes a row of one model the same as one of another: the bag and its how-manyth time."""
    seen: dict[str, int] = {}
    keys = []
    for bag in predictions.bag_ids:
        seen[bag] = seen.get(bag, -1) + 1
        keys.append((bag, seen[bag]))
    return keys

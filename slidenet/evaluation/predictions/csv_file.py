"""The CSV of predictions: ours, which people and other programs can read, or anybody else's.

Ours has one row per bag, in the order given, with these columns:

- `bag_id`, `patient_id` (empty where unknown), and `fold` for out-of-fold predictions;
- the label columns of the task, as written in the table of labels (absent for unlabelled bags);
- what was predicted: `prob_<class>` for each class, or `predicted` (regression), or `risk`
  (survival; higher is worse), with `survival_<time>`, the probability of lasting beyond that time,
  where curves are predicted;
- `called`, where `slidenet predict` wrote the file: what the model decides, by its cut-off; then
  what else it says of a bag (`slidenet.pipelines.applying.remarks`).

Beside it lies a note of the same name that ends in .json (`sidecar.py`): what made the file, and
the role of each column. A column of labels may therefore have any name but those that the file
itself needs (`taken_column`), which are refused before anything is trained.

Numbers are written with the fewest digits that read back as the same number in their own precision,
so the same predictions give the same bytes.
"""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from slidenet.core.arrays import FloatArray, IntArray
from slidenet.core.errors import PredictionsError
from slidenet.core.vocabulary import is_no_id
from slidenet.evaluation.predictions.columns import PredictionColumns, Roles, recognise
from slidenet.evaluation.predictions.label_cells import PredictionCells
from slidenet.evaluation.predictions.own_files import own_roles
from slidenet.evaluation.predictions.record import SUM_TOLERANCE, Predictions, find_fault
from slidenet.evaluation.predictions.sidecar import (
    Origin,
    Sidecar,
    check_origin,
    digest_of_text,
    read_sidecar,
    write_sidecar,
)
from slidenet.stores import atomic_path
from slidenet.stores.csv_table import CsvTable, read_csv_table
from slidenet.stores.csv_writing import csv_text, joined_csv
from slidenet.tasks import MultiTask, PredictionArrays, Task, TaskKind
from slidenet.tasks.predictions import (
    BAG_COLUMN,
    CALLED_COLUMN,
    FOLD_COLUMN,
    PATIENT_COLUMN,
    PROBABILITIES,
    number_text,
)

UNSAID = Origin()
"""Of files that somebody writes from Python."""


def read_predictions(
    path: str | os.PathLike[str],
    *,
    task: TaskKind | None = None,
    columns: PredictionColumns | None = None,
    labelled: bool = True,
    left_out: list[str] | None = None,
    one_class: bool = False,
) -> Predictions:
    """Reads a CSV of predictions.

    Args:
        path: A file of `write_predictions`, or any CSV with a header and one row per bag.
        task: What is predicted; default: recognised from the columns. Needed for "ordinal", whose
            columns look like those of "multiclass".
        columns: Names of columns that are not recognised by themselves.
        labelled: Labels must be there, and of more than one class; otherwise they may be missing.
        left_out: Gets the bags without a label, which are left out; where not given, they are
            refused.
        one_class: Whether bags of one class will do (`check_evaluable`).

    Returns:
        The predictions, in order of the rows.

    Raises:
        PredictionsError: Naming file, column and row: a missing column, a cell that is not a number
            or not finite, probabilities outside [0, 1] or not adding up to 1, an unknown class, one
            class only, a bag twice.
    """
    # A table that pandas wrote has an index without a name in its first column.
    table = read_csv_table(path, error=PredictionsError, unnamed_first=True)
    named = columns or PredictionColumns()
    roles = own_roles(table, read_sidecar(Path(path)), task, named, labelled=labelled) or recognise(
        table, task, named, labelled=labelled
    )
    if left_out is not None and roles.labelled:
        table, without = _labelled_rows(table, roles)
        left_out += without
    arrays: dict[str, Any] = {
        name: _array(table, roles.task, name, names) for name, names in roles.arrays.items()
    }
    targets = roles.task.encode(PredictionCells(table)) if roles.labelled else None
    patients: tuple[str | None, ...] = (None,) * len(table)
    if roles.patient is not None:
        patients = tuple(None if is_no_id(c) else c for c in table.cells(roles.patient))
    predictions = Predictions(
        roles.task,
        _bag_ids(table, roles),
        patients,
        targets,
        PredictionArrays(**arrays, survival_times=roles.survival_times),
        None if roles.fold is None else _folds(table, roles.fold),
    )
    if labelled:
        check_evaluable(predictions, where=f"{path}: ", one_class=one_class)
    return predictions


def write_predictions(
    path: str | os.PathLike[str],
    predictions: Predictions,
    *,
    called: Sequence[str] | None = None,
    origin: Origin = UNSAID,
    asked: Collection[str] | None = None,
    of_run: bool = False,
    labels: Mapping[str, Sequence[str]] | None = None,
    remarks: Mapping[str, Sequence[Any]] | None = None,
) -> None:
    """Writes the CSV described at the top of this file and the note beside it; each whole or not.

    Args:
        path: The file.
        predictions: Of N bags.
        called: What is decided of each (`Task.decide`); written as a last column.
        origin: What made them.
        asked: The bags that were to be predicted, some of which may have failed; default: those of
            `predictions`.
        of_run: Whether a file of that name without a note is one that an older version wrote for
            the same run.
        labels: Cells of the label columns by their names, for predictions without targets.
        remarks: Further columns of N cells, which come last (`is_remark`).

    Raises:
        PredictionsError: A label column has the name of another column; several targets.
        OutputError: The file cannot be written, or another one is there (`check_origin`).
    """
    if isinstance(predictions.task, MultiTask):
        raise PredictionsError(
            f"{len(predictions.task.targets)} targets for one file of predictions",
            expected="the predictions of one target",
            remedy="take them apart with `slidenet.evaluation.split_predictions`",
        )
    columns = predictions.columns(called)
    assert labels is None or predictions.targets is None, "labels once"
    if labels is not None:
        columns = _with_labels(columns, labels)
    columns = {**columns, **{n: cells for n, cells in (remarks or {}).items() if n not in columns}}

    def cell(value: Any) -> str:
        if isinstance(value, str):
            return value
        return "" if value is None or value != value else number_text(value)  # NaN: no label

    rows = zip(*(map(cell, cells) for cells in columns.values()), strict=True)
    content = csv_text(list(columns), rows).encode()
    path = Path(path)
    bags = predictions.bag_ids if asked is None else asked
    check_origin(path, origin, bags, of_run=of_run, content=content)
    roles = roles_written(predictions, called=called is not None)
    roles |= {} if labels is None else {"labels": list(labels)}
    _write(path, content, Sidecar(origin, predictions.task, roles, digest_of_text(content)))


def _with_labels(columns: Mapping[str, Any], labels: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Columns with those of the labels where they belong, before what is predicted."""
    ids = [name for name in columns if name in (BAG_COLUMN, PATIENT_COLUMN, FOLD_COLUMN)]
    taken = [name for name in labels if name in columns]
    if taken:
        raise PredictionsError(
            f"two columns of the predictions are named {taken[0]!r}",
            remedy="rename the label column in the table of slides",
        )
    rest = {name: cells for name, cells in columns.items() if name not in ids}
    return {**{name: columns[name] for name in ids}, **labels, **rest}


def join_predictions(
    path: str | os.PathLike[str],
    parts: Sequence[str | os.PathLike[str]],
    *,
    task: Task,
    origin: Origin,
) -> Predictions:
    """Puts the files of the folds of one cross-validation below each other.

    Args:
        path: The file to write.
        parts: Files of `write_predictions`, of one task.
        task: What they predict.
        origin: What made them.

    Returns:
        All predictions.

    Raises:
        PredictionsError: A part is no file of predictions.
        OutputError: The file cannot be written, or another one is there (`check_origin`).
    """
    texts = [Path(part).read_bytes().decode() for part in parts]
    content = joined_csv(texts).encode()
    # A fold may hold no bag that has the label of one of several targets.
    there = [part for part, text in zip(parts, texts, strict=True) if text.count("\n") > 1]
    found = [read_predictions(part, task=task.kind, labelled=False) for part in there]
    predictions = Predictions.concatenate(found)
    path = Path(path)
    check_origin(path, origin, predictions.bag_ids, of_run=True, content=content)
    roles = roles_written(predictions, called=False)
    _write(path, content, Sidecar(origin, task, roles, digest_of_text(content)))
    return predictions


def roles_written(predictions: Predictions, *, called: bool) -> dict[str, Any]:
    """The columns of a file of `write_predictions` by what they are for (`Sidecar.columns`)."""
    task, arrays = predictions.task, predictions.predicted
    roles: dict[str, Any] = {"bag": BAG_COLUMN, "patient": PATIENT_COLUMN}
    if predictions.folds is not None:
        roles["fold"] = FOLD_COLUMN
    roles["labels"] = [] if predictions.targets is None else list(task.label_columns)
    for name in arrays.arrays:
        alone = PredictionArrays(
            **{name: arrays.arrays[name]},
            survival_times=arrays.survival_times if name == "survival" else (),
        )
        columns = list(alone.columns(task.class_names))
        roles[name] = columns if name in PROBABILITIES else columns[0]
    return roles | ({"called": CALLED_COLUMN} if called else {})


def _write(path: Path, content: bytes, sidecar: Sidecar) -> None:
    write_sidecar(path, sidecar)  # first: a kill between the two leaves no file without a note
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def check_evaluable(predictions: Predictions, *, where: str = "", one_class: bool = False) -> None:
    """Refuses labels no metric can be computed from.

    Args:
        predictions: What is to be judged.
        where: Where it stands, for messages.
        one_class: Whether bags of one class may be judged, by how many are called so.

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
    one_class = one_class and task.has_classes
    if (
        lack is not None and task.output != "value" and not one_class
    ):  # errors of values are defined all the same
        raise PredictionsError(
            f"{where}column {lack.column!r} {lack.found}",
            expected=lack.expected,
            remedy="evaluate on bags that differ, or leave this column out",
        )


def _labelled_rows(table: CsvTable, roles: Roles) -> tuple[CsvTable, list[str]]:
    """The rows with a label, and the bags of the others; all rows where none has any."""
    found = set(PredictionCells(table).labelled(roles.task).tolist())
    if not found:
        return table, []
    without = [bag for row, bag in enumerate(table.cells(roles.bag)) if row not in found]
    rows = tuple(row for number, row in enumerate(table.rows) if number in found)
    return replace(table, rows=rows), without


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

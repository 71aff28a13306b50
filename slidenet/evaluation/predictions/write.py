"""The CSV of predictions, which people can open and other programs can read.

One row per bag, in the order given, with these columns:

- `bag_id`, `patient_id` (empty where unknown), and `fold` for out-of-fold predictions;
- the label columns of the task, as written in the table of labels (absent for unlabelled bags);
- what was predicted: `prob_<class>` for each class, or `predicted` (regression), or `risk`
  (survival; higher is worse), with `survival_<time>`, the probability of lasting beyond that time,
  where curves are predicted;
- `called`, where `slidenet predict` wrote the file: what the model decides, by its cut-off.

Numbers are written with the fewest digits that read back as the same number in their own precision,
so the same predictions give the same bytes.
"""

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from slidenet.core.arrays import FloatArray
from slidenet.core.errors import PredictionsError
from slidenet.evaluation.predictions.record import Predictions
from slidenet.stores import atomic_path

BAG_COLUMN, PATIENT_COLUMN, FOLD_COLUMN = "bag_id", "patient_id", "fold"
VALUE_COLUMN, RISK_COLUMN, CALLED_COLUMN = "predicted", "risk", "called"
PROBABILITY_PREFIX, SURVIVAL_PREFIX = "prob_", "survival_"


def prediction_columns(predictions: Predictions) -> dict[str, FloatArray]:
    """What was predicted, as the columns of the file: name to (N,)."""
    given, columns = predictions.predicted, {}
    if given.probabilities is not None:
        names = [PROBABILITY_PREFIX + name for name in predictions.task.class_names]
        columns = dict(zip(names, given.probabilities.T, strict=True))
    if given.value is not None:
        columns[VALUE_COLUMN] = given.value
    if given.risk is not None:
        columns[RISK_COLUMN] = given.risk
    if given.survival is not None:
        names = [SURVIVAL_PREFIX + _number(time) for time in given.survival_times]
        columns |= dict(zip(names, given.survival.T, strict=True))
    return columns


def label_cells(predictions: Predictions) -> dict[str, list[str]]:
    """The labels as they are written: column name to N cells; empty without labels."""
    task, targets = predictions.task, predictions.targets
    if targets is None:
        return {}
    if task.is_classification and task.kind != "multilabel":
        return {task.label_columns[0]: [task.class_names[int(t)] for t in targets]}
    columns = targets.reshape(len(targets), len(task.label_columns)).T
    return {
        name: ["" if np.isnan(value) else _number(value) for value in column]
        for name, column in zip(task.label_columns, columns, strict=True)
    }


def write_predictions(
    path: str | os.PathLike[str], predictions: Predictions, *, called: Sequence[str] | None = None
) -> None:
    """Writes the CSV described at the top of this file; whole or not at all.

    Args:
        path: The file.
        predictions: Of N bags.
        called: What is decided of each, in words; written as a last column.

    Raises:
        PredictionsError: A label column has the name of another column.
        OutputError: The file cannot be written.
    """
    columns: list[tuple[str, list[str]]] = [
        (BAG_COLUMN, list(predictions.bag_ids)),
        (PATIENT_COLUMN, [patient or "" for patient in predictions.patient_ids]),
    ]
    if predictions.folds is not None:
        columns.append((FOLD_COLUMN, [str(fold) for fold in predictions.folds.tolist()]))
    columns += label_cells(predictions).items()
    for name, array in prediction_columns(predictions).items():
        columns.append((name, [_number(value) for value in array]))
    if called is not None:
        columns.append((CALLED_COLUMN, list(called)))
    names = [name for name, _ in columns]
    for name in names:
        if names.count(name) > 1:
            raise PredictionsError(
                f"two columns of the predictions are named {name!r}",
                remedy="rename the label column in the table of labels",
            )
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(zip(*(cells for _, cells in columns), strict=True))
    with atomic_path(Path(path)) as temporary:
        temporary.write_bytes(text.getvalue().encode())


def _number(value: Any) -> str:
    """The shortest text that reads back as the same number of its precision: 0.1, 12, 1e-07."""
    return str(value).removesuffix(".0")

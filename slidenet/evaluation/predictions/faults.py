"""What can be wrong with predicted numbers and with targets."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from slidenet.tasks.task import Task


@dataclass(frozen=True, slots=True)
class Fault:
    """The first bad row.

    Attributes:
        row: Its index.
        found: What stands there, in words.
        expected: What would have been right.
    """

    row: int
    found: str
    expected: str


def find_fault(column: npt.NDArray[Any], *, probability: bool) -> Fault | None:
    """The first number of `column` (N,) that is not finite or, if a probability, not in [0, 1]."""
    finite = np.isfinite(column)
    good = finite & (column >= 0) & (column <= 1) if probability else finite
    if good.all():
        return None
    row = int(np.flatnonzero(~good)[0])
    expected = "a probability from 0 to 1" if probability else "a finite number"
    return Fault(row, f"{column[row]:g}", expected)


def target_fault(task: Task, targets: npt.NDArray[Any]) -> Fault | None:
    """The first target that is not what `Task` says."""
    if task.is_survival:
        good = np.isfinite(targets[:, 0]) & (targets[:, 0] > 0) & np.isin(targets[:, 1], (0, 1))
        expected = "a positive time, and an event of 0 or 1"
    elif task.kind == "regression":
        good, expected = np.isfinite(targets), "a finite number"
    elif task.kind == "multilabel":
        good = (np.isnan(targets) | np.isin(targets, (0, 1))).all(axis=1)
        expected = "0, 1 or NaN (missing) for each label"
    else:
        good = np.isin(targets, np.arange(task.num_classes))
        expected = f"a class number from 0 to {task.num_classes - 1}"
    if good.all():
        return None
    row = int(np.flatnonzero(~good)[0])
    return Fault(row, str(targets[row]), expected)

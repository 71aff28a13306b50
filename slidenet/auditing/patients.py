"""Labels and columns as small classes, one per patient, so that they can be held together."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from slidenet.data.labels.encoding import encode_targets
from slidenet.data.labels.table import LabelTable
from slidenet.data.labels.values import as_number, is_missing
from slidenet.tasks.task import Task

Codes = npt.NDArray[np.int64]

_BINS = 4
_LEAST_NUMBERS = 7


def first_slides(table: LabelTable) -> list[str]:
    """One slide per patient: the first in the table."""
    first: dict[str, str] = {}
    for slide_id in table.slide_ids:
        first.setdefault(table.patient_of(slide_id), slide_id)
    return list(first.values())


def label_codes(task: Task, table: LabelTable, slide_ids: Sequence[str]) -> Mapping[str, Codes]:
    """The labels of slides as classes, by the name of the label; -1 where missing.

    Classes stay classes; values are cut into quarters. For survival the martingale residual
    (events had, less those expected by then) is cut into quarters, high where events came early.
    """
    targets = encode_targets(task, table, slide_ids)
    name = " and ".join(task.label_columns)
    if task.kind == "multilabel":
        filled = np.where(np.isnan(targets), -1, targets).astype(np.int64)
        return {column: filled[:, k] for k, column in enumerate(task.label_columns)}
    if task.is_classification:
        return {name: targets.astype(np.int64)}
    if task.is_survival:
        return {name: quarters(_martingale(targets[:, 0], targets[:, 1]))}
    return {name: quarters(targets.astype(np.float64))}


def column_codes(cells: Sequence[str]) -> Codes | None:
    """A column as classes, -1 where missing; numbers of many values are cut into quarters.

    Returns:
        None for a column that names rather than describes: more than a third of its values differ.
    """
    missing = np.array([is_missing(cell) for cell in cells])
    values = np.array([as_number(cell) for cell in cells])
    known = [cell for cell, gone in zip(cells, missing, strict=True) if not gone]
    different = len(set(known))
    if different >= _LEAST_NUMBERS and not np.isnan(values[~missing]).any():
        return quarters(np.where(missing, np.nan, values))
    if different < 2 or different > max(len(known) / 3, 2):
        return None
    codes = np.unique(list(cells), return_inverse=True)[1]
    return np.where(missing, -1, codes).astype(np.int64)


def quarters(values: npt.NDArray[np.float64]) -> Codes:
    """Which quarter of the values each is in, 0 to 3; -1 for NaN. Equal values stay together."""
    known = ~np.isnan(values)
    edges = np.quantile(values[known], np.linspace(0, 1, _BINS + 1)[1:-1])
    return np.where(known, np.searchsorted(edges, values), -1).astype(np.int64)


def _martingale(
    time: npt.NDArray[np.generic], event: npt.NDArray[np.generic]
) -> npt.NDArray[np.float64]:
    """Event less the Nelson-Aalen cumulative hazard at its time, of every patient."""
    time, event = time.astype(np.float64), event.astype(np.float64)
    happened = np.unique(time[event == 1])
    at_risk = (time[None, :] >= happened[:, None]).sum(1)
    deaths = ((time[None, :] == happened[:, None]) & (event == 1)).sum(1)
    hazard = np.concatenate([[0.0], np.cumsum(deaths / at_risk)])
    residual: npt.NDArray[np.float64] = (
        event - hazard[np.searchsorted(happened, time, side="right")]
    )
    return residual

"""Labels and columns as small classes, one per patient, so that they can be held together."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from slidenet.data.labels.encoding import encode_targets
from slidenet.data.labels.table import LabelTable
from slidenet.stores.csv_table import as_number, is_missing
from slidenet.tasks import Task
from slidenet.tasks.targets import quarters

Codes = npt.NDArray[np.int64]

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
    return task.codes(encode_targets(task, table, slide_ids))


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

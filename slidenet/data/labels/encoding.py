"""Labels as the numbers a model learns from, in the shapes that `slidenet.tasks.task` lists."""

from collections.abc import Sequence

import numpy as np

from slidenet.core.errors import LabelError
from slidenet.core.text import name_some
from slidenet.core.vocabulary import is_missing
from slidenet.data.labels.cells import TableCells
from slidenet.data.labels.table import LabelTable
from slidenet.tasks import Targets, Task


def encode_targets(task: Task, table: LabelTable, slide_ids: Sequence[str]) -> Targets:
    """The targets of slides.

    Args:
        task: What the labels mean.
        table: The labels.
        slide_ids: Which slides, in the order of the rows wanted.

    Returns:
        int64 or float32, first axis one row per slide; see `Task` for each kind.

    Raises:
        LabelError: A slide has no row, or a label is missing, unknown or impossible, naming file,
            column and rows.
    """
    return task.encode(TableCells(table.select(slide_ids)))


def encode_bag_targets(task: Task, table: LabelTable, bags: Sequence[Sequence[str]]) -> Targets:
    """The targets of bags of several slides, whose slides must agree.

    Args:
        task: What the labels mean.
        table: The labels.
        bags: The slides of each bag, at least one.

    Returns:
        As `encode_targets`, one row per bag. A label known of one slide counts for the bag.

    Raises:
        LabelError: As `encode_targets`, or the slides of a bag have different labels.
    """
    flat = [slide_id for bag in bags for slide_id in bag]
    targets = encode_targets(task, table, flat)
    starts = np.cumsum([0, *(len(bag) for bag in bags)])
    merged = []
    for bag, first, last in zip(bags, starts, starts[1:], strict=False):
        rows = targets[first:last]
        bag_target = np.where(np.isnan(rows), -np.inf, rows).max(axis=0)
        if ((rows != bag_target) & ~np.isnan(rows)).any():
            raise _disagreement(task, table, bag)
        merged.append(np.where(np.isinf(bag_target), np.nan, bag_target))
    return np.array(merged, dtype=targets.dtype)


def _disagreement(task: Task, table: LabelTable, bag: Sequence[str]) -> LabelError:
    rows = table.select(bag)
    for column in task.label_columns:
        cells = rows.column(column)
        if len({cell for cell in cells if not is_missing(cell)}) > 1:
            break
    values = name_some(f"{slide}: {cell!r}" for slide, cell in zip(bag, cells, strict=True))
    return LabelError(
        f"{table.path}, column {column!r}: the slides of patient {table.patient_of(bag[0])!r} have "
        f"different labels ({values})",
        expected="one label per patient",
        remedy="correct the rows, or make bags of slides instead of patients",
    )

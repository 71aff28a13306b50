"""What a task is, from the table of labels and a few words of the user."""

from collections.abc import Sequence

import numpy as np

from slidenet.core.checks import refused
from slidenet.core.errors import ConfigError, LabelError
from slidenet.data.labels.cells import labelled_rows
from slidenet.data.labels.classes import classes_found, with_positive
from slidenet.data.labels.encoding import encode_targets
from slidenet.data.labels.table import LabelTable
from slidenet.tasks import TASKS, CoxTask, Task, TaskKind
from slidenet.tasks.calibration import event_time_quantiles
from slidenet.tasks.predictions import taken_column


def make_task(
    table: LabelTable,
    kind: TaskKind,
    label_columns: Sequence[str],
    class_names: Sequence[str] | None = None,
    time_edges: Sequence[float] | None = None,
    num_time_bins: int = 4,
    *,
    training_ids: Sequence[str] | None = None,
    positive: str | None = None,
) -> Task:
    """The task that these columns of the table make; every label in them is checked.

    Rows without a label are passed over here; `encode_targets` refuses them.

    Args:
        table: The labels.
        kind: What is predicted.
        label_columns: One column; one per label for "multilabel"; time and event for survival.
        class_names: Classes in order, for "binary" the negative class first. Where not given, the
            labels found, sorted: by value if all are numbers, else by letter. "ordinal" needs them
            unless the labels are numbers.
        time_edges: For "discrete_time": upper edges of the bins. Where not given, quantiles of the
            times of the events among `training_ids`, the last edge at the last event.
        num_time_bins: Number of those bins.
        training_ids: Slides whose times may choose the edges; all where not given.
        positive: For "binary" the class that the score is about; the last one where not given.

    Raises:
        LabelError: No such column, a label that does not fit, or nothing to learn: one class only,
            one value only, no events.
        ConfigError: Classes, columns, edges or a positive class that do not fit the kind.
    """
    if isinstance(label_columns, str):  # its letters would be taken for columns
        raise refused("label_columns", label_columns, f"a list, such as [{label_columns!r}]")
    for column in label_columns:
        table.check_column(column, "--data.label-columns")
    columns, of_kind = tuple(label_columns), TASKS[kind]
    names, edges = tuple(class_names or ()), tuple(time_edges or ())
    if of_kind.exclusive_classes and not names and len(columns) == 1:
        names = classes_found(table, of_kind, columns[0])
    if positive is not None:
        if not of_kind.has_positive_class:
            raise ConfigError(
                f"positive is {positive!r} for a {kind} task", expected="a task binary"
            )
        names = with_positive(names, positive, given=bool(class_names))
    if of_kind.has_time_bins and not edges:
        edges = _quantile_edges(table, CoxTask(columns), num_time_bins, training_ids)
    task = of_kind(columns, names, edges)
    taken = taken_column(columns, task.output)
    if taken is not None:
        raise LabelError(
            f"{table.path} has labels in a column {taken!r}, which is what files of predictions "
            f"call a column of their own for a {kind} task",
            expected="another name",
            remedy=f"rename it, to 'true_{taken}' say",
        )
    rows = labelled_rows(table, kind, columns, class_names=task.class_names)
    lack = task.find_lack(encode_targets(task, rows, rows.slide_ids))  # checks every label
    if lack is not None:
        raise LabelError(
            f"{rows.path}, column {lack.column!r} {lack.found}",
            expected=f"{lack.expected}, or there is nothing to learn",
        )
    return task


def _quantile_edges(
    table: LabelTable, task: CoxTask, num_bins: int, slide_ids: Sequence[str] | None
) -> tuple[float, ...]:
    """Upper edges of bins; the task says which columns hold times and events."""
    rows = table if slide_ids is None else table.select(slide_ids)
    rows = labelled_rows(rows, "cox", task.label_columns)
    times, events = encode_targets(task, rows, rows.slide_ids).T
    happened = np.unique(times[events == 1])
    if num_bins < 2 or len(happened) < 2:
        raise LabelError(
            f"{rows.path}, columns {' and '.join(task.label_columns)}: {len(happened)} different "
            f"times of events for {num_bins} bins",
            expected="at least two of each",
            remedy="give --data.time-edges, or take --data.task cox",
        )
    times_of_events = times[events == 1].astype(np.float64)
    return event_time_quantiles(times_of_events, np.arange(1, num_bins + 1) / num_bins)

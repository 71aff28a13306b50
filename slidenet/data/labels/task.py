"""What a task is, from the table of labels and a few words of the user."""

from collections.abc import Sequence

import numpy as np

from slidenet.core.errors import LabelError
from slidenet.core.words import name_some
from slidenet.data.labels.encoding import encode_targets
from slidenet.data.labels.table import LabelTable
from slidenet.data.labels.values import as_number, is_missing, labelled_rows
from slidenet.tasks.event_times import event_time_quantiles
from slidenet.tasks.task import Task, TaskKind


def make_task(
    table: LabelTable,
    kind: TaskKind,
    label_columns: Sequence[str],
    class_names: Sequence[str] | None = None,
    time_edges: Sequence[float] | None = None,
    num_time_bins: int = 4,
    *,
    training_ids: Sequence[str] | None = None,
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

    Raises:
        LabelError: No such column, a label that does not fit, or nothing to learn: one class only,
            one value only, no events.
        ConfigError: Classes, columns or edges that do not fit the kind.
    """
    for column in label_columns:
        table.check_column(column)
    columns = tuple(label_columns)
    if kind in ("binary", "multiclass", "ordinal") and len(columns) == 1:
        names = tuple(class_names) if class_names else _classes_found(table, kind, columns[0])
    else:
        names = tuple(class_names or ())
    edges = tuple(time_edges or ())
    if kind == "discrete_time" and not edges:
        Task("cox", columns)  # the columns are checked before times are read
        edges = _quantile_edges(table, columns, num_time_bins, training_ids)
    task = Task(kind, columns, names, edges)
    rows = labelled_rows(table, kind, columns, class_names=task.class_names)
    _refuse_constant(task, rows)
    return task


def _classes_found(table: LabelTable, kind: TaskKind, column: str) -> tuple[str, ...]:
    labels = {cell for cell in table.column(column) if not is_missing(cell)}
    numeric = all(not np.isnan(as_number(label)) for label in labels)
    if numeric:  # 1 and 1.0 are one class, called by the shorter
        by_value = {as_number(s): s for s in sorted(labels, key=lambda s: (-len(s), s))}
        names = tuple(by_value[value] for value in sorted(by_value))
    else:
        names = tuple(sorted(labels))
    shown = name_some(names)
    if kind == "ordinal" and not numeric:
        raise LabelError(
            f"{table.path}, column {column!r} holds the classes {shown}, whose order is not known",
            expected="class_names in their order, for an ordinal task",
            remedy=f"give class_names, the lowest first, such as [{', '.join(names)}]",
        )
    if len(names) < 2 or (kind == "binary" and len(names) > 2):
        raise LabelError(
            f"{table.path}, column {column!r} holds {len(names)} classes ({shown or 'no label'})"
            if len(names) != 1
            else f"{table.path}, column {column!r} holds one class only ({shown})",
            expected="two classes" if kind == "binary" else "at least two classes",
            remedy="use task multiclass, or another column" if len(names) > 2 else "check it",
        )
    return names


def _refuse_constant(task: Task, rows: LabelTable) -> None:
    """Refuses a table from which nothing can be learned; encoding it checks every label."""
    targets = encode_targets(task, rows, rows.slide_ids)
    if task.is_survival:
        if not targets[:, 1].any():
            raise LabelError(
                f"{rows.path}, column {task.label_columns[1]!r} holds no event",
                expected="at least one 1",
            )
        return
    for k, column in enumerate(task.label_columns):
        values = targets[:, k] if targets.ndim == 2 else targets
        found = np.unique(values[~np.isnan(values)])
        if len(found) < 2:
            only = f"{found[0]:g}" if len(found) else "nothing"
            if task.is_classification and task.kind != "multilabel":
                only = task.class_names[int(found[0])]
            raise LabelError(
                f"{rows.path}, column {column!r} holds one "
                f"{'class' if task.is_classification else 'value'} only ({only})",
                expected="at least two, or there is nothing to learn",
            )


def _quantile_edges(
    table: LabelTable, columns: tuple[str, ...], num_bins: int, slide_ids: Sequence[str] | None
) -> tuple[float, ...]:
    rows = table if slide_ids is None else table.select(slide_ids)
    rows = labelled_rows(rows, "cox", columns)
    times, events = encode_targets(Task("cox", columns), rows, rows.slide_ids).T
    happened = np.unique(times[events == 1])
    if num_bins < 2 or len(happened) < 2:
        raise LabelError(
            f"{rows.path}, columns {' and '.join(columns)}: {len(happened)} different times of "
            f"events for {num_bins} bins",
            expected="at least two of each",
            remedy="give --data.time-edges, or take --data.task cox",
        )
    times_of_events = times[events == 1].astype(np.float64)
    return event_time_quantiles(times_of_events, np.arange(1, num_bins + 1) / num_bins)

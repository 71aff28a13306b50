"""Roles of the columns of files that slidenet wrote: by the note beside them, else by their order.

Names alone would mistake a label called `risk` or `site` for something else.
"""

from collections.abc import Sequence
from dataclasses import replace

from slidenet.evaluation.predictions.columns import PredictionColumns, Roles, survival_time
from slidenet.evaluation.predictions.sidecar import Sidecar
from slidenet.stores.csv_table import CsvTable
from slidenet.tasks import TASKS, Task, TaskKind
from slidenet.tasks.predictions import (
    BAG_COLUMN,
    CALLED_COLUMN,
    FOLD_COLUMN,
    PATIENT_COLUMN,
    PROBABILITY_PREFIX,
    RISK_COLUMN,
    VALUE_COLUMN,
    is_remark,
)


def own_roles(
    table: CsvTable,
    sidecar: Sidecar | None,
    kind: TaskKind | None,
    named: PredictionColumns,
    *,
    labelled: bool,
) -> Roles | None:
    """The roles of the columns of a file of slidenet.

    Args:
        table: The file.
        sidecar: The note beside it, if there is one.
        kind: What is predicted, as the user says; None where the file is to say it.
        named: Columns the user names.
        labelled: Whether the labels must be there.

    Returns:
        None where the file is somebody else's, the user says otherwise, or labels are missing.

    Raises:
        SlidenetError: The user names a column the file does not have.
    """
    if named.labels or named.classes or named.probabilities or named.score_column is not None:
        return None
    found = _by_note(table, sidecar) if sidecar is not None else None
    found = _by_order(table, kind) if found is None else found
    if found is None or (labelled and not found.labelled):
        return None
    if kind is not None and kind != found.task.kind:
        other = TASKS[kind]
        if not (other.exclusive_classes and found.task.exclusive_classes):
            return None
        if other.has_positive_class and found.task.num_classes != 2:
            return None
        found = replace(found, task=other(found.task.label_columns, found.task.class_names))
    named_columns = {
        role: table.require(column)
        for role in ("bag", "patient", "fold")
        if (column := getattr(named, f"{role}_column")) is not None
    }
    return replace(found, **named_columns)  # type: ignore[arg-type]  # fields of text


def _by_note(table: CsvTable, sidecar: Sidecar) -> Roles | None:
    """As the note says; None where it is about a file of other columns."""
    roles = {name: sidecar.names(name) for name in sidecar.columns}
    if not {column for names in roles.values() for column in names} <= set(table.columns):
        return None
    task, labels = sidecar.task, roles.get("labels", ())
    arrays = {
        name: roles[name]
        for name in ("probabilities", "value", "risk", "survival")
        if roles.get(name)
    }
    one = {"probabilities": task.num_classes, "value": 1, "risk": 1}[task.output]
    fits = len(arrays.get(task.output, ())) == one and labels in ((), task.label_columns)
    times = tuple(map(survival_time, arrays.get("survival", ())))
    if not fits or any(time != time for time in times) or (task.has_time_bins and not times):
        return None
    (bag,) = roles["bag"]
    patient, fold = ((*roles.get(name, ()), None)[0] for name in ("patient", "fold"))
    return Roles(task, bag, patient, fold, bool(labels), arrays, times)


def _by_order(table: CsvTable, kind: TaskKind | None) -> Roles | None:
    """As the order says in which slidenet writes columns; None where it is another one."""
    columns = list(table.columns)
    if columns[:2] != [BAG_COLUMN, PATIENT_COLUMN]:
        return None
    rest = columns[2:]
    while rest and is_remark(rest[-1]):
        rest.pop()
    if rest and rest[-1] == CALLED_COLUMN and len(rest) > 1:
        rest.pop()
    fold = FOLD_COLUMN if rest[:1] == [FOLD_COLUMN] else None
    rest = rest[1:] if fold else rest
    start = len(rest)
    while start and rest[start - 1].startswith(PROBABILITY_PREFIX):
        start -= 1
    if start < len(rest):
        labels, predicted = rest[:start], rest[start:]
        names = tuple(name.removeprefix(PROBABILITY_PREFIX) for name in predicted)
        task = _task_of_classes(kind, labels, names)
        arrays = {"probabilities": tuple(predicted)}
        return None if task is None else _roles(task, fold, labels, arrays)
    if rest[-1:] == [VALUE_COLUMN] and len(rest) <= 2 and kind in (None, "regression"):
        task = TASKS["regression"](tuple(rest[:-1]) or ("label",))
        return _roles(task, fold, rest[:-1], {"value": (VALUE_COLUMN,)})
    while start and survival_time(rest[start - 1]) > 0:
        start -= 1
    curves = tuple(rest[start:])
    if start and rest[start - 1] == RISK_COLUMN and start - 1 in (0, 2):
        labels, times = rest[: start - 1], tuple(map(survival_time, curves))
        of_kind = TASKS[kind or "cox"]
        if of_kind.output != "risk" or (of_kind.has_time_bins and len(times) < 2):
            return None
        task = of_kind(
            tuple(labels) or ("time", "event"), time_edges=times if of_kind.has_time_bins else ()
        )
        risk = {"risk": (RISK_COLUMN,)} | ({"survival": curves} if curves else {})
        return _roles(task, fold, labels, risk, times)
    return None


def _task_of_classes(
    kind: TaskKind | None, labels: Sequence[str], names: tuple[str, ...]
) -> Task | None:
    if kind is None:
        kind = "multiclass" if len(names) > 2 else "binary"
        if tuple(labels) == names or len(labels) > 1:
            kind = "multilabel"
    of_kind = TASKS[kind]
    if of_kind.partial_labels:
        return of_kind(names, names) if tuple(labels) in ((), names) else None
    fits = of_kind.exclusive_classes and len(labels) <= 1 and len(names) >= 2
    if not fits or (of_kind.has_positive_class and len(names) > 2):
        return None
    return of_kind(tuple(labels) or ("label",), names)


def _roles(
    task: Task,
    fold: str | None,
    labels: Sequence[str],
    arrays: dict[str, tuple[str, ...]],
    times: tuple[float, ...] = (),
) -> Roles:
    return Roles(task, BAG_COLUMN, PATIENT_COLUMN, fold, bool(labels), arrays, times)

"""The kinds of task by name."""

from collections.abc import Mapping
from typing import Any, Literal

from slidenet.core.registry import Registry
from slidenet.tasks.classes import BinaryTask, MulticlassTask, OrdinalTask
from slidenet.tasks.multilabel import MultilabelTask
from slidenet.tasks.multitask import MULTITASK, MultiTask
from slidenet.tasks.regression import RegressionTask
from slidenet.tasks.survival import CoxTask, DiscreteTimeTask
from slidenet.tasks.task import Task

TaskKind = Literal[
    "binary", "multiclass", "multilabel", "ordinal", "regression", "cox", "discrete_time"
]
"""Names of the kinds, as flags and YAML take them.

Several targets are no such kind: they are given as targets, each of one of these.
"""

TASKS: Registry[type[Task]] = Registry("kind of task")
for _task in (
    BinaryTask,
    MulticlassTask,
    MultilabelTask,
    OrdinalTask,
    RegressionTask,
    CoxTask,
    DiscreteTimeTask,
):
    TASKS.add(_task.kind, _task)


def task_from_identity(identity: Mapping[str, Any]) -> Task:
    """The task that `Task.identity()` described.

    Raises:
        UnknownNameError: A kind that slidenet does not know.
    """
    if identity["kind"] == MULTITASK:
        return MultiTask.from_identity(identity, task_from_identity)
    return TASKS[identity["kind"]](
        tuple(identity["label_columns"]),
        tuple(identity["class_names"]),
        tuple(identity["time_edges"]),
    )


def task_of(task: Task, target: str) -> Task:
    """The task of one of several targets; the task itself for ""."""
    return task.targets[target] if isinstance(task, MultiTask) else task

"""Which number chooses the best checkpoint, per task, and which way it is better."""

from typing import Literal

from slidenet.core.errors import ConfigError
from slidenet.metrics import metric_of
from slidenet.tasks.metrics import metric_names
from slidenet.tasks.task import Task, TaskKind

Mode = Literal["min", "max"]

MONITORS: dict[TaskKind, str] = {
    "binary": "val_loss",
    "multiclass": "val_loss",
    "multilabel": "val_loss",
    "ordinal": "val_loss",
    "regression": "val_loss",
    "cox": "val_c_index",
    "discrete_time": "val_loss",
}
"""Default per task.

The loss, because with the few bags of a validation set AUROC is soon 1 and then tells no epochs
apart. Cox: the partial likelihood has no meaning across sets of bags, the c-index has.
"""


def default_monitor(task: Task) -> str:
    """Name of the logged value by which the best epoch of this task is chosen."""
    return MONITORS[task.kind]


def monitor_mode(task: Task, name: str) -> Mode:
    """Whether a logged value is better when lower or higher.

    Args:
        task: What is predicted.
        name: `val_loss`, or `val_` and a name of `metric_names(task)`.

    Raises:
        ConfigError: If no such value is logged for this task.
    """
    known = ["loss", *metric_names(task)]
    value = name.removeprefix("val_")
    if value not in known or value == name:
        raise ConfigError(
            f"monitor {name!r} for a {task.kind} task",
            expected=f"one of {', '.join('val_' + k for k in known)}",
        )
    if value == "loss" or metric_of(value, task.class_names)[0].lower_is_better:
        return "min"
    return "max"

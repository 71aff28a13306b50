"""Checks of the numbers that a classifier takes from its training data, as a file may hold them."""

from collections.abc import Sequence

from slidenet.core.checks import check_not_negative, check_positive
from slidenet.core.errors import ConfigError
from slidenet.tasks import MultiTask, Task


def check_numbers(class_weights: Sequence[float] | None, feature_scale: float) -> None:
    """Refuses weights of classes and a scale of features that are none.

    Raises:
        ConfigError: Naming the number.
    """
    for weight in class_weights or ():
        check_not_negative(class_weights=weight)
    check_positive(feature_scale=feature_scale)


def check_target_scale(
    task: Task, offset: float | Sequence[float], scale: float | Sequence[float]
) -> None:
    """Refuses an offset and a scale that the targets of a task cannot have.

    Raises:
        ConfigError: Naming both.
    """
    several = isinstance(task, MultiTask)
    offsets, scales = (list(n) if isinstance(n, Sequence) else [n] for n in (offset, scale))
    fits = len(offsets) == len(scales) and len(scales) in (1, task.num_outputs if several else 1)
    usual = (offsets, scales) == ([0], [1])
    if not fits or min(scales) <= 0 or not (task.scales_target or usual):
        expected = "a positive scale (labels that vary)" if task.scales_target else "0 and 1"
        shown = [", ".join(f"{n:g}" for n in numbers) for numbers in (offsets, scales)]
        raise ConfigError(
            f"target_offset {shown[0]} and target_scale {shown[1]} for a {task.kind} task",
            expected=f"{expected}, for each of {task.num_outputs} outputs" if several else expected,
        )


def weighted(task: Task, target_weights: Sequence[float]) -> MultiTask:
    """A task of several targets with weights of their losses.

    Raises:
        ConfigError: A task of one target, or not as many weights as targets.
    """
    if not isinstance(task, MultiTask):
        raise ConfigError(
            f"target_weights {list(target_weights)} for a {task.kind} task",
            expected="several targets",
        )
    return task.weighted(target_weights)

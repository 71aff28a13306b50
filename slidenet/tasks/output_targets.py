"""Targets of a task as one yes or no per output, as losses on single tiles need them."""

import torch
from torch import Tensor
from torch.nn import functional as F

from slidenet.core.errors import ConfigError
from slidenet.tasks.task import TaskKind


def told_kind(target: Tensor, num_outputs: int) -> TaskKind | None:
    """The kind of task, as far as its targets tell.

    Args:
        target: As `slidenet.tasks.task.Task` says.
        num_outputs: Length K of the logits.

    Returns:
        "binary", "multiclass" or "multilabel"; None for what has no classes (regression, survival).

    Raises:
        ConfigError: For classes beyond the outputs, as ordinal targets have.
    """
    if not target.is_floating_point():
        if num_outputs == 1:
            return "binary"
        if int(target.max()) >= num_outputs:
            raise ConfigError(
                f"class {int(target.max())} among the targets of {num_outputs} outputs",
                expected=f"classes 0 to {num_outputs - 1}",
                remedy="say kind='ordinal' to auxiliary_loss if that is the task",
            )
        return "multiclass"
    if target.ndim == 2 and target.shape[1] == num_outputs:
        known = target[~target.isnan()]
        if bool(((known == 0) | (known == 1)).all()):
            return "multilabel"
    return None


def output_targets(target: Tensor, num_outputs: int, kind: TaskKind | None) -> Tensor | None:
    """What each output of each bag stands for: 1 yes, 0 no, NaN not known.

    Args:
        target: As `slidenet.tasks.task.Task` says.
        num_outputs: Length K of the logits.
        kind: The kind of task; None for none with classes.

    Returns:
        float32 (B, K), or None where outputs are no classes.
    """
    if kind == "binary":
        return target[:, None].float()
    if kind == "multiclass":
        return F.one_hot(target, num_outputs).float()
    if kind == "multilabel":
        return target.float()
    if kind == "ordinal":
        # CORN: output k is about bags of class k or above only.
        steps = target[:, None] - torch.arange(num_outputs, device=target.device)
        return torch.where(steps < 0, torch.nan, (steps > 0).float())
    return None

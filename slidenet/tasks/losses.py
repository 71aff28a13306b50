"""The loss of every task: logits and targets in, one scalar out.

B bags, K classes, labels or bins; targets as the docstring of `slidenet.tasks.task.Task` says.
Logits are taken to float32 first, so a loss is the same under mixed precision.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from slidenet.core.errors import ConfigError
from slidenet.tasks.survival_losses import cox_loss, discrete_time_loss
from slidenet.tasks.task import Task


def task_loss(
    task: Task, logits: Tensor, target: Tensor, class_weights: Tensor | None = None
) -> Tensor:
    """The training loss of a batch of bags.

    Weighted losses are divided by the number of bags, not by the sum of their weights: with one
    bag per batch the weights would otherwise cancel.

    Args:
        task: What is predicted.
        logits: (B, `task.num_outputs`).
        target: As `Task` says for its kind.
        class_weights: (K,) weight of each class; for "multilabel" the weight of each label's
            positives. Not for regression and survival.

    Returns:
        Scalar: binary and multi-label cross-entropy (NaN labels left out), cross-entropy, CORN's
        ordinal likelihood, mean squared error, Cox partial likelihood or discrete-time hazards.
    """
    assert logits.ndim == 2, "logits are (bags, outputs)"
    assert logits.shape[1] == task.num_outputs, f"{task.num_outputs} outputs, got {logits.shape}"
    check_class_weights(task, None if class_weights is None else len(class_weights))
    logits = logits.float()
    weights = None if class_weights is None else class_weights.to(logits)
    match task.kind:
        case "binary":
            each = F.binary_cross_entropy_with_logits(
                logits[:, 0], target.to(logits), reduction="none"
            )
            return (each if weights is None else each * weights[target.long()]).mean()
        case "multiclass":
            each = F.cross_entropy(logits, target.long(), weight=weights, reduction="none")
            return each.mean()
        case "multilabel":
            return multilabel_loss(logits, target, weights)
        case "ordinal":
            return ordinal_loss(logits, target, weights)
        case "regression":
            return F.mse_loss(logits[:, 0], target.to(logits))
        case "cox":
            return cox_loss(logits[:, 0], target)
        case "discrete_time":
            return discrete_time_loss(logits, target, task.time_edges)


def multilabel_loss(logits: Tensor, target: Tensor, positive_weights: Tensor | None) -> Tensor:
    """Binary cross-entropy over the labels that are known.

    Args:
        logits: float32 (B, K).
        target: (B, K): 0, 1, or NaN where the label is missing, which then counts for nothing.
        positive_weights: (K,) weight of each label's positives.

    Returns:
        Mean over the known labels; a zero that can be differentiated where none is known.
    """
    known = ~torch.isnan(target)
    # NaN is replaced before the loss: masking it afterwards would still give NaN gradients.
    filled = torch.where(known, target, torch.zeros_like(target)).to(logits)
    each = F.binary_cross_entropy_with_logits(
        logits, filled, pos_weight=positive_weights, reduction="none"
    )
    return (each * known).sum() / known.sum().clamp(min=1)


def ordinal_loss(logits: Tensor, target: Tensor, class_weights: Tensor | None) -> Tensor:
    """CORN: conditional ordinal regression (Shi, Cao and Raschka 2021, section 3.4).

    Logit k is that of P(y > k | y >= k) and learns from the bags with y >= k only. The sum over k
    is then the exact negative log-likelihood of the class; we divide by the bags, where the paper
    divides by the summed sizes of its subsets.

    Args:
        logits: float32 (B, K - 1).
        target: int64 (B,), the class.
        class_weights: (K,) or None.

    Returns:
        Mean negative log-likelihood.
    """
    steps = torch.arange(logits.shape[1], device=logits.device)
    beyond = (target[:, None] > steps).to(logits)
    asked = (target[:, None] >= steps).to(logits)
    each = F.binary_cross_entropy_with_logits(logits, beyond, reduction="none")
    per_bag = (each * asked).sum(1)
    return (per_bag if class_weights is None else per_bag * class_weights[target.long()]).mean()


def check_class_weights(task: Task, count: int | None) -> None:
    """Refuses weights for a task without classes, or in another number than its classes."""
    if count is None or (task.is_classification and count == task.num_classes):
        return
    expected = f"{task.num_classes} weights" if task.is_classification else "no class weights"
    raise ConfigError(
        f"{count} class weights for a {task.kind} task",
        expected=expected + (f" ({', '.join(task.class_names)})" if task.class_names else ""),
    )


def check_batch_size(task: Task, batch_size: int) -> None:
    """Refuses a Cox model trained on single bags, which would never learn anything."""
    if task.kind == "cox" and batch_size < 2:
        raise ConfigError(
            f"a Cox model with batch_size {batch_size}",
            expected="several bags a batch, whose risks the partial likelihood compares",
            remedy="set batch_size to 16 or more, or take the task 'discrete_time'",
        )

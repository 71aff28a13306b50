"""The metrics of a task as torchmetrics objects: gathered over batches and over ranks.

All of them need every bag at once (ranks, confusion, risk sets), so the states are the predictions
and targets themselves, concatenated, and `compute` is `compute_metrics`. torchmetrics' own AUROC,
average precision and balanced accuracy count a class without bags as 0 and are too slow for a
bootstrap; where both are defined the tests hold ours against theirs.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from slidenet.tasks.losses import task_loss
from slidenet.tasks.metrics import compute_metrics, metric_names
from slidenet.tasks.prediction import TaskPrediction
from slidenet.tasks.task import Task

PARTS = ("probabilities", "value", "risk", "survival")


class TaskMetrics(Metric):
    """Every metric of a task over the bags seen since the last `reset`.

    Call `update(prediction, target)` per batch and `compute()` for the dict of `compute_metrics`,
    the same on every rank. Make it with `make_metrics`.

    Args:
        task: What is predicted.
    """

    is_differentiable = False
    full_state_update = False
    # Lists of tensors; one tensor each once ranks are gathered.
    probabilities: Any
    value: Any
    risk: Any
    survival: Any
    target: Any

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = task
        self.survival_times: tuple[float, ...] = task.time_edges
        for name in (*PARTS, "target"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, prediction: TaskPrediction, target: Tensor) -> None:
        """Takes in a batch.

        Args:
            prediction: Of `predict_task`.
            target: As `Task` says.
        """
        for name in PARTS:
            part = getattr(prediction, name)
            if part is not None:
                getattr(self, name).append(part.detach())
        self.survival_times = prediction.survival_times
        self.target.append(target.detach())

    def compute(self) -> dict[str, float]:
        """Metric name -> value over all bags; all NaN where there was no bag."""
        states: dict[str, Any] = {name: getattr(self, name) for name in PARTS}
        # A state is a list before ranks are gathered, a tensor afterwards, [] where unused.
        parts = {n: dim_zero_cat(s) for n, s in states.items() if isinstance(s, Tensor) or s}
        if not parts:
            return dict.fromkeys(metric_names(self.task), float("nan"))
        prediction = TaskPrediction(**parts, survival_times=self.survival_times)
        target = dim_zero_cat(self.target).cpu().numpy()
        return compute_metrics(self.task, prediction.numpy(), target)


class EpochLoss(Metric):
    """The task's loss over all bags at once, whatever the batches and ranks were.

    The mean of batch losses would depend on the batches: for Cox through the risk sets, for
    multi-label through the number of known labels.

    Args:
        task: What is predicted.
        class_weights: As for `task_loss`.
    """

    is_differentiable = False
    full_state_update = False
    higher_is_better = False
    # Lists of tensors; one tensor each once ranks are gathered.
    logits: Any
    target: Any

    def __init__(self, task: Task, class_weights: Sequence[float] | None = None) -> None:
        super().__init__()
        self.task = task
        self.class_weights = None if class_weights is None else torch.tensor(class_weights)
        for name in ("logits", "target"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, logits: Tensor, target: Tensor) -> None:
        """Takes in a batch: logits (B, outputs) and its targets."""
        self.logits.append(logits.detach().float())
        self.target.append(target.detach())

    def compute(self) -> Tensor:
        """Scalar loss; NaN where there was no bag."""
        if not isinstance(self.logits, Tensor) and not self.logits:
            return torch.tensor(float("nan"))
        logits, target = dim_zero_cat(self.logits), dim_zero_cat(self.target)
        return task_loss(self.task, logits, target, self.class_weights)


def make_metrics(task: Task) -> TaskMetrics:
    """The metrics of a task, empty."""
    return TaskMetrics(task)

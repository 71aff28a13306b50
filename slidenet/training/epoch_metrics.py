"""Loss and metrics of an epoch, gathered over batches and over ranks."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from slidenet.tasks import MultiTask, Task


class EpochMetrics(Metric):
    """Loss and every metric of a task over the bags seen since the last `reset`.

    Call `update(logits, target)` per batch, and `compute()` for the same dict on every rank. Most
    metrics need every bag at once (ranks, confusion, risk sets), and so does the loss: the mean of
    batch losses would depend on the batches, for Cox through the risk sets, for multi-label through
    the number of known labels. So the states are logits and targets themselves, concatenated.
    torchmetrics' own AUROC, average precision and balanced accuracy count a class without bags as 0
    and are too slow for a bootstrap; where both are defined the tests hold ours against theirs.

    Args:
        task: What is predicted.
        class_weights: As for `Task.loss`.
    """

    is_differentiable = False
    full_state_update = False
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

    def compute(self) -> dict[str, float]:
        """The losses, then metric name -> value, over all bags; all NaN where there was no bag."""
        if not isinstance(self.logits, Tensor) and not self.logits:
            losses = self.task.loss_names if isinstance(self.task, MultiTask) else ()
            return dict.fromkeys(("loss", *losses, *self.task.metric_names()), float("nan"))
        logits, target = dim_zero_cat(self.logits), dim_zero_cat(self.target)
        found = {"loss": float(self.task.loss(logits, target, self.class_weights))}
        if isinstance(self.task, MultiTask):
            found |= self.task.target_losses(logits, target, self.class_weights)
        metrics = self.task.compute_metrics(self.task.predict(logits), target.cpu().numpy())
        return {**found, **metrics}

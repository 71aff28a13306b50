"""One class of several, in no order."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from slidenet.tasks.classes import ClassTask


@dataclass(frozen=True)
class MulticlassTask(ClassTask):
    """One logit per class, under a softmax."""

    kind = "multiclass"

    @property
    def num_outputs(self) -> int:
        """Number of classes."""
        return self.num_classes

    def _loss(self, logits: Tensor, target: Tensor, weights: Tensor | None) -> Tensor:
        return F.cross_entropy(logits, target.long(), weight=weights, reduction="none").mean()

    def output_targets(self, target: Tensor) -> Tensor:
        """See `Task.output_targets`."""
        return F.one_hot(target, self.num_outputs).float()

    def instance_loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy of the classes."""
        return F.cross_entropy(logits, target)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Softmax."""
        return logits.softmax(1)

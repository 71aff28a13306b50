"""One class of several that have an order, such as grades."""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from slidenet.tasks.classes import ClassTask


@dataclass(frozen=True)
class OrdinalTask(ClassTask):
    """CORN: conditional ordinal regression (Shi, Cao and Raschka 2021, section 3.4).

    K - 1 logits; logit k is that of P(y > k | y >= k).
    """

    kind = "ordinal"
    headline: ClassVar[str] = "quadratic_kappa"
    ordered_classes: ClassVar[bool] = True

    @property
    def num_outputs(self) -> int:
        """Number of steps between classes."""
        return self.num_classes - 1

    def _loss(self, logits: Tensor, target: Tensor, weights: Tensor | None) -> Tensor:
        # Logit k learns from the bags with y >= k only. The sum over k is then the exact negative
        # log-likelihood of the class; it is divided by the bags, where the paper divides by the
        # summed sizes of its subsets.
        steps = torch.arange(logits.shape[1], device=logits.device)
        beyond = (target[:, None] > steps).to(logits)
        asked = (target[:, None] >= steps).to(logits)
        each = F.binary_cross_entropy_with_logits(logits, beyond, reduction="none")
        per_bag = (each * asked).sum(1)
        return (per_bag if weights is None else per_bag * weights[target.long()]).mean()

    def output_targets(self, target: Tensor) -> Tensor:
        """See `Task.output_targets`; output k is about bags of class k or above only."""
        steps = target[:, None] - torch.arange(self.num_outputs, device=target.device)
        return torch.where(steps < 0, torch.nan, (steps > 0).float())

    def probabilities(self, logits: Tensor) -> Tensor:
        """Of the classes, by the chain of conditional probabilities."""
        ones = torch.ones_like(logits[:, :1])
        beyond = torch.cat([ones, logits.sigmoid().cumprod(1)], dim=1)  # P(y > k - 1)
        stop = torch.cat([(-logits).sigmoid(), ones], dim=1)  # P(y = k | y >= k)
        return beyond * stop

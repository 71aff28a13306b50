"""One class of two, the second of which is the positive one."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from slidenet.metrics import DEFAULT_THRESHOLD, BinaryCases, Cases, TargetType
from slidenet.tasks.classes import ClassTask, Forecasts, Question, class_probabilities
from slidenet.tasks.predictions import PredictionArrays
from slidenet.tasks.targets import Targets


@dataclass(frozen=True)
class BinaryTask(ClassTask):
    """Yes or no: one logit, of the second class."""

    kind = "binary"
    has_positive_class: ClassVar[bool] = True
    takes_threshold: ClassVar[bool] = True

    def _wrong_classes(self) -> str:
        return "" if len(set(self.class_names)) == self.num_classes == 2 else "different names, 2"

    def _loss(self, logits: Tensor, target: Tensor, weights: Tensor | None) -> Tensor:
        wanted = target.to(logits)
        each = F.binary_cross_entropy_with_logits(logits[:, 0], wanted, reduction="none")
        return (each if weights is None else each * weights[target.long()]).mean()

    def output_targets(self, target: Tensor) -> Tensor:
        """See `Task.output_targets`."""
        return target[:, None].float()

    def probabilities(self, logits: Tensor) -> Tensor:
        """Of both classes; either is exact near 0."""
        return torch.cat([(-logits).sigmoid(), logits.sigmoid()], dim=1)

    def decide(self, prediction: PredictionArrays, threshold: float | None = None) -> list[str]:
        """The positive class from `threshold` on."""
        cut = DEFAULT_THRESHOLD if threshold is None else threshold
        positive = class_probabilities(prediction)[:, 1] >= cut
        return [self.class_names[int(yes)] for yes in positive]

    def target_type(self, curves: bool | None = None) -> TargetType:
        """See `Task.target_type`."""
        return "binary"

    def cases(self, prediction: PredictionArrays, target: Targets, threshold: float) -> Cases:
        """See `Task.cases`."""
        return BinaryCases(class_probabilities(prediction)[:, 1], target == 1, threshold)

    def questions(self, targets: Targets) -> list[Question]:
        """One: is it of the positive class?"""
        return super().questions(targets)[1:]

    def forecasts(self, prediction: PredictionArrays, targets: Targets) -> Forecasts:
        """Of the positive class."""
        score = class_probabilities(prediction)[:, 1]
        words = f"predicted probability of {self.class_names[1]}"
        return Forecasts(score, targets == 1, np.arange(len(targets)), words)

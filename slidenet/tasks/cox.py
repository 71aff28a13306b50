"""Survival by a proportional hazards model."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from slidenet.core.errors import ConfigError
from slidenet.tasks.calibration import Calibration
from slidenet.tasks.predictions import PredictionArrays
from slidenet.tasks.survival import SurvivalTask
from slidenet.tasks.task import to_array


@dataclass(frozen=True)
class CoxTask(SurvivalTask):
    """One logit, the log hazard ratio."""

    kind = "cox"
    needs_baseline: ClassVar[bool] = True
    monitor: ClassVar[str] = "val_c_index"
    """The partial likelihood has no meaning across sets of bags, the c-index has."""

    def check_batch_size(self, batch_size: int) -> None:
        """Refuses single bags, which would never learn anything."""
        if batch_size < 2:
            raise ConfigError(
                f"a Cox model with batch_size {batch_size}",
                expected="several bags a batch, whose risks the partial likelihood compares",
                remedy="set batch_size to 16 or more, or take the task 'discrete_time'",
            )

    def _loss(self, logits: Tensor, target: Tensor, weights: Tensor | None) -> Tensor:
        return partial_likelihood_loss(logits[:, 0], target)

    def _predict(self, logits: Tensor, calibration: Calibration) -> PredictionArrays:
        risk, baseline = logits[:, 0], calibration.baseline
        if baseline is None:
            return PredictionArrays(risk=to_array(risk))
        times = baseline.report_times
        survival = to_array(baseline.survival(risk, times))
        return PredictionArrays(risk=to_array(risk), survival=survival, survival_times=times)


def partial_likelihood_loss(risk: Tensor, target: Tensor) -> Tensor:
    """Negative log partial likelihood (Cox 1972), ties after Breslow (1974), mean over events.

    The risk set of an event at time t is every bag of the batch whose time is t or later.

    Args:
        risk: float32 (B,), log hazard ratio.
        target: (B, 2), (time, event).

    Returns:
        Scalar. A batch without an event says nothing: zero, with zero gradients.
    """
    order = torch.argsort(target[:, 0], descending=True, stable=True)
    risk, time, event = risk[order], target[order, 0], target[order, 1] > 0
    # The risk set reaches to the last bag of the same time, in descending order.
    ascending = time.flip(0).contiguous()
    last = len(time) - 1 - torch.searchsorted(ascending, ascending, right=False).flip(0)
    log_risk_set = torch.logcumsumexp(risk, dim=0)[last]
    each = torch.where(event, log_risk_set - risk, torch.zeros_like(risk))
    return each.sum() / event.sum().clamp(min=1)

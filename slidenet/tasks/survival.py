"""A time that may be censored: by a proportional hazards model, or by the hazards of time bins."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from slidenet.core.arrays import BoolArray, IntArray
from slidenet.core.errors import ConfigError
from slidenet.metrics import Cases, RiskCases, SurvivalCases, TargetType
from slidenet.tasks.calibration import Calibration
from slidenet.tasks.explained import ExplainedTarget
from slidenet.tasks.predictions import PredictionArrays, to_array
from slidenet.tasks.targets import LabelCells, Lack, Stratum, Targets, quarters
from slidenet.tasks.task import Output, Shapes, Task


@dataclass(frozen=True)
class SurvivalTask(Task):
    """Targets are (time, event); a bag without event is right-censored at its time."""

    output: ClassVar[Output] = "risk"
    headline: ClassVar[str] = "c_index"

    def _rules(self) -> dict[str, tuple[bool, str]]:
        fits = len(set(self.label_columns)) == len(self.label_columns) == 2
        return super()._rules() | {"label_columns": (fits, "two columns, time and event")}

    def encode(self, cells: LabelCells) -> Targets:
        """(N, 2), time and event."""
        time, event = self.label_columns
        return np.stack([cells.times(time), cells.events(event)], axis=1)

    def target_shape(self, num_bags: int) -> tuple[int, ...]:
        """(N, 2)."""
        return (num_bags, 2)

    def check_targets(self, targets: Targets) -> tuple[BoolArray, str]:
        """See `Task.check_targets`."""
        time, event = targets.T
        good = np.isfinite(time) & (time > 0) & np.isin(event, (0, 1))
        return good, "a positive time, and an event of 0 or 1"

    def find_lack(self, targets: Targets) -> Lack | None:
        """See `Task.find_lack`: no event."""
        if targets[:, 1].any():
            return None
        return Lack(self.label_columns[1], "holds no event (all are 0)", "at least one 1")

    def can_compare(self, targets: Targets) -> bool:
        """Whether a bag outlasts the event of another, as the c-index needs."""
        time, event = targets[:, 0], targets[:, 1] == 1
        if not event.any():
            return False
        first = time[event].min()  # who is censored at that very time has outlasted it
        return bool(((time > first) | ((time == first) & ~event)).any())

    def strata(self, targets: Targets) -> list[Stratum]:
        """Event, which every split needs, and censored."""
        event = targets[:, 1] == 1
        return [
            Stratum("event", event, absence=f"event ({self.label_columns[1]} 1)"),
            Stratum("censored", ~event, needed=False),
        ]

    def codes(self, targets: Targets) -> Mapping[str, IntArray]:
        """Quarters of the martingale residual, high where events came early."""
        residual = martingale_residual(targets[:, 0], targets[:, 1])
        return {" and ".join(self.label_columns): quarters(residual)}

    def prediction_shapes(self, num_bags: int, prediction: PredictionArrays) -> Shapes:
        """See `Task.prediction_shapes`; curves are optional unless there are `time_edges`."""
        times = self.time_edges or prediction.survival_times
        curves = self.has_time_bins or prediction.survival is not None
        return {"risk": (num_bags,), **({"survival": (num_bags, len(times))} if curves else {})}

    def explained_targets(self) -> tuple[ExplainedTarget, ...]:
        """The risk: the log hazard ratio, or the sum of the logits of hazards."""
        return (ExplainedTarget("risk", (1.0,) * self.num_outputs, relative=True),)

    def target_type(self, curves: bool | None = None) -> TargetType:
        """See `Task.target_type`."""
        with_curves = not self.needs_baseline if curves is None else curves
        return "censored, with curves" if with_curves else "censored"

    def cases(self, prediction: PredictionArrays, target: Targets, threshold: float) -> Cases:
        """See `Task.cases`."""
        risk, survival = prediction.risk, prediction.survival
        assert risk is not None
        if survival is None:
            return RiskCases(risk, target)
        return SurvivalCases(risk, target, survival, prediction.survival_times)


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
                remedy="pass --data.batch-size 16 or more (in Python, batch_size), or take the "
                "task 'discrete_time'",
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


@dataclass(frozen=True)
class DiscreteTimeTask(SurvivalTask):
    """One logit per bin, of the hazard in it (Gensheimer and Narasimhan 2019, eq. 1-3).

    Bin t holds edges[t - 1] < time <= edges[t]. A bag with an event in bin t survived the bins
    before and died in it. A censored bag survived exactly the bins whose upper edge it reached: a
    bin it was lost in counts neither way (the paper counts it from its middle on, Zadeh and Schmid
    2020 count it whole). Beyond the last edge every bag is censored there.
    """

    kind = "discrete_time"
    has_time_bins: ClassVar[bool] = True

    def _rules(self) -> dict[str, tuple[bool, str]]:
        edges = self.time_edges
        fits = len(edges) >= 2 and edges[0] > 0 and all(a < b for a, b in pairwise(edges))
        return super()._rules() | {"time_edges": (fits, "at least two positive edges, ascending")}

    @property
    def num_outputs(self) -> int:
        """Number of bins."""
        return len(self.time_edges)

    def _loss(self, logits: Tensor, target: Tensor, weights: Tensor | None) -> Tensor:
        died, survived = hazard_indicators(target, self.time_edges)
        log_hazard, log_safe = F.logsigmoid(logits), F.logsigmoid(-logits)
        return -(died.to(logits) * log_hazard + survived.to(logits) * log_safe).sum(1).mean()

    def _predict(self, logits: Tensor, calibration: Calibration) -> PredictionArrays:
        survival = (1 - logits.sigmoid()).cumprod(1)
        # Risk is minus the summed survival, as in Zadeh and Schmid 2020.
        return PredictionArrays(
            risk=to_array(-survival.sum(1)),
            survival=to_array(survival),
            survival_times=self.time_edges,
        )


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


def hazard_indicators(target: Tensor, time_edges: Sequence[float]) -> tuple[Tensor, Tensor]:
    """In which bin each bag died, and which bins it is known to have survived.

    Args:
        target: (B, 2), (time, event).
        time_edges: T upper edges, ascending.

    Returns:
        Bool (B, T) died, bool (B, T) survived.
    """
    # Edges in the precision of the times: a time written as 12.3 then lies on the edge 12.3.
    edges = torch.tensor(time_edges, dtype=target.dtype, device=target.device)
    time, event = target[:, :1].contiguous(), target[:, 1:] > 0
    bins = torch.arange(len(edges), device=target.device)
    bin_of_time = torch.searchsorted(edges, time, right=False)
    died = event & (bins == bin_of_time)
    survived = torch.where(event, bins < bin_of_time, edges <= time)
    return died, survived


def martingale_residual(
    time: npt.NDArray[np.generic], event: npt.NDArray[np.generic]
) -> npt.NDArray[np.float64]:
    """Event less the Nelson-Aalen cumulative hazard at its time, of every bag.

    Args:
        time: (N,).
        event: (N,), 1 where it happened.
    """
    time, event = time.astype(np.float64), event.astype(np.float64)
    happened = np.unique(time[event == 1])
    at_risk = (time[None, :] >= happened[:, None]).sum(1)
    deaths = ((time[None, :] == happened[:, None]) & (event == 1)).sum(1)
    hazard = np.concatenate([[0.0], np.cumsum(deaths / at_risk)])
    residual: npt.NDArray[np.float64] = (
        event - hazard[np.searchsorted(happened, time, side="right")]
    )
    return residual

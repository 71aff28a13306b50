"""Survival by the hazards of time bins."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from slidenet.tasks.calibration import Calibration
from slidenet.tasks.predictions import PredictionArrays
from slidenet.tasks.survival import SurvivalTask
from slidenet.tasks.task import to_array


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

    def _wrong_edges(self) -> str:
        edges = self.time_edges
        good = len(edges) >= 2 and edges[0] > 0 and all(a < b for a, b in pairwise(edges))
        return "" if good else "at least two positive edges, ascending"

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

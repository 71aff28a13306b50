"""Losses of times that may be censored: Cox partial likelihood and discrete-time hazards."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def cox_loss(risk: Tensor, target: Tensor) -> Tensor:
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


def discrete_time_loss(logits: Tensor, target: Tensor, time_edges: Sequence[float]) -> Tensor:
    """Negative log-likelihood of discrete hazards (Gensheimer and Narasimhan 2019, eq. 1-3).

    Bin t holds edges[t - 1] < time <= edges[t]. A bag with an event in bin t survived the bins
    before and died in it. A censored bag survived exactly the bins whose upper edge it reached: a
    bin it was lost in counts neither way (the paper counts it from its middle on, Zadeh and Schmid
    2020 count it whole). Beyond the last edge every bag is censored there.

    Args:
        logits: float32 (B, T), logit of the hazard of each bin.
        target: (B, 2), (time, event).
        time_edges: T upper edges, ascending.

    Returns:
        Mean over bags.
    """
    died, survived = hazard_indicators(target, time_edges)
    log_hazard, log_safe = F.logsigmoid(logits), F.logsigmoid(-logits)
    return -(died.to(logits) * log_hazard + survived.to(logits) * log_safe).sum(1).mean()


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

"""Merging attention over disjoint (or repeated) sets of keys through their log-sum-exps.

softmax over a union of key sets is the average of the softmaxes over each set, weighted by
exp(lse_i - lse_total). It is exact, and what ring and split attention do.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def merge_attention(parts: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """One softmax over the keys of all parts, differentiable through outputs and log-sum-exps.

    Args:
        parts: Pairs of output (B, L, H, D) and log-sum-exp (B, H, L); -inf where a part has no key.

    Returns:
        Output (B, L, H, D) in the dtype of the first part, and log-sum-exp (B, H, L).
    """
    assert parts, "nothing to merge"
    lses = torch.stack([lse for _, lse in parts])
    lse = safe_logsumexp(lses)
    weights = mixing_weights(lses, lse)
    total = sum(w * out.to(w.dtype) for w, (out, _) in zip(weights, parts, strict=True))
    assert isinstance(total, Tensor)
    return total.to(parts[0][0].dtype), lse


def safe_logsumexp(lses: Tensor) -> Tensor:
    """log-sum-exp over dim 0; -inf, with zero gradient, where every entry is -inf."""
    empty = (lses == -torch.inf).all(dim=0)
    return torch.logsumexp(lses.masked_fill(empty, 0.0), dim=0).masked_fill(empty, -torch.inf)


def mixing_weights(lses: Tensor, lse: Tensor) -> Tensor:
    """Softmax of (P, B, H, L) over dim 0 given its `lse`, as (P, B, L, H, 1) to scale outputs."""
    finite = lse.masked_fill(lse == -torch.inf, 0.0)
    return torch.exp(lses - finite).transpose(-1, -2)[..., None]


def add_zero_keys(out: Tensor, lse: Tensor, count: Tensor | float) -> tuple[Tensor, Tensor]:
    """Adds `count` keys of score 0 and value 0 to a softmax already taken.

    Args:
        out: Output (B, L, H, D).
        lse: Log-sum-exp (B, H, L).
        count: How many such keys each query sees, broadcastable to (B, H, L).

    Returns:
        Output and log-sum-exp over the larger key set.
    """
    zeros = torch.log(torch.as_tensor(count, dtype=lse.dtype, device=lse.device)).expand_as(lse)
    total = safe_logsumexp(torch.stack([lse, zeros]))
    weight = mixing_weights(lse[None], total)[0]
    return (out * weight).to(out.dtype), total

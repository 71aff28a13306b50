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


def merge_into_(total: Tensor, total_lse: Tensor, out: Tensor, lse: Tensor) -> None:
    """Merges attention over further keys into a running total, in place.

    Args:
        total: Running output (..., L, D), zero where no key has been seen.
        total_lse: Running log-sum-exp (..., L), -inf there.
        out: Output over the further keys, like total.
        lse: Their log-sum-exp, like total_lse.
    """
    # The new weight of `out` is exp(lse - logaddexp(total_lse, lse)); both -inf means no key yet.
    weight = torch.sigmoid(lse - total_lse).nan_to_num_(nan=0.0)
    total.lerp_(out.to(total.dtype), weight[..., None])
    total_lse.copy_(torch.logaddexp(total_lse, lse))


def add_zero_keys_(out: Tensor, lse: Tensor, count: int) -> None:
    """Adds `count` keys of score 0 and value 0 to a softmax already taken, in place.

    Args:
        out: Output (..., L, D).
        lse: Log-sum-exp (..., L).
        count: How many such keys every query sees.
    """
    total = torch.logaddexp(lse, lse.new_tensor(float(count)).log())
    out.mul_(torch.exp(lse - total)[..., None])
    lse.copy_(total)

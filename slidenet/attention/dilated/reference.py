"""The oracle of dilated attention: every branch from its explicit mask, in float64, then mixed."""

import torch
from torch import Tensor

from slidenet.attention.dilated.config import DilatedConfig, branch_mask, zero_slots
from slidenet.attention.merge import mixing_weights, safe_logsumexp
from slidenet.attention.protocol import check_inputs
from slidenet.attention.reference import reference_attention


def reference_dilated_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    config: DilatedConfig,
    *,
    mask: Tensor | None = None,
    causal: bool = False,
) -> tuple[Tensor, Tensor]:
    """Dilated attention by definition; quadratic.

    Args:
        q: Queries (B, L, H, D).
        k: Keys (B, L, H, D).
        v: Values (B, L, H, D).
        config: The branches and conventions.
        mask: Bool (B, L), True = real. An entry is as long as its last real position says; real
            positions keep their place, and gaps before them are neither attended nor zero slots.
        causal: Keep only keys at or before the query. Zero slots come last in a segment, so no
            query sees any.

    Returns:
        Output (B, L, H, D) and log-sum-exp (B, H, L), float64; as `reference_attention`.
    """
    check_inputs(q, k, v, mask)
    batch, length, heads, _ = q.shape
    outs, lses = [], []
    for b in range(batch):
        kept = torch.arange(length) if mask is None else mask[b].nonzero()[:, 0]
        end = int(kept[-1]) + 1 if len(kept) else 0
        real = None if mask is None else mask[b : b + 1, :end]
        q_b, k_b, v_b = (x[b : b + 1, :end] for x in (q, k, v))
        out, lse = _one_length(q_b, k_b, v_b, config, real, causal)
        outs.append(torch.nn.functional.pad(out, (0, 0, 0, 0, 0, length - end)))
        lses.append(torch.nn.functional.pad(lse, (0, length - end), value=-torch.inf))
    if not outs:
        return q.double(), q.new_zeros((0, heads, length), dtype=torch.float64)
    return torch.cat(outs), torch.cat(lses)


def _one_length(
    q: Tensor, k: Tensor, v: Tensor, config: DilatedConfig, mask: Tensor | None, causal: bool
) -> tuple[Tensor, Tensor]:
    length, heads = q.shape[1:3]
    outs, lses = [], []
    for w, r in config.branches:
        if config.legacy_readback and w % r and length > w:
            out, lse = _legacy_branch(q, k, v, w, r)
            outs.append(out)
            lses.append(lse)
            continue
        allowed = branch_mask(length, heads, w, r, config.head_order, causal=causal)
        zeros = None
        if config.padding == "released" and not causal:
            # A query that its branch does not keep has no zero slots either.
            zeros = zero_slots(length, heads, w, r, config.head_order)
            zeros = (zeros * allowed.any(dim=-1)).to(q.device)
        out, lse = reference_attention(q, k, v, allowed.to(q.device), mask=mask, zero_keys=zeros)
        outs.append(out)
        lses.append(lse)
    stacked = torch.stack(lses)
    total = safe_logsumexp(stacked)
    weights = mixing_weights(stacked, total)
    if config.mixing_gradient == "released":
        weights = weights.detach()
    return (weights * torch.stack(outs)).sum(dim=0), total


def _legacy_branch(q: Tensor, k: Tensor, v: Tensor, w: int, r: int) -> tuple[Tensor, Tensor]:
    """One branch with every segment filled up with zero tokens to w2 positions that all attend.

    The released read-back takes the first L positions of that longer sequence.
    """
    length, heads = q.shape[1:3]
    w2 = -(-w // r) * r
    token = torch.arange(length, device=q.device)
    place = token // w * w2 + token % w
    filled = -(-length // w) * w2
    longer = [
        x.new_zeros(x.shape[0], filled, *x.shape[2:]).index_copy(1, place, x) for x in (q, k, v)
    ]
    allowed = branch_mask(filled, heads, w2, r).to(q.device)
    out, lse = reference_attention(longer[0], longer[1], longer[2], allowed)
    return out[:, :length], lse[..., :length]

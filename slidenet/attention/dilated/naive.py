"""Dilated attention step by step as published: the baseline of the benchmarks, and the legacy path.

Pad to whole segments, reshape, pick each head's diagonal of (position mod r, head group), attend
per branch with scaled dot-product attention, scatter back, mix by the softmax of the log-sum-exps
(Ding et al. 2023, section 2.3; in the released code the zero slots take part). Every step is the
plain tensor operation a reader of the paper would write; the attention kernel is the fast path's.

Reading back: a segment of w tokens is filled up to w2 = ceil(w / r) r slots. The paper's output of
token p is that of segment p // w, slot p mod w. The released code joins the filled segments and
takes the first L slots: segment p // w2, slot p mod w2. With w2 > w that is another token's output,
or that of a zero query, from the first token after the first segment on (`legacy_readback`).
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

from slidenet.attention.dilated.config import DilatedConfig
from slidenet.attention.kernels.backends import attend
from slidenet.attention.protocol import check_inputs
from slidenet.core.errors import AttentionError

UNCOVERED_LSE = -1e8


def naive_dilated_attention(
    q: Tensor, k: Tensor, v: Tensor, config: DilatedConfig
) -> tuple[Tensor, Tensor]:
    """Dilated attention with zero slots, released head order and any mixing gradient.

    Args:
        q: Queries (B, L, H, D).
        k: Keys (B, L, H, D).
        v: Values (B, L, H, D).
        config: The branches; padding and head order must be "released". With `legacy_readback` the
            outputs are read back as in the released code.

    Returns:
        Output (B, L, H, D) and log-sum-exp (B, H, L), -1e8 where no branch keeps the position.

    Raises:
        AttentionError: For another padding or head order.
    """
    check_inputs(q, k, v)
    if (config.padding, config.head_order) != ("released", "released"):
        raise AttentionError(
            f"padding is {config.padding!r} and head_order is {config.head_order!r}",
            expected="'released' for both in the naive version",
        )
    legacy = config.legacy_readback
    branches = [_branch(q, k, v, w, r, legacy) for w, r in config.branches if q.shape[1]]
    if not branches:
        return q, q.new_full((q.shape[0], q.shape[2], 0), UNCOVERED_LSE)
    lses = torch.stack([lse for _, lse in branches])
    weights = torch.softmax(lses, dim=0)
    if config.mixing_gradient == "released":
        weights = weights.detach()
    outs = torch.stack([out for out, _ in branches])
    out = (outs * weights[..., None]).sum(dim=0).to(q.dtype)
    return out, torch.logsumexp(lses, dim=0).transpose(1, 2)


def _branch(q: Tensor, k: Tensor, v: Tensor, w: int, r: int, legacy: bool) -> tuple[Tensor, Tensor]:
    """One branch: output (B, L, H, D) and log-sum-exp (B, L, H)."""
    batch, length, heads, _ = q.shape
    w = min(w, length)
    sparse = [_sparsify(_segments(x, w), r) for x in (q, k, v)]
    out, lse = attend(*(x.transpose(1, 2) for x in sparse))
    dense_out = _scatter(out.transpose(1, 2), r, heads, 0.0)
    dense_lse = _scatter(lse.transpose(1, 2)[..., None], r, heads, UNCOVERED_LSE)
    if not legacy:
        dense_out, dense_lse = dense_out[:, :w], dense_lse[:, :w]
    return (
        dense_out.reshape(batch, -1, heads, q.shape[-1])[:, :length],
        dense_lse.reshape(batch, -1, heads)[:, :length],
    )


def _segments(x: Tensor, w: int) -> Tensor:
    """(B, L, H, D) -> (B S, w, H, D), the last segment filled up with zeros."""
    x = pad(x, (0, 0, 0, 0, 0, -x.shape[1] % w))
    return x.reshape(-1, w, *x.shape[2:])


def _sparsify(x: Tensor, r: int) -> Tensor:
    """(S, w, H, D) -> (S, m, r G, D): slot group g of r keeps positions g, g + r, ..."""
    x = pad(x, (0, 0, 0, -x.shape[2] % r, 0, -x.shape[1] % r))
    blocks = x.reshape(x.shape[0], -1, r, r, x.shape[2] // r, x.shape[3])
    picked = blocks.diagonal(dim1=2, dim2=3)  # (S, m, G, D, r)
    return picked.permute(0, 1, 4, 2, 3).flatten(2, 3)


def _scatter(x: Tensor, r: int, heads: int, empty: float) -> Tensor:
    """(S, m, r G, D) -> (S, m r, H, D), `empty` where a head keeps nothing."""
    groups = x.reshape(*x.shape[:2], r, -1, x.shape[3]).permute(0, 1, 3, 4, 2)
    blocks = x.new_full((*x.shape[:2], r, r, x.shape[2] // r, x.shape[3]), empty)
    full = torch.diagonal_scatter(blocks, groups, dim1=2, dim2=3)
    return full.flatten(1, 2).flatten(2, 3)[:, :, :heads]

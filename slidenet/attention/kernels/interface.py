"""What a kernel of softmax attention is, and what kernels share."""

from typing import Protocol

import torch
from torch import Tensor

from slidenet.attention.protocol import lse_dtype

PAGE_BYTES = 4096


class Kernel(Protocol):
    """Softmax attention on views (B, H, L, D), with its log-sum-exp and its backward."""

    @property
    def name(self) -> str:
        """The name it is forced by."""
        ...

    def refuses(self, q: Tensor, masked: bool) -> str:
        """Why inputs like q cannot run here, or an empty string."""
        ...

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, allowed: Tensor | None, causal: bool
    ) -> tuple[Tensor, Tensor]:
        """Output (B, H, Lq, D) and log-sum-exp (B, H, Lq); empty rows are 0 and -inf."""
        ...

    def backward(
        self,
        grad_out: Tensor,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        out: Tensor,
        lse: Tensor,
        allowed: Tensor | None,
        causal: bool,
        *,
        scale: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of q, k, v for weights exp(q k^T scale - lse) and row sums grad_out . out.

        `out` and `lse` may be those of a larger key set than k, v.
        """
        ...


def empty_result(q: Tensor) -> tuple[Tensor, Tensor]:
    """What attention over no keys gives: zeros and -inf."""
    lse = torch.full(q.shape[:-1], -torch.inf, dtype=lse_dtype(q.dtype), device=q.device)
    return torch.zeros_like(q), lse


def rows_with_keys(allowed: Tensor, q: Tensor, k: Tensor, causal: bool) -> Tensor:
    """Which queries see at least one key: bool (B, H, Lq)."""
    if causal:
        first = allowed.to(torch.uint8).argmax(dim=-1)  # the first key allowed at all
        first = torch.where(allowed.any(dim=-1), first, k.shape[-2])
        rows = first <= torch.arange(q.shape[-2], device=q.device)
    else:
        rows = allowed.any(dim=-1)
    return rows.expand(q.shape[:-1])


def absent_rows_to_inf(lse: Tensor) -> Tensor:
    """Turns the -inf of rows without keys into +inf, so that exp(score - lse) is zero there."""
    return lse.masked_fill(lse == -torch.inf, torch.inf)


def contiguous_features(x: Tensor) -> Tensor:
    """The tensor itself when its features are adjacent in memory, else a copy where they are."""
    return x if x.stride(-1) == 1 else x.contiguous()


def close_rows(x: Tensor) -> Tensor:
    """The tensor itself, or a copy of it when its rows lie more than a memory page apart.

    A CPU kernel reads every key once per block of queries; rows on pages of their own cost a
    translation miss each time, which one copy saves (up to 40 % at dilation 16).
    """
    far = x.shape[-2] > 1 and x.stride(-2) * x.element_size() > PAGE_BYTES
    return x.contiguous() if far else contiguous_features(x)


def additive(allowed: Tensor | None, q: Tensor, k: Tensor) -> Tensor | None:
    """The mask as 0 and -inf in the dtype of q, 4-d and broadcastable to (B, H, Lq, Lk)."""
    if allowed is None:
        return None
    bias = torch.zeros(allowed.shape, dtype=q.dtype, device=q.device)
    bias = bias.masked_fill_(~allowed, -torch.inf)
    return bias.expand(*bias.shape[:-2], q.shape[-2], k.shape[-2])[(None,) * (4 - bias.ndim)]

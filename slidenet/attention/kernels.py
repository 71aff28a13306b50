"""The kernels attention runs on, in order of preference, behind one small interface."""

from typing import Protocol

import torch
from torch import Tensor

from slidenet.attention.protocol import lse_dtype
from slidenet.core.registry import Registry


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


class MathKernel:
    """Plain matrix products on any device and dtype; accumulates in float32 (float64)."""

    name = "math"

    def refuses(self, q: Tensor, masked: bool) -> str:
        """Takes everything."""
        return ""

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, allowed: Tensor | None, causal: bool
    ) -> tuple[Tensor, Tensor]:
        """See `Kernel.forward`."""
        dtype = lse_dtype(q.dtype)
        scores = _scores(q, k, allowed, causal, q.shape[-1] ** -0.5)
        if k.shape[-2] == 0:
            return empty_result(q)
        lse = torch.logsumexp(scores, dim=-1)
        finite = lse.masked_fill(lse == -torch.inf, 0.0)
        out = torch.exp(scores.sub_(finite[..., None])) @ v.to(dtype)
        return out.to(q.dtype), lse

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
        """See `Kernel.backward`."""
        dtype = lse_dtype(q.dtype)
        lse = absent_rows_to_inf(lse)
        weights = torch.exp(_scores(q, k, allowed, causal, scale) - lse[..., None].to(dtype))
        grad_out, out = grad_out.to(dtype), out.to(dtype)
        grad_weights = grad_out @ v.to(dtype).transpose(-1, -2)
        grad_scores = weights * (grad_weights - (grad_out * out).sum(-1, keepdim=True)) * scale
        grad_q = grad_scores @ k.to(dtype)
        grad_k = grad_scores.transpose(-1, -2) @ q.to(dtype)
        grad_v = weights.transpose(-1, -2) @ grad_out
        return grad_q.to(q.dtype), grad_k.to(q.dtype), grad_v.to(q.dtype)


def _scores(q: Tensor, k: Tensor, allowed: Tensor | None, causal: bool, scale: float) -> Tensor:
    dtype = lse_dtype(q.dtype)
    scores = (q.to(dtype) @ k.to(dtype).transpose(-1, -2)) * scale
    if causal:
        allowed = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).tril()
    return scores if allowed is None else scores.masked_fill_(~allowed, -torch.inf)


class CpuFlashKernel:
    """ATen's tiled attention for CPUs: never holds the scores, returns the log-sum-exp."""

    name = "cpu_flash"

    def refuses(self, q: Tensor, masked: bool) -> str:
        """Needs CPU tensors of a floating dtype with contiguous features."""
        if q.device.type != "cpu":
            return f"needs CPU tensors, not {q.device.type}"
        if q.dtype not in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
            return f"has no {q.dtype} version"
        return ""

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, allowed: Tensor | None, causal: bool
    ) -> tuple[Tensor, Tensor]:
        """See `Kernel.forward`."""
        if q.numel() == 0 or k.numel() == 0:
            return empty_result(q)  # the ATen kernel divides by zero on empty inputs
        q, k, v = (contiguous_features(x) for x in (q, k, v))
        out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            q, k, v, 0.0, causal, attn_mask=additive(allowed, q, k)
        )
        if allowed is not None:  # the ATen kernel says 0 for rows without keys
            lse = lse.masked_fill(~allowed.any(dim=-1).expand(lse.shape), -torch.inf)
        return out, lse

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
        """See `Kernel.backward`."""
        if q.numel() == 0 or k.numel() == 0:
            return torch.zeros_like(q), torch.zeros_like(k), torch.zeros_like(v)
        q, k, v, out, grad_out = (contiguous_features(x) for x in (q, k, v, out, grad_out))
        grads: tuple[Tensor, Tensor, Tensor] = (
            torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
                grad_out, q, k, v, out, absent_rows_to_inf(lse), 0.0, causal,
                attn_mask=additive(allowed, q, k), scale=scale,
            )
        )  # fmt: skip
        return grads


def empty_result(q: Tensor) -> tuple[Tensor, Tensor]:
    """What attention over no keys gives: zeros and -inf."""
    lse = torch.full(q.shape[:-1], -torch.inf, dtype=lse_dtype(q.dtype), device=q.device)
    return torch.zeros_like(q), lse


def absent_rows_to_inf(lse: Tensor) -> Tensor:
    """Turns the -inf of rows without keys into +inf, so that exp(score - lse) is zero there."""
    return lse.masked_fill(lse == -torch.inf, torch.inf)


def contiguous_features(x: Tensor) -> Tensor:
    """The tensor itself when its features are adjacent in memory, else a copy where they are."""
    return x if x.stride(-1) == 1 else x.contiguous()


def additive(allowed: Tensor | None, q: Tensor, k: Tensor) -> Tensor | None:
    """The mask as 0 and -inf in the dtype of q, 4-d and broadcastable to (B, H, Lq, Lk)."""
    if allowed is None:
        return None
    bias = torch.zeros(allowed.shape, dtype=q.dtype, device=q.device)
    bias = bias.masked_fill_(~allowed, -torch.inf)
    return bias.expand(*bias.shape[:-2], q.shape[-2], k.shape[-2])[(None,) * (4 - bias.ndim)]


PREFERENCE: tuple[Kernel, ...] = (CpuFlashKernel(), MathKernel())
"""Fastest first; the last one takes everything."""

KERNELS: Registry[Kernel] = Registry("attention backend")
for _kernel in PREFERENCE:
    KERNELS.add(_kernel.name, _kernel)

"""Kernels for CPU tensors, and the plain one for any."""

import torch
from torch import Tensor

from slidenet.attention.kernels.interface import (
    absent_rows_to_inf,
    additive,
    close_rows,
    contiguous_features,
    empty_result,
    rows_with_keys,
)
from slidenet.attention.protocol import lse_dtype


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
        past = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).tril()
        allowed = past if allowed is None else allowed & past
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
        q, k, v = contiguous_features(q), close_rows(k), close_rows(v)
        out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            q, k, v, 0.0, causal, attn_mask=additive(allowed, q, k)
        )
        if allowed is not None:  # the ATen kernel says 0 for rows without keys
            lse = lse.masked_fill(~rows_with_keys(allowed, q, k, causal), -torch.inf)
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
        q, k, v = (close_rows(x) for x in (q, k, v))
        out, grad_out = contiguous_features(out), contiguous_features(grad_out)
        grads: tuple[Tensor, Tensor, Tensor] = (
            torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
                grad_out, q, k, v, out, absent_rows_to_inf(lse), 0.0, causal,
                attn_mask=additive(allowed, q, k), scale=scale,
            )
        )  # fmt: skip
        return grads

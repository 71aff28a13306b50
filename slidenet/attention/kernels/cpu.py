"""Kernels for CPU tensors, and the plain one for any."""

import torch
from torch import Tensor

from slidenet.attention.kernels.base import Kernel, Operands, contiguous_features
from slidenet.attention.protocol import lse_dtype

PAGE_BYTES = 4096


class MathKernel(Kernel):
    """Plain matrix products on any device and dtype; accumulates in float32 (float64)."""

    name = "math"

    def refuses(self, q: Tensor, masked: bool) -> str:
        """Takes everything."""
        return ""

    def run_forward(self, x: Operands) -> tuple[Tensor, Tensor]:
        """See `Kernel.forward`."""
        scores = _scores(x, x.q.shape[-1] ** -0.5)
        lse = torch.logsumexp(scores, dim=-1)
        finite = lse.masked_fill(lse == -torch.inf, 0.0)
        out = torch.exp(scores.sub_(finite[..., None])) @ x.v.to(scores.dtype)
        return out.to(x.q.dtype), lse

    def run_backward(
        self, x: Operands, out: Tensor, lse: Tensor, grad_out: Tensor, scale: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See `Kernel.run_backward`."""
        dtype = lse_dtype(x.q.dtype)
        weights = torch.exp(_scores(x, scale) - lse[..., None].to(dtype))
        grad_out, out = grad_out.to(dtype), out.to(dtype)
        grad_weights = grad_out @ x.v.to(dtype).transpose(-1, -2)
        grad_scores = weights * (grad_weights - (grad_out * out).sum(-1, keepdim=True)) * scale
        grad_q = grad_scores @ x.k.to(dtype)
        grad_k = grad_scores.transpose(-1, -2) @ x.q.to(dtype)
        grad_v = weights.transpose(-1, -2) @ grad_out
        return grad_q.to(x.q.dtype), grad_k.to(x.q.dtype), grad_v.to(x.q.dtype)


def _scores(x: Operands, scale: float) -> Tensor:
    """(B, H, Lq, Lk), -inf where not attended."""
    dtype, allowed = lse_dtype(x.q.dtype), x.allowed
    scores = (x.q.to(dtype) @ x.k.to(dtype).transpose(-1, -2)) * scale
    if x.causal:
        past = torch.ones(scores.shape[-2:], dtype=torch.bool, device=x.q.device).tril()
        allowed = past if allowed is None else allowed & past
    return scores if allowed is None else scores.masked_fill_(~allowed, -torch.inf)


class CpuFlashKernel(Kernel):
    """ATen's blockwise attention for CPUs: never holds the scores, returns the log-sum-exp."""

    name = "cpu_flash"

    def refuses(self, q: Tensor, masked: bool) -> str:
        """Needs CPU tensors of a floating dtype."""
        if q.device.type != "cpu":
            return f"needs CPU tensors, not {q.device.type}"
        if q.dtype not in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
            return f"has no {q.dtype} version"
        return ""

    def run_forward(self, x: Operands) -> tuple[Tensor, Tensor]:
        """See `Kernel.forward`."""
        q, k, v = contiguous_features(x.q), _close_rows(x.k), _close_rows(x.v)
        out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            q, k, v, 0.0, x.causal, attn_mask=_bias(x)
        )
        if x.allowed is not None:  # the ATen kernel gives 0 for rows without keys
            lse = lse.masked_fill(~x.rows_with_keys(), -torch.inf)
        return out, lse

    def run_backward(
        self, x: Operands, out: Tensor, lse: Tensor, grad_out: Tensor, scale: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See `Kernel.run_backward`."""
        q, k, v = (_close_rows(y) for y in (x.q, x.k, x.v))
        out, grad_out = contiguous_features(out), contiguous_features(grad_out)
        grads: tuple[Tensor, Tensor, Tensor] = (
            torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
                grad_out, q, k, v, out, lse, 0.0, x.causal, attn_mask=_bias(x), scale=scale
            )
        )
        return grads


def _close_rows(x: Tensor) -> Tensor:
    """The tensor itself, or a copy of it when its rows lie more than a memory page apart.

    The kernel reads every key once per block of queries; rows on pages of their own cost a
    translation miss each time, which one copy saves (up to 40 % at dilation 16).
    """
    far = x.shape[-2] > 1 and x.stride(-2) * x.element_size() > PAGE_BYTES
    return x.contiguous() if far else contiguous_features(x)


def _bias(x: Operands) -> Tensor | None:
    """The allowed pairs as 0 and -inf, 4-d and broadcastable to (B, H, Lq, Lk)."""
    if x.allowed is None:
        return None
    bias = torch.zeros(x.allowed.shape, dtype=x.q.dtype, device=x.q.device)
    bias = bias.masked_fill_(~x.allowed, -torch.inf)
    shape = (*bias.shape[:-2], x.q.shape[-2], x.k.shape[-2])
    return bias.expand(shape)[(None,) * (4 - bias.ndim)]

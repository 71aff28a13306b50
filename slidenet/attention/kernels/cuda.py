"""PyTorch's own kernels for CUDA tensors, called where they return the log-sum-exp."""

import torch
from torch import Tensor

from slidenet.attention.kernels.interface import (
    absent_rows_to_inf,
    contiguous_features,
    empty_result,
    rows_with_keys,
)

LSE_ALIGNMENT = 32
"""The memory-efficient kernel pads log-sum-exps to a multiple of this."""

BIAS_ALIGNMENT = 16
"""It reads rows of a bias at multiples of 16 bytes; 16 elements serve every dtype."""


class CudaFlashKernel:
    """FlashAttention 2 as built into PyTorch; half precision, no mask."""

    name = "cuda_flash"

    def refuses(self, q: Tensor, masked: bool) -> str:
        """Needs CUDA, half precision, no mask, 8 to 256 features in multiples of 8."""
        if q.device.type != "cuda":
            return f"needs CUDA tensors, not {q.device.type}"
        if q.dtype not in (torch.float16, torch.bfloat16):
            return f"has no {q.dtype} version"
        if masked:
            return "takes no mask"
        if q.shape[-1] % 8 or q.shape[-1] > 248:
            return f"needs a multiple of 8 of at most 248 features per head, not {q.shape[-1]}"
        if torch.cuda.get_device_capability(q.device) < (8, 0):
            return "needs compute capability 8.0"
        return ""

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, allowed: Tensor | None, causal: bool
    ) -> tuple[Tensor, Tensor]:
        """See `Kernel.forward`."""
        if q.numel() == 0 or k.numel() == 0:
            return empty_result(q)
        q, k, v = (contiguous_features(x) for x in (q, k, v))
        out, lse, *_ = torch.ops.aten._scaled_dot_product_flash_attention(q, k, v, 0.0, causal)
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
        unused = torch.zeros(2, dtype=torch.uint64, device=q.device)  # state of no dropout
        grads: tuple[Tensor, Tensor, Tensor] = (
            torch.ops.aten._scaled_dot_product_flash_attention_backward(
                grad_out, q, k, v, out, absent_rows_to_inf(lse).contiguous(), None, None,
                q.shape[-2], k.shape[-2], 0.0, causal, unused, unused[0], scale=scale,
            )
        )  # fmt: skip
        return grads


class CudaEfficientKernel:
    """Memory-efficient attention as built into PyTorch; any precision but float64, any mask."""

    name = "cuda_efficient"

    def refuses(self, q: Tensor, masked: bool) -> str:
        """Needs CUDA and not float64."""
        if q.device.type != "cuda":
            return f"needs CUDA tensors, not {q.device.type}"
        if q.dtype not in (torch.float16, torch.bfloat16, torch.float32):
            return f"has no {q.dtype} version"
        return ""

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, allowed: Tensor | None, causal: bool
    ) -> tuple[Tensor, Tensor]:
        """See `Kernel.forward`."""
        if q.numel() == 0 or k.numel() == 0:
            return empty_result(q)
        q, k, v = (contiguous_features(x) for x in (q, k, v))
        out, lse, *_ = torch.ops.aten._scaled_dot_product_efficient_attention(
            q, k, v, aligned_bias(allowed, q, k), True, 0.0, causal
        )
        lse = lse[..., : q.shape[-2]]
        if allowed is not None:
            rows = rows_with_keys(allowed, q, k, causal)
            out, lse = out.masked_fill(~rows[..., None], 0), lse.masked_fill(~rows, -torch.inf)
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
        padding = -lse.shape[-1] % LSE_ALIGNMENT
        lse = torch.nn.functional.pad(absent_rows_to_inf(lse), (0, padding), value=torch.inf)
        unused = torch.zeros((), dtype=torch.int64, device=q.device)  # state of no dropout
        grad_q, grad_k, grad_v, _ = (
            torch.ops.aten._scaled_dot_product_efficient_attention_backward(
                grad_out, q, k, v, aligned_bias(allowed, q, k), out, lse.contiguous(),
                unused, unused, 0.0, [True, True, True, False], causal, scale=scale,
            )
        )  # fmt: skip
        return grad_q, grad_k, grad_v


def aligned_bias(allowed: Tensor | None, q: Tensor, k: Tensor) -> Tensor | None:
    """The mask as 0 and -inf (B, H, Lq, Lk) whose rows start at aligned addresses."""
    if allowed is None:
        return None
    width = k.shape[-2]
    shape = (*allowed.shape[:-1], width + -width % BIAS_ALIGNMENT)
    bias = torch.full(shape, -torch.inf, dtype=q.dtype, device=q.device)[..., :width]
    bias.masked_fill_(allowed.expand(bias.shape), 0.0)
    return bias.expand(*q.shape[:3], width)

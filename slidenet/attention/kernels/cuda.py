"""PyTorch's own kernels for CUDA tensors, called where they return the log-sum-exp."""

import torch
from torch import Tensor

from slidenet.attention.kernels.base import Kernel, Operands

LSE_ALIGNMENT = 32
"""The memory-efficient kernel pads log-sum-exps to a multiple of this."""

BIAS_ALIGNMENT = 16
"""It reads rows of a bias at multiples of 16 bytes; 16 elements serve every dtype."""

ROW_BYTES = 16
"""Both kernels read the features of a position in pieces of this size, from multiples of it."""


class CudaFlashKernel(Kernel):
    """FlashAttention 2 as built into PyTorch; half precision, no mask."""

    name = "cuda_flash"

    def refuses(self, q: Tensor, masked: bool) -> str:
        """Needs CUDA, half precision, no mask, at most 248 features."""
        if q.device.type != "cuda":
            return f"needs CUDA tensors, not {q.device.type}"
        if q.dtype not in (torch.float16, torch.bfloat16):
            return f"has no {q.dtype} version"
        if masked:
            return "takes no mask"
        if q.shape[-1] > 248:  # 256, of which a gradient of the log-sum-exp takes 8
            return f"takes at most 248 features per head, not {q.shape[-1]}"
        if torch.cuda.get_device_capability(q.device) < (8, 0):
            return "needs compute capability 8.0"
        return ""

    def run_forward(self, x: Operands) -> tuple[Tensor, Tensor]:
        """See `Kernel.forward`."""
        q, k, v = (aligned_rows(y) for y in (x.q, x.k, x.v))
        out, lse, *_ = torch.ops.aten._scaled_dot_product_flash_attention(
            q, k, v, 0.0, x.causal, scale=x.scale
        )
        return out[..., : x.q.shape[-1]], lse

    def run_backward(
        self, x: Operands, out: Tensor, lse: Tensor, grad_out: Tensor, scale: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See `Kernel.run_backward`."""
        width = x.q.shape[-1]
        q, k, v, out, grad_out = (aligned_rows(y) for y in (x.q, x.k, x.v, out, grad_out))
        unused = torch.zeros(2, dtype=torch.uint64, device=q.device)  # state of no dropout
        grad_q, grad_k, grad_v = torch.ops.aten._scaled_dot_product_flash_attention_backward(
            grad_out, q, k, v, out, lse.contiguous(), None, None, q.shape[-2], k.shape[-2],
            0.0, x.causal, unused, unused[0], scale=scale,
        )  # fmt: skip
        return grad_q[..., :width], grad_k[..., :width], grad_v[..., :width]


class CudaEfficientKernel(Kernel):
    """Memory-efficient attention as built into PyTorch; any precision but float64, any mask."""

    name = "cuda_efficient"

    def refuses(self, q: Tensor, masked: bool) -> str:
        """Needs CUDA and not float64."""
        if q.device.type != "cuda":
            return f"needs CUDA tensors, not {q.device.type}"
        if q.dtype not in (torch.float16, torch.bfloat16, torch.float32):
            return f"has no {q.dtype} version"
        return ""

    def run_forward(self, x: Operands) -> tuple[Tensor, Tensor]:
        """See `Kernel.forward`."""
        q, k, v = (aligned_rows(y) for y in (x.q, x.k, x.v))
        out, lse, *_ = torch.ops.aten._scaled_dot_product_efficient_attention(
            q, k, v, _aligned_bias(x), True, 0.0, x.causal, scale=x.scale
        )
        out, lse = out[..., : x.q.shape[-1]], lse[..., : q.shape[-2]]
        if x.allowed is not None:
            rows = x.rows_with_keys()
            out, lse = out.masked_fill(~rows[..., None], 0), lse.masked_fill(~rows, -torch.inf)
        return out, lse

    def run_backward(
        self, x: Operands, out: Tensor, lse: Tensor, grad_out: Tensor, scale: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See `Kernel.run_backward`."""
        width = x.q.shape[-1]
        q, k, v, grad_out = (aligned_rows(y) for y in (x.q, x.k, x.v, grad_out))
        # In half precision the kernel takes it for (B, Lq, H, D) in memory, whatever its strides.
        out = aligned_rows(out).transpose(1, 2).contiguous().transpose(1, 2)
        lse = torch.nn.functional.pad(lse, (0, -lse.shape[-1] % LSE_ALIGNMENT), value=torch.inf)
        unused = torch.zeros((), dtype=torch.int64, device=q.device)  # state of no dropout
        grad_q, grad_k, grad_v, _ = (
            torch.ops.aten._scaled_dot_product_efficient_attention_backward(
                grad_out, q, k, v, _aligned_bias(x), out, lse.contiguous(), unused, unused,
                0.0, [True, True, True, False], x.causal, scale=scale,
            )
        )  # fmt: skip
        return grad_q[..., :width], grad_k[..., :width], grad_v[..., :width]


def aligned_rows(x: Tensor) -> Tensor:
    """The tensor itself, or a copy whose rows start and end at multiples of `ROW_BYTES`.

    Features are filled up with zeros, which change no score and give features that are cut off.
    """
    size = x.element_size()
    fill = -x.shape[-1] % (ROW_BYTES // size)
    if fill:
        return torch.nn.functional.pad(x, (0, fill))
    steps = [step * size for step, n in zip(x.stride()[:-1], x.shape[:-1], strict=True) if n > 1]
    aligned = not any(step % ROW_BYTES for step in (*steps, x.data_ptr()))
    return x if aligned and x.stride(-1) == 1 else x.clone(memory_format=torch.contiguous_format)


def _aligned_bias(x: Operands) -> Tensor | None:
    """The allowed pairs as 0 and -inf (B, H, Lq, Lk) whose rows start at aligned addresses."""
    if x.allowed is None:
        return None
    width = x.k.shape[-2]
    shape = (*x.allowed.shape[:-1], width + -width % BIAS_ALIGNMENT)
    bias = x.q.new_full(shape, -torch.inf)[..., :width]
    bias.masked_fill_(x.allowed.expand(bias.shape), 0.0)
    return bias.expand(*x.q.shape[:3], width)

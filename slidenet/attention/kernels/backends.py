"""The one place that chooses which kernel computes softmax attention on one set of views.

A kernel takes q (B, H, Lq, D), k and v (B, H, Lk, D) as strided views (last dim contiguous) and an
optional boolean mask, and gives the output and its log-sum-exp; its backward takes *any* output and
log-sum-exp, so that attention over several key sets can be differentiated with the merged ones
(GigaPath facts, point 7). The choice can be forced (`force_backend`) and inspected
(`explain_backends`).

Dilated attention on CUDA tensors does without such kernels where it can: `triton` computes all its
branches at once (`dilated/triton/`), 1.2 to 5.6 times as fast (docs/performance.md). Where Triton
is missing or refuses, and where another backend is forced, it runs on the kernels here.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from slidenet.attention.kernels.base import Kernel, Operands
from slidenet.attention.kernels.cpu import CpuFlashKernel, MathKernel
from slidenet.attention.kernels.cuda import CudaEfficientKernel, CudaFlashKernel
from slidenet.core.errors import AttentionError
from slidenet.core.registry import Registry

PREFERENCE: tuple[Kernel, ...] = (
    CpuFlashKernel(),
    CudaFlashKernel(),
    CudaEfficientKernel(),
    MathKernel(),
)
"""Fastest first; the last one takes everything."""

KERNELS: Registry[Kernel] = Registry("attention backend")
for _kernel in PREFERENCE:
    KERNELS.add(_kernel.name, _kernel)

TRITON = "triton"
"""The backend that computes dilated attention as a whole, and nothing else."""

_FORCED: ContextVar[str | None] = ContextVar("slidenet_attention_backend", default=None)


@contextmanager
def force_backend(name: str) -> Iterator[None]:
    """Uses only kernel `name` within the block.

    Args:
        name: One of `list(KERNELS)`, or "triton" for dilated attention.

    Raises:
        UnknownNameError: If there is no such kernel.
    """
    token = _FORCED.set(name if name == TRITON else KERNELS[name].name)
    try:
        yield
    finally:
        _FORCED.reset(token)


def explain_backends(q: Tensor, *, masked: bool = False) -> dict[str, str]:
    """Why each kernel is or is not used for inputs like q (B, H, L, D), in order of preference.

    Returns:
        Kernel name to "" (usable) or the reason it is not; "triton" only serves dilated attention.
    """
    from slidenet.attention.dilated.triton.calls import triton_refuses

    kernels = {kernel.name: kernel.refuses(q, masked) for kernel in PREFERENCE}
    return {TRITON: triton_refuses(q)} | kernels


def uses_triton(q: Tensor) -> bool:
    """Whether dilated attention on inputs like q (B, L, H, D) runs on its Triton kernels.

    Raises:
        AttentionError: If they are forced and cannot take the inputs.
    """
    if _FORCED.get() not in (None, TRITON) or (q.device.type != "cuda" and not forces_triton()):
        return False
    from slidenet.attention.dilated.triton.calls import triton_refuses

    reason = triton_refuses(q)
    if forces_triton():
        _check_forced(TRITON, reason)
    return not reason


def forces_triton() -> bool:
    """Whether nothing but the Triton kernels may be used."""
    return _FORCED.get() == TRITON


def choose_kernel(q: Tensor, *, masked: bool = False) -> Kernel:
    """The forced kernel, or the first that takes inputs like q (B, H, L, D).

    Raises:
        AttentionError: If the forced kernel cannot take them.
    """
    forced = _FORCED.get()
    if forced is None:
        return next(kernel for kernel in PREFERENCE if not kernel.refuses(q, masked))
    if forced == TRITON:
        _check_forced(TRITON, "serves dilated attention only")
    kernel = KERNELS[forced]
    _check_forced(forced, kernel.refuses(q, masked))
    return kernel


def _check_forced(name: str, reason: str) -> None:
    if reason:
        raise AttentionError(
            f"the forced attention backend {name!r} {reason}",
            remedy="leave the force_backend block or force another backend",
        )


def attend(
    q: Tensor, k: Tensor, v: Tensor, *, allowed: Tensor | None = None, causal: bool = False
) -> tuple[Tensor, Tensor]:
    """Softmax attention on the chosen kernel, differentiable through output *and* log-sum-exp.

    Args:
        q: Queries (B, H, Lq, D); strided views are fine.
        k: Keys (B, H, Lk, D).
        v: Values (B, H, Lk, D).
        allowed: Bool, broadcastable to (B, H, Lq, Lk), True = attended. Values at keys that no
            query attends must still be finite (zero them): 0 * NaN is NaN.
        causal: Query i sees keys <= i, of those allowed; needs Lq == Lk.

    Returns:
        Output (B, H, Lq, D) in the dtype of q and log-sum-exp (B, H, Lq), float32 (float64 for
        float64). Rows without any key are zero with log-sum-exp -inf.
    """
    assert not causal or q.shape[-2] == k.shape[-2]
    out, lse = _Attend.apply(q, k, v, allowed, causal)
    return out, lse


class _Attend(torch.autograd.Function):
    """One kernel call with a gradient for its log-sum-exp."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, allowed: Tensor | None, causal: bool
    ) -> tuple[Tensor, Tensor]:
        ctx.kernel = choose_kernel(q, masked=allowed is not None)
        out, lse = ctx.kernel.forward(Operands(q, k, v, allowed, causal))
        ctx.save_for_backward(q, k, v, allowed, out, lse)
        ctx.causal = causal
        ctx.set_materialize_grads(False)
        return out, lse

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad_out: Tensor | None, grad_lse: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        q, k, v, allowed, out, lse = ctx.saved_tensors
        if grad_out is None and grad_lse is None:
            return (None,) * 5
        if grad_out is None:
            grad_out = torch.zeros_like(out)
        x = Operands(q, k, v, allowed, ctx.causal)
        return *ctx.kernel.backward(x, out, lse, grad_out, grad_lse), None, None

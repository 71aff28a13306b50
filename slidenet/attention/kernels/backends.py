"""The one place that chooses which kernel computes softmax attention on one set of views.

A kernel takes q (B, H, Lq, D), k and v (B, H, Lk, D) as strided views (last dim contiguous) and an
optional boolean mask, and gives the output and its log-sum-exp; its backward takes *any* output and
log-sum-exp, so that attention over several key sets can be differentiated with the merged ones
(GigaPath facts, point 7). The choice can be forced (`force_backend`) and inspected
(`explain_backends`).

Dilated attention on CUDA tensors can do without such kernels: `triton` computes all its branches at
once. Nobody has run it on a GPU yet, only in Triton's interpreter, so it has to be asked for:
`with force_backend("triton")`. `docs/lab-notes.md` says what to run before making it the default.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from slidenet.attention.experimental.dilated_triton import triton_refuses
from slidenet.attention.kernels.available import KERNELS, PREFERENCE
from slidenet.attention.kernels.interface import Kernel
from slidenet.core.errors import AttentionError

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
        Kernel name to "" (usable) or the reason it is not; "triton" only serves dilated attention,
        and only where it is forced.
    """
    return {TRITON: triton_refuses(q)} | {
        kernel.name: kernel.refuses(q, masked) for kernel in PREFERENCE
    }


def uses_triton(q: Tensor) -> bool:
    """Whether dilated attention on inputs like q (B, L, H, D) is forced onto its Triton kernels.

    Raises:
        AttentionError: If they are forced and cannot take the inputs.
    """
    if _FORCED.get() != TRITON:
        return False
    reason = triton_refuses(q)
    if reason:
        raise _refusal(TRITON, reason)
    return True


def choose_kernel(q: Tensor, *, masked: bool = False) -> Kernel:
    """The forced kernel, or the first that takes inputs like q (B, H, L, D).

    Raises:
        AttentionError: If the forced kernel cannot take them.
    """
    forced = _FORCED.get()
    if forced == TRITON:
        raise _refusal(TRITON, "serves dilated attention only")
    if forced is not None:
        kernel = KERNELS[forced]
        reason = kernel.refuses(q, masked)
        if reason:
            raise _refusal(forced, reason)
        return kernel
    return next(kernel for kernel in PREFERENCE if not kernel.refuses(q, masked))


def _refusal(name: str, reason: str) -> AttentionError:
    return AttentionError(
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
        kernel = choose_kernel(q, masked=allowed is not None)
        out, lse = kernel.forward(q, k, v, allowed, causal)
        ctx.save_for_backward(q, k, v, allowed, out, lse)
        ctx.kernel, ctx.causal = kernel, causal
        ctx.set_materialize_grads(False)
        return out, lse

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad_out: Tensor | None, grad_lse: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        q, k, v, allowed, out, lse = ctx.saved_tensors
        if grad_out is None and grad_lse is None:
            return None, None, None, None, None
        if grad_out is None:
            grad_out = torch.zeros_like(out)
        width, scale = q.shape[-1], q.shape[-1] ** -0.5
        if grad_lse is not None:
            q, k, v, out, grad_out = fold_lse_gradient(q, k, v, out, grad_out, grad_lse)
        grads = ctx.kernel.backward(grad_out, q, k, v, out, lse, allowed, ctx.causal, scale=scale)
        return *(grad[..., :width] for grad in grads), None, None


def fold_lse_gradient(
    q: Tensor, k: Tensor, v: Tensor, out: Tensor, grad_out: Tensor, grad_lse: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Widens the operands so that a flash backward also carries the log-sum-exp's gradient.

    A flash backward computes dS = P * (grad_out v^T - rowsum(grad_out * out)); what is missing is
    + P * grad_lse. One more feature with grad_out 1, out -grad_lse and v 0 puts it into the row
    sum and changes nothing else. Eight are added, since GPU kernels want multiples of eight.

    Args:
        q: (..., L, D), as k, v, out and grad_out.
        k: Keys.
        v: Values.
        out: Output.
        grad_out: Its gradient.
        grad_lse: Gradient of the log-sum-exp (..., L).
    """
    wide = [torch.nn.functional.pad(x, (0, 8)) for x in (q, k, v, out, grad_out)]
    width = q.shape[-1]
    wide[3][..., width] = -grad_lse.to(out.dtype)
    wide[4][..., width] = 1.0
    return wide[0], wide[1], wide[2], wide[3], wide[4]

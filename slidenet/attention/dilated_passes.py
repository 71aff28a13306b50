"""Forward and backward of dilated attention: loops over rectangles, one kernel call each."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from slidenet.attention.backends import choose_kernel, fold_lse_gradient
from slidenet.attention.dilated_layout import DilatedConfig
from slidenet.attention.dilated_tiles import Rectangle, plan_rectangles
from slidenet.attention.kernels import Kernel
from slidenet.attention.merge import add_zero_keys_, merge_into_
from slidenet.attention.protocol import lse_dtype, zero_masked


@dataclass(frozen=True)
class _Entries:
    """Batch entries of one length, and where they have gaps.

    Attributes:
        batch: Which entries.
        length: Their length; what lies behind is padding.
        real: Bool (B, length) where some position before the end is not real, else None.
    """

    batch: slice
    length: int
    real: Tensor | None

    def cut(self, x: Tensor) -> Tensor:
        """These entries of x (B, L, ...), without their padding."""
        return x[self.batch, : self.length]


def _entries(mask: Tensor | None, batch: int, length: int) -> list[_Entries]:
    """Splits a padded batch into entries that run at their own length."""
    if mask is None or bool(mask.all()):
        return [_Entries(slice(0, batch), length, None)]
    numbers = torch.arange(1, length + 1, device=mask.device)
    ends = (mask * numbers).amax(dim=1).tolist()
    counts = mask.sum(dim=1).tolist()
    return [
        _Entries(slice(b, b + 1), end, None if count == end else mask[b : b + 1, :end])
        for b, (end, count) in enumerate(zip(ends, counts, strict=True))
        if end
    ]


def forward_pass(
    q: Tensor, k: Tensor, v: Tensor, config: DilatedConfig, mask: Tensor | None, causal: bool
) -> tuple[Tensor, Tensor]:
    """Output (B, L, H, D) in the dtype of q and log-sum-exp (B, H, L); not differentiable."""
    batch, length, heads, _ = q.shape
    out = torch.zeros(q.shape, dtype=lse_dtype(q.dtype), device=q.device)
    lse = torch.full((batch, length, heads), -torch.inf, dtype=out.dtype, device=q.device)
    for entries in _entries(mask, batch, length):
        operands = [entries.cut(x) for x in (q, k, v)]
        if entries.real is not None:
            operands = [zero_masked(x, entries.real) for x in operands]
        totals = [entries.cut(out), entries.cut(lse)]
        kernel = _kernel(q, entries.real)
        for rectangle in plan_rectangles(entries.length, heads, config, causal=causal):
            for allowed, views in _walk(rectangle, entries.real, *operands, *totals):
                q_t, k_t, v_t, out_t, lse_t = views
                part = _attend_part(kernel, rectangle, q_t, k_t, v_t, allowed, causal)
                merge_into_(out_t, lse_t, *part)
        if entries.real is not None:
            totals[0].masked_fill_(~entries.real[:, :, None, None], 0.0)
            totals[1].masked_fill_(~entries.real[:, :, None], -torch.inf)
    return out.to(q.dtype), lse.transpose(1, 2)


def backward_pass(
    grad_out: Tensor | None,
    grad_lse: Tensor | None,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    config: DilatedConfig,
    mask: Tensor | None,
    causal: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of q, k, v, given those of the output and of the log-sum-exp (or None)."""
    batch, length, heads, width = q.shape
    if grad_out is None:
        grad_out = torch.zeros_like(out)
    # A single branch is not mixed with anything: both gradients are the same.
    own_output = config.mixing_gradient == "released" and len(config.branches) > 1
    dtype = lse_dtype(q.dtype)
    grads = [torch.zeros(q.shape, dtype=dtype, device=q.device) for _ in range(3)]
    for entries in _entries(mask, batch, length):
        operands = [entries.cut(x) for x in (q, k, v, out, grad_out, lse.transpose(1, 2))]
        if entries.real is not None:
            operands[:5] = [zero_masked(x, entries.real) for x in operands[:5]]
        wide_lse_gradient = None
        if grad_lse is not None:
            wide_lse_gradient = entries.cut(grad_lse.transpose(1, 2))
            wide_lse_gradient = wide_lse_gradient.masked_fill(operands[5] == -torch.inf, 0.0)
        kernel = _kernel(q, entries.real)
        totals = [entries.cut(grad) for grad in grads]
        for rectangle in plan_rectangles(entries.length, heads, config, causal=causal):
            extra = [] if wide_lse_gradient is None else [wide_lse_gradient]
            for allowed, views in _walk(rectangle, entries.real, *operands, *totals, *extra):
                q_t, k_t, v_t, out_t, grad_t, lse_t, *rest = views
                if own_output:
                    out_t, _ = _attend_part(kernel, rectangle, q_t, k_t, v_t, allowed, causal)
                if extra:
                    q_t, k_t, v_t, out_t, grad_t = fold_lse_gradient(
                        q_t, k_t, v_t, out_t, grad_t, rest.pop()
                    )
                parts = kernel.backward(
                    grad_t, q_t, k_t, v_t, out_t, lse_t, allowed, causal, scale=width**-0.5
                )
                for total, part in zip(rest, parts, strict=True):
                    total.add_(part[..., :width])
    return grads[0].to(q.dtype), grads[1].to(q.dtype), grads[2].to(q.dtype)


def _kernel(q: Tensor, real: Tensor | None) -> Kernel:
    return choose_kernel(q.transpose(1, 2), masked=real is not None)


def _walk(
    rectangle: Rectangle, real: Tensor | None, *tensors: Tensor
) -> Iterator[tuple[Tensor | None, tuple[Tensor, ...]]]:
    """Kernel-sized views (batch, head, slot, ...) of tensors (B, L, H, ...).

    Yields:
        The keys that may be attended (batch, head, 1, slot), or None for all, and the views.
    """
    walks = [iter(rectangle.views(x, position_dim=1, head_dim=2)) for x in tensors]
    if real is None:
        for views in zip(*walks, strict=True):
            yield None, views
        return
    by_head = real[:, :, None].expand(-1, -1, tensors[0].shape[2])
    keys = iter(rectangle.views(by_head, position_dim=1, head_dim=2))
    for allowed, *rest in zip(keys, *walks, strict=True):
        yield allowed[:, :, None, :], tuple(rest)


def _attend_part(
    kernel: Kernel,
    rectangle: Rectangle,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    allowed: Tensor | None,
    causal: bool,
) -> tuple[Tensor, Tensor]:
    out, lse = kernel.forward(q, k, v, allowed, causal)
    if rectangle.zero_slots:
        add_zero_keys_(out, lse, rectangle.zero_slots)
    return out, lse

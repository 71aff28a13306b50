"""Forward and backward of dilated attention: loops over rectangles, one kernel call each."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from slidenet.attention.dilated.config import DilatedCall
from slidenet.attention.dilated.legacy import (
    check_legacy,
    legacy_backward,
    legacy_forward,
)
from slidenet.attention.dilated.rectangles import plan_rectangles
from slidenet.attention.kernels.backends import choose_kernel
from slidenet.attention.kernels.base import Operands
from slidenet.attention.merge import add_zero_keys_, merge_into_
from slidenet.attention.operators import Result, SavedForBackward
from slidenet.attention.protocol import lse_dtype, real_lengths, zero_masked


class AttendDilated(torch.autograd.Function):
    """q, k, v (B, L, H, D) -> out (B, L, H, D), lse (B, H, L).

    Keeps q, k, v, the log-sum-exp and the output, or instead of it each branch's own output: where
    those would be more than 2 N D, the backward recomputes them.
    """

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, call: DilatedCall, keep: bool
    ) -> tuple[Tensor, Tensor]:
        """Output and log-sum-exp; `keep` where a backward will follow."""
        own: list[Tensor] = []
        keep_own = keep and call.config.keeps_own_outputs
        out = _accumulator(q, call)
        lse_BLH = torch.full(q.shape[:3], -torch.inf, dtype=out.dtype, device=q.device)
        for entries in _split_by_length(call.mask, *q.shape[:2]):
            operands = [zero_masked(entries.cut(x), entries.real) for x in (q, k, v)]
            totals = [entries.cut(out), entries.cut(lse_BLH)]
            check_legacy(call, gaps=entries.real is not None)
            if call.config.reads_back_shifted(entries.length):
                for total, part in zip(totals, legacy_forward(operands, call.config), strict=True):
                    total.copy_(part)
                continue
            kernel = choose_kernel(q.transpose(1, 2), masked=entries.real is not None)
            for rectangle in plan_rectangles(call, entries.length, q.shape[2]):
                for allowed, views in rectangle.walk(entries.real, *operands, *totals):
                    q_t, k_t, v_t, out_t, lse_t = views
                    part, part_lse = kernel.forward(Operands(q_t, k_t, v_t, allowed, call.causal))
                    if rectangle.zero_slots:
                        add_zero_keys_(part, part_lse, rectangle.zero_slots)
                    if rectangle.branch == 0:
                        out_t.copy_(part)
                        lse_t.copy_(part_lse)
                    else:
                        merge_into_(out_t, lse_t, part, part_lse)
                    if keep_own:
                        own.append(part)
            if entries.real is not None:
                totals[0].masked_fill_(~entries.real[:, :, None, None], 0.0)
                totals[1].masked_fill_(~entries.real[:, :, None], -torch.inf)
        out, lse = out.to(q.dtype), lse_BLH.transpose(1, 2)
        ctx.save_for_backward(q, k, v, None if call.config.needs_own_outputs else out, lse, *own)
        ctx.call = call
        ctx.set_materialize_grads(False)
        return out, lse

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad_out: Tensor | None, grad_lse: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        """Gradients of q, k, v, given those of the output and of the log-sum-exp (or None)."""
        q, k, v, out, lse, *own = ctx.saved_tensors
        if grad_out is None and grad_lse is None:
            return (None,) * 5
        call: DilatedCall = ctx.call
        grad_out = torch.zeros_like(q) if grad_out is None else grad_out
        optional = [] if grad_lse is None else [grad_lse.transpose(1, 2)]
        grads, own_outputs = [_accumulator(q, call) for _ in range(3)], iter(own)
        for entries in _split_by_length(call.mask, *q.shape[:2]):
            lse_BLH = entries.cut(lse.transpose(1, 2))
            tensors = [*(entries.cut(grad) for grad in grads), lse_BLH]
            tensors += [torch.where(lse_BLH > -torch.inf, entries.cut(x), 0.0) for x in optional]
            tensors += [
                zero_masked(entries.cut(x), entries.real)
                for x in (q, k, v, grad_out, out)
                if x is not None
            ]
            if call.config.reads_back_shifted(entries.length):
                known = [entries.cut(x) for x in (grad_out, *optional)]
                parts = legacy_backward([entries.cut(x) for x in (q, k, v)], known, call.config)
                for total, part in zip(tensors[:3], parts, strict=True):
                    total.copy_(part)
                continue
            kernel = choose_kernel(q.transpose(1, 2), masked=entries.real is not None)
            for rectangle in plan_rectangles(call, entries.length, q.shape[2]):
                for allowed, views in rectangle.walk(entries.real, *tensors):
                    lse_t, *grad_lse_t = views[3 : 4 + len(optional)]
                    q_t, k_t, v_t, grad_t, *merged = views[4 + len(optional) :]
                    x = Operands(q_t, k_t, v_t, allowed, call.causal)
                    if merged:
                        out_t = merged[0]
                    elif own:
                        out_t = next(own_outputs)
                    else:
                        out_t, own_lse = kernel.forward(x)
                        if rectangle.zero_slots:
                            add_zero_keys_(out_t, own_lse, rectangle.zero_slots)
                    parts = kernel.backward(x, out_t, lse_t, grad_t, *grad_lse_t)
                    for total, part in zip(views[:3], parts, strict=True):
                        if rectangle.branch == 0:
                            total.copy_(part)
                        else:
                            total.add_(part)
        return *(grad.to(q.dtype) for grad in grads), None, None


def forward_keeping(
    q: Tensor, k: Tensor, v: Tensor, call: DilatedCall, keep: bool
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """The forward without autograd: output, log-sum-exp, and the branches' own outputs if kept."""
    ctx = SavedForBackward()
    out, lse = AttendDilated.forward(ctx, q, k, v, call, keep)
    own = [x for x in ctx.saved_tensors[5:] if x is not None]
    return out, lse, own


def backward_from(
    grad_out: Tensor | None,
    grad_lse: Tensor | None,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    result: Result,
    call: DilatedCall,
) -> tuple[Tensor, ...]:
    """The backward without autograd; what `forward_keeping` kept comes flat."""
    out, lse, kept = result
    merged = None if call.config.needs_own_outputs else out
    own = [] if kept is None else _parts_of(kept, q, call)
    ctx = SavedForBackward(q, k, v, merged, lse, *own, call=call)
    return tuple(x for x in AttendDilated.backward(ctx, grad_out, grad_lse) if x is not None)


def _parts_of(kept: Tensor, q: Tensor, call: DilatedCall) -> list[Tensor]:
    """Numbers one after another as the outputs of the rectangles, in the order of the forward."""
    parts, start = [], 0
    for entries in _split_by_length(call.mask, *q.shape[:2]):
        for rectangle in plan_rectangles(call, entries.length, q.shape[2]):
            for _, (q_t,) in rectangle.walk(None, entries.cut(q)):
                parts.append(kept[start : start + q_t.numel()].view(q_t.shape))
                start += q_t.numel()
    return parts


def _accumulator(q: Tensor, call: DilatedCall) -> Tensor:
    """Zeros like q; unfilled where the first branch covers every position and overwrites it."""
    covered = call.mask is None and call.config.dilation_rates[0] == 1
    make = torch.empty if covered else torch.zeros
    return make(q.shape, dtype=lse_dtype(q.dtype), device=q.device)


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


def _split_by_length(mask: Tensor | None, batch: int, length: int) -> list[_Entries]:
    """Entries that run at their own length, those without any real position left out."""
    if mask is None or bool(mask.all()):
        return [_Entries(slice(0, batch), length, None)]
    ends, counts = real_lengths(mask).tolist(), mask.sum(dim=1).tolist()
    return [
        _Entries(slice(b, b + 1), end, None if count == end else mask[b : b + 1, :end])
        for b, (end, count) in enumerate(zip(ends, counts, strict=True))
        if end
    ]

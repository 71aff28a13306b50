"""Forward and backward of dilated attention: loops over rectangles, one kernel call each."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from slidenet.attention.dilated.config import DilatedConfig
from slidenet.attention.dilated.rectangles import Rectangle, plan_rectangles
from slidenet.attention.kernels.backends import choose_kernel, fold_lse_gradient
from slidenet.attention.kernels.interface import Kernel
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


@dataclass(frozen=True)
class DilatedCall:
    """One call of dilated attention: settings, mask, direction of time.

    Attributes:
        config: The branches and conventions.
        mask: Bool (B, L), True = real, or None.
        causal: Whether queries see only keys at or before them.
        first_head: The first head that q, k, v hold, where they hold a part of a layer's heads.
        num_heads: Heads of that layer; those of q where None.
    """

    config: DilatedConfig
    mask: Tensor | None
    causal: bool
    first_head: int = 0
    num_heads: int | None = None

    @property
    def needs_own_outputs(self) -> bool:
        """Whether the backward takes each branch's own output instead of the merged one.

        A single branch is not mixed with anything: the two are the same.
        """
        return self.config.mixing_gradient == "released" and len(self.config.branches) > 1

    @property
    def keeps_own_outputs(self) -> bool:
        """Whether they are kept for the backward, at most 2 N D; otherwise it recomputes them."""
        size = sum(1 / rate for rate in self.config.dilation_rates)
        return self.needs_own_outputs and size <= 2

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, *, keep: bool
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Output (B, L, H, D), log-sum-exp (B, H, L), own outputs if kept; not differentiable."""
        batch, length, heads, _ = q.shape
        out, lse = self._empty_totals(q)
        kept = []
        for entries in _entries(self.mask, batch, length):
            operands = [entries.cut(x) for x in (q, k, v)]
            if entries.real is not None:
                operands = [zero_masked(x, entries.real) for x in operands]
            totals = [entries.cut(out), entries.cut(lse)]
            kernel = _kernel(q, entries.real)
            for rectangle in self._plan(entries.length, heads):
                for allowed, views in _walk(rectangle, entries.real, *operands, *totals):
                    q_t, k_t, v_t, out_t, lse_t = views
                    part, part_lse = self._attend(kernel, rectangle, q_t, k_t, v_t, allowed)
                    if rectangle.branch == 0:
                        out_t.copy_(part)
                        lse_t.copy_(part_lse)
                    else:
                        merge_into_(out_t, lse_t, part, part_lse)
                    if keep and self.keeps_own_outputs:
                        kept.append(part)
            if entries.real is not None:
                totals[0].masked_fill_(~entries.real[:, :, None, None], 0.0)
                totals[1].masked_fill_(~entries.real[:, :, None], -torch.inf)
        return out.to(q.dtype), lse.transpose(1, 2), kept

    def backward(
        self,
        grad_out: Tensor,
        grad_lse: Tensor | None,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        out: Tensor | None,
        lse: Tensor,
        kept: list[Tensor],
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of q, k, v, given those of the output and of the log-sum-exp (or None).

        `out` is None, or `kept` is empty, where `needs_own_outputs` says they are not read.
        """
        width, heads = q.shape[-1], q.shape[2]
        grads = [self._zeros(q) for _ in range(3)]
        parts = iter(kept)
        for entries in _entries(self.mask, *q.shape[:2]):
            operands = [entries.cut(x) for x in (q, k, v, grad_out)]
            operands += [entries.cut(out)] if out is not None else []
            if entries.real is not None:
                operands = [zero_masked(x, entries.real) for x in operands]
            lse_BLH = entries.cut(lse.transpose(1, 2))
            folded = []
            if grad_lse is not None:
                seen = lse_BLH > -torch.inf
                folded = [torch.where(seen, entries.cut(grad_lse.transpose(1, 2)), 0.0)]
            kernel = _kernel(q, entries.real)
            totals = [entries.cut(grad) for grad in grads]
            tensors = [*totals, lse_BLH, *folded, *operands]
            for rectangle in self._plan(entries.length, heads):
                for allowed, views in _walk(rectangle, entries.real, *tensors):
                    lse_t = views[3]
                    q_t, k_t, v_t, grad_t, *merged = views[4 + len(folded) :]
                    if merged:
                        out_t = merged[0]
                    elif kept:
                        out_t = next(parts)
                    else:
                        out_t, _ = self._attend(kernel, rectangle, q_t, k_t, v_t, allowed)
                    if folded:
                        q_t, k_t, v_t, out_t, grad_t = fold_lse_gradient(
                            q_t, k_t, v_t, out_t, grad_t, views[4]
                        )
                    found = kernel.backward(
                        grad_t, q_t, k_t, v_t, out_t, lse_t, allowed, self.causal,
                        scale=width**-0.5,
                    )  # fmt: skip
                    for total, part in zip(views[:3], found, strict=True):
                        if rectangle.branch == 0:
                            total.copy_(part[..., :width])
                        else:
                            total.add_(part[..., :width])
        return grads[0].to(q.dtype), grads[1].to(q.dtype), grads[2].to(q.dtype)

    def _plan(self, length: int, heads: int) -> list[Rectangle]:
        part = slice(self.first_head, self.first_head + heads)
        total = heads if self.num_heads is None else self.num_heads
        return plan_rectangles(length, total, self.config, causal=self.causal, heads=part)

    def _attend(
        self,
        kernel: Kernel,
        rectangle: Rectangle,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        allowed: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """One rectangle's own output and log-sum-exp, zero slots included."""
        out, lse = kernel.forward(q, k, v, allowed, self.causal)
        if rectangle.zero_slots:
            add_zero_keys_(out, lse, rectangle.zero_slots)
        return out, lse

    def _zeros(self, q: Tensor) -> Tensor:
        """An accumulator like q; left unfilled where the first branch covers every position."""
        covered = self.mask is None and self.config.dilation_rates[0] == 1
        make = torch.empty if covered else torch.zeros
        return make(q.shape, dtype=lse_dtype(q.dtype), device=q.device)

    def _empty_totals(self, q: Tensor) -> tuple[Tensor, Tensor]:
        out = self._zeros(q)
        return out, torch.full(q.shape[:3], -torch.inf, dtype=out.dtype, device=q.device)


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

"""The backward of dilated attention on one rank, around one exchange.

Shapes: B batch, L positions of the chunk, H heads, D features per head; R = L H entries (position,
head) flattened, E entries received, h heads of a group with n queries and m remote keys each.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from slidenet.attention.kernels.base import Operands
from slidenet.parallel.collectives import Pending, start_all_to_all
from slidenet.parallel.dilated.plan import SpanGroup
from slidenet.parallel.dilated.views import (
    Part,
    Setting,
    add_rows,
    allowed_keys,
    by_entry,
    kernel_for,
    remote_keys,
    rows_at,
)


class PartBackward:
    """The backward of one part: gradients of others' keys first, so that they travel early."""

    def __init__(
        self,
        setting: Setting,
        part: Part,
        operands: Sequence[Tensor],
        merged: Tensor | None,
        lse: Tensor,
        grad_lse: Tensor | None,
        kept: Iterator[Tensor],
    ) -> None:
        self.setting, self.part, self.plan = setting, part, part.plan
        self.q, self.k, self.v, self.grad_out = operands
        self.merged, self.lse, self.grad_lse = merged, lse, grad_lse
        self.real = part.real_local()
        self.kernel = kernel_for(self.q, self.real)
        self.received = next(kept)
        self.own: list[Tensor] = []
        if merged is None:
            count = sum(1 for r in self.plan.rectangles for _ in r.walk(None, self.q))
            self.own = [next(kept) for _ in range(count + len(self.plan.groups))]
        self.grads = [
            torch.zeros(x.shape, dtype=lse.dtype, device=lse.device) for x in operands[:3]
        ]

    def run(self) -> list[Tensor]:
        """Gradients of q, k, v (B, L, H, D)."""
        if self.merged is None:
            outs = self.own[len(self.own) - len(self.plan.groups) :]
        else:
            outs = [rows_at(self.merged, group.rows) for group in self.plan.groups]
        pending = self._remote_gradients(outs)
        self._rectangles()
        for group, out in zip(self.plan.groups, outs, strict=True):
            q, k, v = (rows_at(x, group.rows) for x in (self.q, self.k, self.v))
            allowed = allowed_keys(by_entry(self.real, self.q.shape[2]), group.rows)
            x = Operands(q, k, v, allowed, self.setting.causal)
            found = self._gradients(group, x, out)
            for grad, part in zip(self.grads, found, strict=True):
                add_rows(grad, group.rows, part)
        self._add_returned(pending.wait())
        return self.grads

    def _remote_gradients(self, outs: Sequence[Tensor]) -> Pending:
        """Gradients of received keys and values, on their way back (E, B, 2, D)."""
        grads = torch.zeros(self.received.shape, dtype=self.lse.dtype, device=self.lse.device)
        real = self.part.real_remote()
        for group, out in zip(self.plan.groups, outs, strict=True):
            if not group.remote.shape[1]:
                continue
            q, (k, v) = rows_at(self.q, group.rows), remote_keys(self.received, group)
            allowed = allowed_keys(real, group.remote)
            grad_q, *grad_kv = self._gradients(group, Operands(q, k, v, allowed), out)
            add_rows(self.grads[0], group.rows, grad_q)
            both = torch.stack(grad_kv, dim=3).permute(1, 2, 0, 3, 4).flatten(0, 1)
            grads.index_add_(0, group.remote.flatten(), both.to(grads.dtype))
        return start_all_to_all(
            grads.to(self.received.dtype),
            self.plan.received_counts,
            [len(rows) for rows in self.plan.sent],
            self.setting.group,
            "the exchange of gradients of keys and values",
        )

    def _gradients(
        self, group: SpanGroup, x: Operands, out: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        lse, grad_out = rows_at(self.lse, group.rows), rows_at(self.grad_out, group.rows)
        grad_lse = None if self.grad_lse is None else rows_at(self.grad_lse, group.rows)
        return self.kernel.backward(x, out, lse, grad_out, grad_lse)

    def _rectangles(self) -> None:
        own = iter(self.own)
        optional = [x for x in (self.merged, self.grad_lse) if x is not None]
        tensors = [*self.grads, self.q, self.k, self.v, self.lse, self.grad_out, *optional]
        for rectangle in self.plan.rectangles:
            for allowed, views in rectangle.walk(self.real, *tensors):
                totals, (q, k, v, lse, grad_out), rest = views[:3], views[3:8], views[8:]
                out = next(own) if self.merged is None else rest[0]
                grad_lse = None if self.grad_lse is None else rest[-1]
                x = Operands(q, k, v, allowed, self.setting.causal)
                found = self.kernel.backward(x, out, lse, grad_out, grad_lse)
                for total, part in zip(totals, found, strict=True):
                    total.add_(part)

    def _add_returned(self, returned: Tensor) -> None:
        """Adds gradients (E, B, 2, D) of own entries that others attended to."""
        counts = [len(rows) for rows in self.plan.sent]
        # One rank at a time: within one, no entry comes twice, so the order of sums is fixed.
        for rows, block in zip(self.plan.sent, torch.split(returned, counts), strict=True):
            for grad, values in zip(self.grads[1:], block.unbind(2), strict=True):
                grad.flatten(1, 2).index_add_(1, rows, values.transpose(0, 1).to(grad.dtype))

"""The forward of dilated attention on one rank, around one exchange.

Shapes: B batch, L positions of the chunk, H heads, D features per head; R = L H entries (position,
head) flattened, E entries received, h heads of a group with n queries and m remote keys each.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from slidenet.attention.kernels.base import Operands
from slidenet.attention.merge import add_zero_keys_, merge_into_
from slidenet.attention.protocol import lse_dtype
from slidenet.parallel.collectives import Pending, start_all_to_all
from slidenet.parallel.dilated.plan import SpanGroup
from slidenet.parallel.dilated.views import (
    Part,
    Setting,
    allowed_keys,
    by_entry,
    kernel_for,
    remote_keys,
    rows_at,
)


class PartForward:
    """The forward of one part: send, attend to own keys, receive, attend to theirs."""

    def __init__(self, setting: Setting, part: Part, q: Tensor, k: Tensor, v: Tensor) -> None:
        self.setting, self.part, self.plan = setting, part, part.plan
        self.q, self.k, self.v = q, k, v
        self.real = part.real_local()
        self.kernel = kernel_for(q, self.real)
        self.out = torch.zeros(q.shape, dtype=lse_dtype(q.dtype), device=q.device)
        self.lse = torch.full(q.shape[:3], -torch.inf, dtype=self.out.dtype, device=q.device)

    def run(self, keep_own: bool) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Output and log-sum-exp (B, L, H), and [received entries, own outputs if kept...]."""
        pending = self._send()
        own = [out for out in self._rectangles() if keep_own]
        groups = [self._group_local(group) for group in self.plan.groups]
        received = pending.wait()
        for group, (q, out, lse) in zip(self.plan.groups, groups, strict=True):
            self._group_remote(group, received, q, out, lse)
            if keep_own:
                own.append(out.to(q.dtype))
        if self.real is not None:
            self.out.masked_fill_(~self.real[:, :, None, None], 0.0)
            self.lse.masked_fill_(~self.real[:, :, None], -torch.inf)
        return self.out, self.lse, [received, *own]

    def _send(self) -> Pending:
        """Starts the exchange of keys and values (E, B, 2, D)."""
        rows = torch.cat(self.plan.sent)
        both = [x.flatten(1, 2).index_select(1, rows).transpose(0, 1) for x in (self.k, self.v)]
        return start_all_to_all(
            torch.stack(both, dim=2),
            [len(rows) for rows in self.plan.sent],
            self.plan.received_counts,
            self.setting.group,
            "the exchange of keys and values",
        )

    def _rectangles(self) -> Iterator[Tensor]:
        for rectangle in self.plan.rectangles:
            for allowed, views in rectangle.walk(
                self.real, self.q, self.k, self.v, self.out, self.lse
            ):
                q, k, v, total, total_lse = views
                out, lse = self.kernel.forward(Operands(q, k, v, allowed, self.setting.causal))
                if rectangle.zero_slots:
                    add_zero_keys_(out, lse, rectangle.zero_slots)
                merge_into_(total, total_lse, out, lse)
                yield out

    def _group_local(self, group: SpanGroup) -> tuple[Tensor, Tensor, Tensor]:
        """Queries of a group, and their output and log-sum-exp over own keys and zero slots."""
        q, k, v = (rows_at(x, group.rows) for x in (self.q, self.k, self.v))
        allowed = allowed_keys(by_entry(self.real, self.q.shape[2]), group.rows)
        out, lse = self.kernel.forward(Operands(q, k, v, allowed, self.setting.causal))
        log_zeros = group.zero_slots.log().to(lse.dtype)[None, :, None]
        total = torch.logaddexp(lse, log_zeros)  # -inf and -inf stay -inf
        share = torch.exp(lse - total).nan_to_num(nan=0.0)
        return q, out.to(total.dtype) * share[..., None], total

    def _group_remote(
        self, group: SpanGroup, received: Tensor, q: Tensor, out: Tensor, lse: Tensor
    ) -> None:
        """Adds the received keys to `out`, in place, and `out` to the totals."""
        if group.remote.shape[1]:
            allowed = allowed_keys(self.part.real_remote(), group.remote)
            more, more_lse = self.kernel.forward(
                Operands(q, *remote_keys(received, group), allowed)
            )
            merge_into_(out, lse, more, more_lse)
        totals = (rows_at(self.out, group.rows), rows_at(self.lse, group.rows))
        merge_into_(*totals, out, lse)
        for x, found in zip((self.out, self.lse), totals, strict=True):
            x.flatten(1, 2).index_copy_(1, group.rows.flatten(), found.flatten(1, 2))

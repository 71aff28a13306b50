"""Forward and backward of one rank's call of dilated attention: its parts, one after another."""

from dataclasses import dataclass

import torch
from torch import Tensor

from slidenet.attention.protocol import lse_dtype
from slidenet.parallel.chunk_backward import PartBackward
from slidenet.parallel.chunk_forward import PartForward
from slidenet.parallel.chunk_views import Part, Setting


@dataclass(frozen=True)
class ChunkCall:
    """One call: settings, ranks, and the parts of the batch one after another.

    Attributes:
        setting: Branches, ranks, direction of time.
        parts: Batch entries by length, the same on all ranks.
    """

    setting: Setting
    parts: tuple[Part, ...]

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, *, keep: bool
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Output (B, L, H, D), log-sum-exp (B, H, L), and with `keep` what the backward needs."""
        dtype = lse_dtype(q.dtype)
        out = torch.zeros(q.shape, dtype=dtype, device=q.device)
        lse = torch.full(q.shape[:3], -torch.inf, dtype=dtype, device=q.device)
        kept = []
        for part in self.parts:
            one = PartForward(self.setting, part, *(part.cut(x).contiguous() for x in (q, k, v)))
            part_out, part_lse, part_kept = one.run(keep and self.setting.needs_own_outputs)
            out[part.batch, : part.plan.size] = part_out
            lse[part.batch, : part.plan.size] = part_lse
            kept += part_kept if keep else []
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
        """Gradients of q, k, v, given those of the output and of the log-sum-exp (or None)."""
        grads = [torch.zeros(q.shape, dtype=lse.dtype, device=q.device) for _ in range(3)]
        lse_BLH = lse.transpose(1, 2)
        if grad_lse is not None:
            grad_lse = torch.where(lse_BLH > -torch.inf, grad_lse.transpose(1, 2), 0.0)
        rest = iter(kept)
        for part in self.parts:
            window = (part.batch, slice(0, part.plan.size))
            one = PartBackward(
                self.setting,
                part,
                [part.cut(x).contiguous() for x in (q, k, v, grad_out)],
                None if out is None else part.cut(out).contiguous(),
                lse_BLH[window].contiguous(),
                None if grad_lse is None else grad_lse[window].contiguous(),
                rest,
            )
            for grad, found in zip(grads, one.run(), strict=True):
                grad[window] = found
        return grads[0].to(q.dtype), grads[1].to(q.dtype), grads[2].to(q.dtype)

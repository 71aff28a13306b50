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
        if self.is_whole:
            out, lse, kept = self._run_forward(self.parts[0], q, k, v, keep)
            return out.to(q.dtype), lse.transpose(1, 2), kept
        dtype = lse_dtype(q.dtype)
        out = torch.zeros(q.shape, dtype=dtype, device=q.device)
        lse = torch.full(q.shape[:3], -torch.inf, dtype=dtype, device=q.device)
        kept = []
        for part in self.parts:
            part_out, part_lse, part_kept = self._run_forward(part, q, k, v, keep)
            out[part.batch, : part.plan.size] = part_out
            lse[part.batch, : part.plan.size] = part_lse
            kept += part_kept
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
        lse_BLH = lse.transpose(1, 2)
        if grad_lse is not None:
            grad_lse = torch.where(lse_BLH > -torch.inf, grad_lse.transpose(1, 2), 0.0)
        rest, grads = iter(kept), []
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
            found = one.run()
            if self.is_whole:
                grads = found
                break
            grads = grads or [torch.zeros_like(q, dtype=lse.dtype) for _ in range(3)]
            for grad, some in zip(grads, found, strict=True):
                grad[window] = some
        grads = grads or [torch.zeros_like(q) for _ in range(3)]  # where nothing is real
        return grads[0].to(q.dtype), grads[1].to(q.dtype), grads[2].to(q.dtype)

    @property
    def is_whole(self) -> bool:
        """Whether one part is all of the batch, without padding: nothing to cut or put together."""
        return len(self.parts) == 1 and self.parts[0].covers

    def _run_forward(
        self, part: Part, q: Tensor, k: Tensor, v: Tensor, keep: bool
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        one = PartForward(self.setting, part, *(part.cut(x).contiguous() for x in (q, k, v)))
        out, lse, kept = one.run(keep and self.setting.needs_own_outputs)
        return out, lse, kept if keep else []

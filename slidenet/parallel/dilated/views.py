"""Views and rows of one rank's tensors that the forward and the backward share.

Shapes: B batch, L positions of the chunk, H heads, D features per head; R = L H entries (position,
head) flattened, E entries received, h heads of a group with n queries and m remote keys each.
"""

from dataclasses import dataclass

import torch.distributed as dist
from torch import Tensor

from slidenet.attention.dilated.config import DilatedConfig
from slidenet.attention.kernels.backends import choose_kernel
from slidenet.attention.kernels.base import Kernel
from slidenet.attention.protocol import zero_masked
from slidenet.parallel.dilated.plan import ChunkPlan, SpanGroup


@dataclass(frozen=True)
class Setting:
    """What one call has in common for all its parts.

    Attributes:
        config: The branches and conventions.
        group: The ranks that share the sequence.
        causal: Whether queries see only keys at or before them.
    """

    config: DilatedConfig
    group: dist.ProcessGroup
    causal: bool


@dataclass(frozen=True)
class Part:
    """Batch entries of one length, and this rank's plan for them.

    Attributes:
        batch: Which entries.
        plan: What this rank does.
        real: Bool (B, whole length) where some position before the end is not real, else None.
        span: First position of this rank's chunk, and the one after its last.
        covers: Whether these entries are the whole batch at its whole length.
    """

    batch: slice
    plan: ChunkPlan
    real: Tensor | None
    span: tuple[int, int]
    covers: bool

    def cut(self, x: Tensor) -> Tensor:
        """These entries of x (B, L, ...), without padding at the end and zero in gaps."""
        x = x[self.batch, : self.plan.size]
        return x if self.real is None else zero_masked(x, self.real[:, slice(*self.span)])

    def real_local(self) -> Tensor | None:
        """Bool (B, L): which own positions are real, or None for all."""
        return None if self.real is None else self.real[:, slice(*self.span)]

    def real_remote(self) -> Tensor | None:
        """Bool (B, E): which received entries are real, or None for all."""
        return None if self.real is None else self.real[:, self.plan.received_positions]


def rows_at(x: Tensor, rows: Tensor) -> Tensor:
    """Rows (h, n) of x (B, L, H, ...) seen as (B, R, ...): (B, h, n, ...)."""
    flat = x.flatten(1, 2)
    return flat.index_select(1, rows.flatten()).reshape(x.shape[0], *rows.shape, *x.shape[3:])


def add_rows(x: Tensor, rows: Tensor, values: Tensor) -> None:
    """Adds (B, h, n, ...) to what `rows_at` reads, in place."""
    x.flatten(1, 2).index_add_(1, rows.flatten(), values.flatten(1, 2).to(x.dtype))


def remote_keys(received: Tensor, group: SpanGroup) -> tuple[Tensor, Tensor]:
    """Keys and values (B, h, m, D) of a group among the received (E, B, 2, D)."""
    some = received.index_select(0, group.remote.flatten())
    some = some.view(*group.remote.shape, *received.shape[1:])
    k, v = some.permute(3, 2, 0, 1, 4)
    return k, v


def allowed_keys(real: Tensor | None, entries: Tensor) -> Tensor | None:
    """Keys that are real (B, h, 1, n), of (B, keys) seen at entries (h, n); None for all."""
    if real is None:
        return None
    return real[:, entries.flatten()].view(-1, *entries.shape)[:, :, None]


def kernel_for(q: Tensor, real: Tensor | None) -> Kernel:
    """The kernel for queries like q (B, L, H, D), with masks of keys where `real` is given."""
    return choose_kernel(q.transpose(1, 2), masked=real is not None)


def by_entry(real: Tensor | None, num_heads: int) -> Tensor | None:
    """Bool (B, L) as (B, R)."""
    return None if real is None else real.repeat_interleave(num_heads, dim=1)

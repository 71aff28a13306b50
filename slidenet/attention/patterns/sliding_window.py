"""Sliding-window attention, plain and dilated: every query sees the keys around it."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from slidenet.attention.patterns.block_sparse import Tiles, tiled_attention
from slidenet.attention.patterns.settings import check_at_least


@dataclass(frozen=True)
class SlidingWindowAttention:
    """Each query sees window // 2 keys on each side of it and itself, `dilation` apart.

    Longformer (Beltagy et al. 2020, section 3.1, "sliding window" and "dilated sliding window").
    Linear: at most 2 (window // 2) + 1 keys per query. Position 0 gets no special treatment, so a
    class token there knows its own neighbourhood only; see `LongformerAttention` for one that sees
    everything.

    Args:
        window: Width of the window in attended keys, the query's own among them; an even width
            counts as the next odd one.
        dilation: Distance between neighbouring keys of the window; 1 = no gaps.

    Raises:
        AttentionError: If window or dilation is below 1.
    """

    window: int = 512
    dilation: int = 1
    name: ClassVar[str] = "sliding_window"

    def __post_init__(self) -> None:
        check_at_least(1, self, "window", "dilation")

    def mask(self, length: int, num_heads: int, *, causal: bool = False) -> Tensor:
        """Pairs at most (window // 2) steps of `dilation` apart; (1, L, L)."""
        position = torch.arange(length)
        distance = position[:, None] - position
        near = (distance.abs() <= self.window // 2 * self.dilation) & (
            distance % self.dilation == 0
        )
        return (near & (distance >= 0) if causal else near)[None]

    def num_pairs(self, length: int, num_heads: int, *, causal: bool = False) -> int:
        """Pairs per distance 0, d, 2 d ..: L - distance, each distance both ways."""
        steps = min(self.window // 2, max(length - 1, 0) // self.dilation)
        one_side = steps * length - self.dilation * steps * (steps + 1) // 2
        return num_heads * (length + one_side * (1 if causal else 2))

    def __call__(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        *,
        mask: Tensor | None = None,
        causal: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """See `AttentionPattern.__call__`."""

        def layout(q_BHnD: Tensor, k_BHnD: Tensor, real: Tensor | None) -> list[Tiles]:
            return [window_tiles(q_BHnD.shape[2], self.window, self.dilation, causal=causal)]

        return tiled_attention(q, k, v, layout, mask=mask, causal=causal)


def window_tiles(length: int, window: int, dilation: int = 1, *, causal: bool = False) -> Tiles:
    """A window as tiles: blocks of queries and the keys from one half window before to one after.

    A dilated window is a plain one within each residue class of positions modulo the dilation, so
    groups run over classes and blocks of each.
    """
    per_class = math.ceil(length / dilation)
    reach = min(window // 2, max(per_class - 1, 0))
    side = min(block_side(reach), max(per_class, 1))
    block_start = torch.arange(0, per_class, side)[None, :, None]
    residue = torch.arange(min(dilation, length))[:, None, None]

    def positions(steps: Tensor) -> Tensor:
        step = block_start + steps
        position = residue + dilation * step
        outside = (step < 0) | (position >= length)
        return position.masked_fill(outside, -1).flatten(0, 1)[None]

    def near(query: Tensor, key: Tensor) -> Tensor:
        return (query - key).abs() <= reach * dilation

    last = side + (0 if causal else reach)
    return Tiles(positions(torch.arange(side)), positions(torch.arange(-reach, last)), near)


def block_side(reach: int) -> int:
    """Queries per block: a block of side s computes s (s + 2 reach) pairs for s (2 reach + 1)."""
    return 128 if reach >= 128 else 64 if reach >= 32 else 32

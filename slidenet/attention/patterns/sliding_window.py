"""Sliding-window attention, plain and dilated: every query sees the keys around it."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from slidenet.attention.patterns.block_sparse import Blocks, FixedBlockPattern
from slidenet.core.checks import check_whole
from slidenet.core.errors import AttentionError


@dataclass(frozen=True)
class SlidingWindowAttention(FixedBlockPattern):
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
        check_whole(error=AttentionError, window=self.window, dilation=self.dilation)

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

    def layout(self, length: int, num_heads: int, *, causal: bool = False) -> list[Blocks]:
        """See `window_layout`."""
        return [window_layout(length, self.window, self.dilation, causal=causal)]


def window_layout(length: int, window: int, dilation: int = 1, *, causal: bool = False) -> Blocks:
    """A window as groups of queries and the keys from one half window before to one after.

    A dilated window is a plain one within each residue class of positions modulo the dilation, so
    groups run over classes and blocks of each.
    """
    per_class = math.ceil(length / dilation)
    reach = min(window // 2, max(per_class - 1, 0))
    # A group of `side` queries computes side (side + 2 reach) pairs for side (2 reach + 1).
    side = min(128 if reach >= 128 else 64 if reach >= 32 else 32, max(per_class, 1))
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
    return Blocks(positions(torch.arange(side)), positions(torch.arange(-reach, last)), near)

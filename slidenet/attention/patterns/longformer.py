"""Longformer attention: a sliding window, and a few tokens that see and are seen by everyone."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from slidenet.attention.patterns.block_sparse import Tiles, count_pairs, tiled_attention
from slidenet.attention.patterns.settings import check_at_least, check_positions
from slidenet.attention.patterns.sliding_window import window_tiles


@dataclass(frozen=True)
class LongformerAttention:
    """Sliding window plus symmetric global tokens.

    Beltagy et al. 2020, section 3.1. Linear: L (window + 2 globals). The paper projects global
    queries and keys with weights of their own; here q, k and v come as they are. When causal, the
    global tokens are causal too: they see only what came before them.

    Args:
        window: Width of the window, as in `SlidingWindowAttention`.
        global_tokens: Positions of the global tokens; the default is the class token. Positions
            past the end of a sequence are ignored.

    Raises:
        AttentionError: If window is below 1, or positions are negative or repeated.
    """

    window: int = 512
    global_tokens: tuple[int, ...] = (0,)
    name: ClassVar[str] = "longformer"

    def __post_init__(self) -> None:
        check_at_least(1, self, "window")
        object.__setattr__(self, "global_tokens", tuple(self.global_tokens))
        check_positions(self, "global_tokens")

    def mask(self, length: int, num_heads: int, *, causal: bool = False) -> Tensor:
        """Near pairs, and every pair with a global token in it; (1, L, L)."""
        position = torch.arange(length)
        distance = position[:, None] - position
        near = distance.abs() <= self.window // 2
        is_global = torch.isin(position, self._globals(length))
        allowed = near | is_global[:, None] | is_global
        return (allowed & (distance >= 0) if causal else allowed)[None]

    def num_pairs(self, length: int, num_heads: int, *, causal: bool = False) -> int:
        """Counted over the tiles."""
        return count_pairs(self.tiles(length, causal=causal), num_heads, causal=causal)

    def tiles(self, length: int, *, causal: bool = False) -> list[Tiles]:
        """Others see others nearby; others see globals; globals see everyone."""
        window = window_tiles(length, self.window, causal=causal)
        globals_ = self._globals(length)
        if len(globals_) == 0:
            return [window]
        everyone = torch.arange(length)
        others = everyone[~torch.isin(everyone, globals_)].view(1, 1, -1)
        globals_ = globals_.view(1, 1, -1)
        queries, keys = (_without(x, globals_) for x in (window.queries, window.keys))
        return [
            Tiles(queries, keys, window.allowed),
            Tiles(others, globals_),
            Tiles(globals_, everyone.view(1, 1, -1)),
        ]

    def _globals(self, length: int) -> Tensor:
        return torch.tensor([x for x in self.global_tokens if x < length], dtype=torch.long)

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
            return self.tiles(q_BHnD.shape[2], causal=causal)

        return tiled_attention(q, k, v, layout, mask=mask, causal=causal)


def _without(positions: Tensor, dropped: Tensor) -> Tensor:
    return positions.masked_fill(torch.isin(positions, dropped), -1)

"""Strided attention: keys at a fixed period, or one drawn at random from each period."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from slidenet.attention.patterns.block_sparse import (
    Tiles,
    count_pairs,
    split_into_groups,
    tiled_attention,
)
from slidenet.attention.patterns.settings import check_at_least, check_choice
from slidenet.attention.patterns.sliding_window import window_tiles


@dataclass(frozen=True)
class StridedAttention:
    """A local window, and one key in every `stride` from the whole sequence.

    "fixed" is strided attention of the Sparse Transformer (Child et al. 2019, section 4.2, both
    sets of keys merged into one head): the keys a multiple of `stride` away. "random" draws one
    key from each period of `stride` positions, seeded, per head and shared by all queries.

    Cost is L (window + L / stride). With the default stride of sqrt(L) that is L sqrt(L), as in
    the paper; a given stride makes it quadratic with a constant of 1 / stride.

    Args:
        stride: The period; None = sqrt(L) rounded up.
        window: Width of the local window, as in `SlidingWindowAttention`; 1 = the query itself.
        sampling: "fixed" or "random".
        seed: Chooses the random keys.

    Raises:
        AttentionError: If stride or window is below 1, seed negative or sampling unknown.
    """

    stride: int | None = None
    window: int = 128
    sampling: Literal["fixed", "random"] = "fixed"
    seed: int = 0
    name: ClassVar[str] = "strided"

    def __post_init__(self) -> None:
        if self.stride is not None:
            check_at_least(1, self, "stride")
        check_at_least(1, self, "window")
        check_at_least(0, self, "seed")
        check_choice(self, "sampling", ("fixed", "random"))

    def mask(self, length: int, num_heads: int, *, causal: bool = False) -> Tensor:
        """Near pairs, and periodic keys; (1, L, L) when fixed, (H, L, L) when random."""
        position = torch.arange(length)
        distance = position[:, None] - position
        near = distance.abs() <= self.window // 2
        if self.sampling == "fixed":
            periodic = (distance % self.stride_for(length) == 0)[None]
        else:
            periodic = torch.zeros(num_heads, 1, length, dtype=torch.bool)
            periodic.scatter_(2, self.sampled_keys(length, num_heads)[:, None], True)
        allowed = near | periodic
        return allowed & (distance >= 0) if causal else allowed

    def stride_for(self, length: int) -> int:
        """The period used for a sequence of `length` positions."""
        return (
            self.stride if self.stride is not None else max(1, math.isqrt(max(length - 1, 0)) + 1)
        )

    def sampled_keys(self, length: int, num_heads: int) -> Tensor:
        """Positions drawn by "random", one per period; int64 (H, periods)."""
        stride = self.stride_for(length)
        start = torch.arange(0, length, stride)[:, None]
        size = (length - start).clamp(max=stride)
        generator = torch.Generator().manual_seed(self.seed)
        share = torch.rand(len(start), num_heads, generator=generator, dtype=torch.float64)
        return (start + (share * size).long()).T.contiguous()

    def num_pairs(self, length: int, num_heads: int, *, causal: bool = False) -> int:
        """Counted over the tiles."""
        return count_pairs(self.tiles(length, num_heads, causal=causal), num_heads, causal=causal)

    def tiles(self, length: int, num_heads: int, *, causal: bool = False) -> list[Tiles]:
        """The window; then the periodic keys outside it.

        Fixed periods fold the sequence: positions of one residue class modulo the stride are the
        group that attends to itself.
        """
        reach = self.window // 2

        def far(query: Tensor, key: Tensor) -> Tensor:
            return (query - key).abs() > reach

        if self.sampling == "fixed":
            stride = self.stride_for(length)
            fold = split_into_groups(length, stride).transpose(1, 2)
            periodic = Tiles(fold, fold, far)
        else:
            everyone = torch.arange(length).view(1, 1, -1)
            periodic = Tiles(everyone, self.sampled_keys(length, num_heads)[:, None], far)
        return [window_tiles(length, self.window, causal=causal), periodic]

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
            return self.tiles(q_BHnD.shape[2], q_BHnD.shape[1], causal=causal)

        return tiled_attention(q, k, v, layout, mask=mask, causal=causal)

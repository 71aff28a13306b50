"""Strided attention: keys at a fixed period, or one drawn at random from each period."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from slidenet.attention.patterns.block_sparse import Blocks, FixedBlockPattern, split_into_groups
from slidenet.attention.patterns.sliding_window import window_layout
from slidenet.core.checks import check_choice, check_whole
from slidenet.core.errors import AttentionError


@dataclass(frozen=True)
class StridedAttention(FixedBlockPattern):
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
            check_whole(error=AttentionError, stride=self.stride)
        check_whole(error=AttentionError, window=self.window)
        check_whole(least=0, error=AttentionError, seed=self.seed)
        check_choice(("fixed", "random"), error=AttentionError, sampling=self.sampling)

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
        return self.stride or math.isqrt(max(length - 1, 0)) + 1

    def sampled_keys(self, length: int, num_heads: int) -> Tensor:
        """Positions drawn by "random", one per period; int64 (H, periods)."""
        stride = self.stride_for(length)
        start = torch.arange(0, length, stride)[:, None]
        size = (length - start).clamp(max=stride)
        generator = torch.Generator().manual_seed(self.seed)
        share = torch.rand(len(start), num_heads, generator=generator, dtype=torch.float64)
        return (start + (share * size).long()).T.contiguous()

    def layout(self, length: int, num_heads: int, *, causal: bool = False) -> list[Blocks]:
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
            periodic = Blocks(fold, fold, far)
        else:
            everyone = torch.arange(length).view(1, 1, -1)
            periodic = Blocks(everyone, self.sampled_keys(length, num_heads)[:, None], far)
        return [window_layout(length, self.window, causal=causal), periodic]

"""Strided attention: keys at a fixed period, or one drawn at random from each period."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from slidenet.attention.patterns.block_sparse import Blocks, FixedBlockPattern, split_into_groups
from slidenet.attention.patterns.sliding_window import (
    Beyond,
    check_rule,
    pairs_apart,
    window_layout,
    window_reach,
    within,
)
from slidenet.core.checks import check_choice, check_whole, plain_numbers
from slidenet.core.errors import AttentionError
from slidenet.core.window_rule import WindowRule

OLD_WINDOW = 128
"""The window by the rule "half" where none is given, whatever the stride."""


def root_stride(length: int) -> int:
    """The stride of a sequence of `length` positions that makes the cost L sqrt(L)."""
    return math.isqrt(max(length - 1, 0)) + 1


@dataclass(frozen=True)
class StridedAttention(FixedBlockPattern):
    """A local window, and one key in every `stride` from the whole sequence.

    "periodic" is the *strided* attention of the Sparse Transformer (Child et al. 2019, section 4.3,
    both sets of keys merged into one head): the keys a multiple of `stride` away. "random" draws
    one key from each period of `stride` positions, seeded, per head and shared by all queries. For
    Child's *fixed* attention see `FixedAttention`.

    Without a given window every token reaches every other (when causal, every earlier one) in two
    layers, at any length: one layer goes to the right period, the other to the right place in it.
    Cost is L (window + L / stride). With the default stride of sqrt(L) and its window that is about
    3 L sqrt(L), or 2 L sqrt(L) when causal; a given stride makes it quadratic with a constant of
    1 / stride.

    Args:
        stride: The period; None = sqrt(L) rounded up.
        window: Width of the local window, as in `SlidingWindowAttention`; 1 = the query itself.
            None = as wide as two layers need: stride - 1 keys on each side; when causal `stride`
            keys before the query (Child's l = stride), and 2 stride - 2 for "random".
        sampling: "periodic" or "random". "fixed" is the older name of "periodic".
        seed: Chooses the random keys.
        window_rule: As in `SlidingWindowAttention`; with "half" no window means 128.

    Raises:
        AttentionError: If stride or window is below 1, seed negative, or sampling or the rule
            unknown.
    """

    stride: int | None = None
    window: int | None = None
    sampling: Literal["periodic", "random"] = "periodic"
    seed: int = 0
    window_rule: WindowRule = "keys"
    name: ClassVar[str] = "strided"

    def __post_init__(self) -> None:
        plain_numbers(self)
        check_whole(or_none=True, error=AttentionError, stride=self.stride, window=self.window)
        check_whole(least=0, error=AttentionError, seed=self.seed)
        if str(self.sampling) == "fixed":
            object.__setattr__(self, "sampling", "periodic")
        check_choice(("periodic", "random"), error=AttentionError, sampling=self.sampling)
        check_rule(self.window_rule)

    def mask(self, length: int, num_heads: int, *, causal: bool = False) -> Tensor:
        """Near pairs, and periodic keys; (1, L, L) when periodic, (H, L, L) when random."""
        position = torch.arange(length)
        distance = position[:, None] - position
        near = within(distance, *self.reach(length, causal=causal))
        if self.sampling == "periodic":
            periodic = (distance % self.stride_for(length) == 0)[None]
        else:
            periodic = torch.zeros(num_heads, 1, length, dtype=torch.bool)
            periodic.scatter_(2, self.sampled_keys(length, num_heads)[:, None], True)
        allowed = near | periodic
        return allowed & (distance >= 0) if causal else allowed

    def stride_for(self, length: int) -> int:
        """The period used for a sequence of `length` positions."""
        return self.stride or root_stride(length)

    def reach(self, length: int, *, causal: bool = False) -> tuple[int, int]:
        """How many keys of the window lie before and after each query."""
        window = self.window
        if window is None and self.window_rule == "half":
            window = OLD_WINDOW
        if window is not None:
            return window_reach(window, self.window_rule, causal=causal)
        stride = self.stride_for(length)
        if not causal:
            return stride - 1, stride - 1
        # A key drawn from the next period is the first one surely after a given token, and up to
        # 2 stride - 2 away from it.
        return (stride if self.sampling == "periodic" else 2 * stride - 2), 0

    def sampled_keys(self, length: int, num_heads: int) -> Tensor:
        """Positions drawn by "random", one per period; int64 (H, periods)."""
        stride = self.stride_for(length)
        start = torch.arange(0, length, stride)[:, None]
        size = (length - start).clamp(max=stride)
        generator = torch.Generator().manual_seed(self.seed)
        share = torch.rand(len(start), num_heads, generator=generator, dtype=torch.float64)
        return (start + (share * size).long()).T.contiguous()

    def num_pairs(self, length: int, num_heads: int, *, causal: bool = False) -> int:
        """The window by distances; beyond it the periods by distances, or key by key."""
        back, ahead = self.reach(length, causal=causal)
        near = length + sum(pairs_apart(length, 1, 1, x) for x in (back, ahead))
        if self.sampling == "periodic":
            stride, sides = self.stride_for(length), (back,) if causal else (back, ahead)
            far = (pairs_apart(length, stride, x // stride + 1, length) for x in sides)
            return num_heads * (near + sum(far))
        key = self.sampled_keys(length, num_heads)
        seeing = length - key if causal else torch.full_like(key, length)
        first = key if causal else (key - ahead).clamp(min=0)
        in_window = (key + back).clamp(max=length - 1) - first + 1
        return num_heads * near + int((seeing - in_window).sum())

    def layout(self, length: int, num_heads: int, *, causal: bool = False) -> list[Blocks]:
        """The window; then the periodic keys outside it.

        Periods fold the sequence: positions of one residue class modulo the stride are the group
        that attends to itself.
        """
        back, ahead = self.reach(length, causal=causal)
        far = Beyond(back, ahead)
        if self.sampling == "periodic":
            stride = self.stride_for(length)
            fold = split_into_groups(length, stride).transpose(1, 2)
            periodic = Blocks(fold, fold, far)
        else:
            everyone = torch.arange(length).view(1, 1, -1)
            periodic = Blocks(everyone, self.sampled_keys(length, num_heads)[:, None], far)
        return [window_layout(length, back, ahead), periodic]

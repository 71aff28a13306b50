"""Sliding-window attention, plain and dilated: every query sees the keys around or before it."""

import math
from dataclasses import dataclass
from typing import ClassVar, get_args

import torch
from torch import Tensor

from slidenet.attention.patterns.block_sparse import Blocks, FixedBlockPattern
from slidenet.core.checks import check_choice, check_whole, plain_numbers
from slidenet.core.errors import AttentionError
from slidenet.core.window_rule import WindowRule


@dataclass(frozen=True)
class SlidingWindowAttention(FixedBlockPattern):
    """Each query sees `window` keys, `dilation` apart, its own among them.

    Both ways they lie around it, window // 2 on each side (Longformer, Beltagy et al. 2020, section
    3.1, "sliding window" and "dilated sliding window"); an even width counts as the next odd one.
    When causal all of them lie before it: query i sees i, i - d, .. i - (window - 1) d (Mistral,
    Jiang et al. 2023, section 2), so that n layers reach n (window - 1) d + 1 positions. Linear: at
    most window (+ 1) keys per query. Position 0 gets no special treatment, so a class token there
    knows its own neighbourhood only; see `LongformerAttention` for one that sees everything.

    Args:
        window: Width of the window in attended keys, the query's own among them.
        dilation: Distance between neighbouring keys of the window; 1 = no gaps.
        window_rule: What a causal window counts: "keys", or "half" for window // 2 keys and the
            query's own, as older files mean it.

    Raises:
        AttentionError: If window or dilation is below 1, or the rule unknown.
    """

    window: int = 512
    dilation: int = 1
    window_rule: WindowRule = "keys"
    name: ClassVar[str] = "sliding_window"

    def __post_init__(self) -> None:
        plain_numbers(self)
        check_whole(error=AttentionError, window=self.window, dilation=self.dilation)
        check_rule(self.window_rule)

    def mask(self, length: int, num_heads: int, *, causal: bool = False) -> Tensor:
        """Pairs within the window, a multiple of `dilation` apart; (1, L, L)."""
        position = torch.arange(length)
        distance = position[:, None] - position
        back, ahead = self.reach(causal=causal)
        near = within(distance, back * self.dilation, ahead * self.dilation)
        return (near & (distance % self.dilation == 0))[None]

    def reach(self, *, causal: bool = False) -> tuple[int, int]:
        """How many keys each query sees before and after itself."""
        return window_reach(self.window, self.window_rule, causal=causal)

    def num_pairs(self, length: int, num_heads: int, *, causal: bool = False) -> int:
        """Pairs per distance 0, d, 2 d ..: L - distance, for each of the two sides."""
        sides = (pairs_apart(length, self.dilation, 1, x) for x in self.reach(causal=causal))
        return num_heads * (length + sum(sides))

    def layout(self, length: int, num_heads: int, *, causal: bool = False) -> list[Blocks]:
        """See `window_layout`."""
        return [window_layout(length, *self.reach(causal=causal), self.dilation)]


def check_rule(rule: str) -> None:
    """Refuses an unknown rule of windows.

    Raises:
        AttentionError: With those there are.
    """
    check_choice(get_args(WindowRule), error=AttentionError, window_rule=rule)


def window_reach(window: int, rule: WindowRule, *, causal: bool) -> tuple[int, int]:
    """How far a window of that width reaches before and after a query, in keys."""
    half = window // 2
    if not causal:
        return half, half
    return (half if rule == "half" else window - 1), 0


def pairs_apart(length: int, step: int, first: int, last: int) -> int:
    """Pairs of positions `first` to `last` steps apart, in one direction."""
    last = min(last, max(length - 1, 0) // step)
    number = max(last - first + 1, 0)
    return number * length - step * number * (first + last) // 2


def within(distance: Tensor, back: int, ahead: int) -> Tensor:
    """Which distances query - key lie in a window that reaches `back` and `ahead`."""
    return (distance <= back) & (-distance <= ahead)


@dataclass(frozen=True)
class Within:
    """Keys at most `back` before and `ahead` after the query."""

    back: int
    ahead: int

    def __call__(self, query: Tensor, key: Tensor) -> Tensor:
        """See `Predicate`."""
        return within(query - key, self.back, self.ahead)


@dataclass(frozen=True)
class Beyond(Within):
    """All other keys."""

    def __call__(self, query: Tensor, key: Tensor) -> Tensor:
        """See `Predicate`."""
        return ~within(query - key, self.back, self.ahead)


def window_layout(length: int, back: int, ahead: int, dilation: int = 1) -> Blocks:
    """A window as groups of queries and the keys from `back` steps before to `ahead` after.

    A dilated window is a plain one within each residue class of positions modulo the dilation, so
    groups run over classes and blocks of each.
    """
    per_class = math.ceil(length / dilation)
    back, ahead = (min(steps, max(per_class - 1, 0)) for steps in (back, ahead))
    # A group of `side` queries computes side (side + back + ahead) pairs for side (back + ahead).
    reach = max(back, ahead)
    side = min(128 if reach >= 128 else 64 if reach >= 32 else 32, max(per_class, 1))
    block_start = torch.arange(0, per_class, side)[None, :, None]
    residue = torch.arange(min(dilation, length))[:, None, None]

    def positions(steps: Tensor) -> Tensor:
        step = block_start + steps
        position = residue + dilation * step
        outside = (step < 0) | (position >= length)
        return position.masked_fill(outside, -1).flatten(0, 1)[None]

    keys = positions(torch.arange(-back, side + ahead))
    near = Within(back * dilation, ahead * dilation)
    return Blocks(positions(torch.arange(side)), keys, near)

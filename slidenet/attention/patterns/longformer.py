"""Longformer attention: a sliding window, and a few tokens that see and are seen by everyone."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from slidenet.attention.patterns.block_sparse import Blocks, FixedBlockPattern
from slidenet.attention.patterns.sliding_window import (
    check_rule,
    pairs_apart,
    window_layout,
    window_reach,
    within,
)
from slidenet.core.checks import check_whole, plain_numbers, refused
from slidenet.core.errors import AttentionError
from slidenet.core.window_rule import WindowRule


@dataclass(frozen=True)
class LongformerAttention(FixedBlockPattern):
    """Sliding window plus symmetric global tokens.

    Beltagy et al. 2020, section 3.1. Linear: L (window + 2 globals). The paper projects global
    queries and keys with weights of their own; here q, k and v come as they are. When causal, the
    global tokens are causal too: they see only what came before them.

    Args:
        window: Width of the window, as in `SlidingWindowAttention`: around the query, or all of it
            before the query when causal.
        global_tokens: Positions of the global tokens; the default is the class token. Positions
            past the end of a sequence are ignored.
        window_rule: As in `SlidingWindowAttention`.

    Raises:
        AttentionError: If window is below 1, positions are negative or repeated, or the rule is
            unknown.
    """

    window: int = 512
    global_tokens: tuple[int, ...] = (0,)
    window_rule: WindowRule = "keys"
    name: ClassVar[str] = "longformer"

    def __post_init__(self) -> None:
        plain_numbers(self)
        check_whole(error=AttentionError, window=self.window)
        check_rule(self.window_rule)
        expected = "distinct positions, counted from 0"
        if not isinstance(self.global_tokens, Iterable):
            raise refused("global_tokens", self.global_tokens, expected, AttentionError)
        given: tuple[Any, ...] = tuple(self.global_tokens)
        numbers = (int, np.integer)
        whole = all(isinstance(x, numbers) and not isinstance(x, bool) and x >= 0 for x in given)
        if not whole or len(set(given)) < len(given):
            raise refused("global_tokens", given, expected, AttentionError)
        object.__setattr__(self, "global_tokens", tuple(int(x) for x in given))

    def mask(self, length: int, num_heads: int, *, causal: bool = False) -> Tensor:
        """Near pairs, and every pair with a global token in it; (1, L, L)."""
        position = torch.arange(length)
        distance = position[:, None] - position
        near = within(distance, *window_reach(self.window, self.window_rule, causal=causal))
        is_global = torch.isin(position, self._globals(length))
        allowed = near | is_global[:, None] | is_global
        return (allowed & (distance >= 0) if causal else allowed)[None]

    def num_pairs(self, length: int, num_heads: int, *, causal: bool = False) -> int:
        """The window between other tokens, and every pair with a global token in it."""
        back, ahead = window_reach(self.window, self.window_rule, causal=causal)
        pairs = length + sum(pairs_apart(length, 1, 1, x) for x in (back, ahead))
        globals_ = self._globals(length).sort().values
        number = len(globals_)

        def span(before: int, after: int) -> tuple[Tensor, Tensor]:
            """Around each global token, first position and the one after the last."""
            first = (globals_ - before).clamp(min=0)
            return first, (globals_ + after + 1).clamp(max=length)

        first, end = span(back, ahead)
        as_key = span(ahead, back)
        both = torch.searchsorted(globals_, end) - torch.searchsorted(globals_, first)
        pairs -= int((end - first + as_key[1] - as_key[0] - both).sum())
        if causal:  # those after and those before each global token
            return num_heads * (pairs + number * (length + 1) - number * (number + 1) // 2)
        return num_heads * (pairs + 2 * number * length - number**2)

    def layout(self, length: int, num_heads: int, *, causal: bool = False) -> list[Blocks]:
        """Others see others nearby; others see globals; globals see everyone."""
        reach = window_reach(self.window, self.window_rule, causal=causal)
        window = window_layout(length, *reach)
        globals_ = self._globals(length)
        if len(globals_) == 0:
            return [window]
        everyone = torch.arange(length)
        others = everyone[~torch.isin(everyone, globals_)].view(1, 1, -1)
        globals_ = globals_.view(1, 1, -1)
        queries, keys = (
            x.masked_fill(torch.isin(x, globals_), -1) for x in (window.queries, window.keys)
        )
        return [
            Blocks(queries, keys, window.allowed),
            Blocks(others, globals_),
            Blocks(globals_, everyone.view(1, 1, -1)),
        ]

    def _globals(self, length: int) -> Tensor:
        return torch.tensor([x for x in self.global_tokens if x < length], dtype=torch.long)

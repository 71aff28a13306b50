"""Tokens that the heads of dilated attention leave out.

A branch with rate r needs heads at all r offsets to see every token of its segments. With fewer
than r heads, or with the released order and heads that do not fill their groups (6 heads in groups
of 2 make 3 offsets of 4), some offsets are kept by no head. A token that no branch keeps has output
0 and is no key of any other: only the residual connection carries it through a block.
"""

import math
import warnings
from functools import cache

import torch
from torch import Tensor

from slidenet.attention.dilated.config import DilatedConfig, HeadOrder, head_offsets
from slidenet.attention.protocol import AttentionWarning
from slidenet.core.text import count_of

MOST_POSITIONS = 1 << 16
"""The warning looks for tokens that no branch keeps among so many, at most."""


def unseen_offsets(
    num_heads: int, rate: int, head_order: HeadOrder = "released"
) -> tuple[int, ...]:
    """The offsets 0 .. r - 1 of a branch that no head keeps, ascending; () where all are kept.

    Args:
        num_heads: Heads of the layer, H.
        rate: One position in `rate` is kept per head.
        head_order: See `DilatedConfig`.
    """
    return tuple(sorted(set(range(rate)) - set(head_offsets(num_heads, rate, head_order))))


def unseen_positions(config: DilatedConfig, length: int, num_heads: int) -> Tensor:
    """Positions of a sequence that no head keeps in any branch, ascending int64.

    Args:
        config: The branches and conventions.
        length: Positions, L.
        num_heads: Heads of the layer, H.
    """
    position = torch.arange(length)
    unseen = torch.ones(length, dtype=torch.bool)
    for w, r in config.branches:
        left_out = torch.zeros(r, dtype=torch.bool)
        left_out[list(unseen_offsets(num_heads, r, config.head_order))] = True
        unseen &= left_out[position % w % r]
    return position[unseen]


def warn_of_unseen(config: DilatedConfig, num_heads: int) -> None:
    """Warns once per branches, head order and number of heads where heads leave offsets out.

    Warns:
        AttentionWarning: Per branch, how many of its offsets no head keeps; and whether some
            tokens are kept in no branch at all.
    """
    _warn_once(config.segment_lengths, config.dilation_rates, config.head_order, num_heads)


@cache
def _warn_once(
    segment_lengths: tuple[int, ...],
    dilation_rates: tuple[int, ...],
    head_order: HeadOrder,
    num_heads: int,
) -> None:
    config = DilatedConfig(segment_lengths, dilation_rates, head_order)
    counts = [(w, r, len(unseen_offsets(num_heads, r, head_order))) for w, r in config.branches]
    found = [f"{count} of {r} in the branch w={w}, r={r}" for w, r, count in counts if count]
    if not found:
        return
    length = min(max(segment_lengths), MOST_POSITIONS)
    lost = len(unseen_positions(config, length, num_heads))
    consequence = (
        f"{lost} of the first {length} tokens are in no branch at all: their attention output is 0 "
        "and no token sees them"
        if lost
        else "every token is still seen in another branch"
    )
    enough = math.lcm(*dilation_rates)
    heads = f"{enough} heads or a multiple"
    if head_order == "paper":
        heads = f"{max(dilation_rates)} heads or more"
    warnings.warn(
        f"dilated attention with {count_of('head', num_heads)} (head_order {head_order!r}) "
        f"leaves offsets that no head keeps: {', '.join(found)}; {consequence}. To see all: take "
        f"{heads}, or rates that divide the number of heads"
        + (", or add a branch of rate 1" if lost else ""),
        AttentionWarning,
        stacklevel=4,
    )

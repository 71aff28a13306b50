"""Which positions each head of each branch of dilated attention keeps.

A branch (w, r) cuts the sequence into segments of w positions and lets every head see one position
in r of each segment (LongNet, Ding et al. 2023, sections 2.2 and 2.3). `branch_mask` says it as a
picture and is the definition; everything fast is tested against it.

Padding as released: the published code fills the last segment up to w and every segment up to a
multiple of r with zero queries, keys and values, and attends to them. `zero_slots` counts them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from slidenet.core.errors import AttentionError

HeadOrder = Literal["released", "paper"]
Padding = Literal["released", "masked"]
MixingGradient = Literal["released", "true"]


@dataclass(frozen=True)
class DilatedConfig:
    """Settings of dilated attention, checked.

    Attributes:
        segment_lengths: Positions per segment, w, one per branch.
        dilation_rates: One position in r is kept, one r per branch.
        head_order: Which offset head h keeps: "released" h // ceil(H / r) (contiguous groups),
            "paper" h mod r.
        padding: "released" attends to the zero slots that fill segments up, "masked" does not.
        mixing_gradient: "released" sends no gradient through the weights that mix branches,
            "true" does.
    """

    segment_lengths: tuple[int, ...]
    dilation_rates: tuple[int, ...]
    head_order: HeadOrder = "released"
    padding: Padding = "released"
    mixing_gradient: MixingGradient = "released"

    def __post_init__(self) -> None:
        for name in ("segment_lengths", "dilation_rates"):
            object.__setattr__(self, name, _positive_integers(name, getattr(self, name)))
        _check_branches(self.segment_lengths, self.dilation_rates)
        _check_choice("head_order", self.head_order, get_args(HeadOrder))
        _check_choice("padding", self.padding, get_args(Padding))
        _check_choice("mixing_gradient", self.mixing_gradient, get_args(MixingGradient))

    @property
    def branches(self) -> tuple[tuple[int, int], ...]:
        """(segment length, dilation rate) of each branch."""
        return tuple(zip(self.segment_lengths, self.dilation_rates, strict=True))


def _positive_integers(name: str, values: Sequence[int]) -> tuple[int, ...]:
    good = isinstance(values, Sequence) and not isinstance(values, str)
    if not good or any(type(x) is not int or x < 1 for x in values):
        raise AttentionError(f"{name} is {values!r}", expected="a list of integers of 1 or more")
    return tuple(values)


def _check_branches(segment_lengths: tuple[int, ...], dilation_rates: tuple[int, ...]) -> None:
    if len(segment_lengths) != len(dilation_rates) or not segment_lengths:
        raise AttentionError(
            f"{len(segment_lengths)} segment_lengths and {len(dilation_rates)} dilation_rates",
            expected="one dilation rate per segment length, and at least one of each",
        )
    for w, r in zip(segment_lengths, dilation_rates, strict=True):
        if w < r:
            raise AttentionError(
                f"a segment of {w} is shorter than its dilation rate {r}",
                expected="segment_lengths[i] >= dilation_rates[i]",
                remedy="lengthen the segment, or lower the rate: some heads would keep nothing",
            )


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise AttentionError(f"{name} is {value!r}", expected=f"one of {', '.join(choices)}")


def head_offsets(num_heads: int, rate: int, head_order: HeadOrder) -> tuple[int, ...]:
    """The offset each head keeps within a stride of `rate` positions."""
    if head_order == "paper":
        return tuple(h % rate for h in range(num_heads))
    group = -(-num_heads // rate)
    return tuple(h // group for h in range(num_heads))


def branch_mask(
    length: int,
    num_heads: int,
    segment_length: int,
    dilation_rate: int,
    head_order: HeadOrder = "released",
    *,
    causal: bool = False,
) -> Tensor:
    """One branch as a picture: bool (H, L, L), rows are queries, True = attended."""
    position = torch.arange(length)
    segment = position // segment_length
    slot = position % segment_length
    offset = torch.tensor(head_offsets(num_heads, dilation_rate, head_order))
    kept = slot % dilation_rate == offset[:, None]
    pairs = kept[:, :, None] & kept[:, None, :] & (segment[:, None] == segment)
    return pairs.tril() if causal else pairs


def zero_slots(
    length: int,
    num_heads: int,
    segment_length: int,
    dilation_rate: int,
    head_order: HeadOrder = "released",
) -> Tensor:
    """How many zero slots each query attends to under released padding: int64 (H, L).

    Segments are min(segment_length, length) long; each is filled up to a multiple of the rate, so
    every head has ceil(w / r) slots in every segment, whether real or not.
    """
    w = min(segment_length, length)
    offset = torch.tensor(head_offsets(num_heads, dilation_rate, head_order))
    start = torch.arange(length) // max(w, 1) * w
    real = torch.clamp(length - start, max=w)
    real_slots = count_slots(real, offset[:, None], dilation_rate)
    return -(-w // dilation_rate) - real_slots


def count_slots(length: Tensor, offset: Tensor, rate: int) -> Tensor:
    """How many of the first `length` positions of a segment lie at `offset` modulo `rate`."""
    return torch.clamp((length - offset + rate - 1) // rate, min=0)

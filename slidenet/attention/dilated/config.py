"""Which positions each head of each branch of dilated attention keeps.

A branch (w, r) cuts the sequence into segments of w positions and lets every head see one position
in r of each segment (LongNet, Ding et al. 2023, sections 2.2 and 2.3). `branch_mask` says it as a
picture and is the definition; everything fast is tested against it.

Padding as released: the published code fills the last segment up to w and every segment up to a
multiple of r with zero queries, keys and values, and attends to them. `zero_slots` counts them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from slidenet.core.checks import check_choice, refused
from slidenet.core.errors import AttentionError

HeadOrder = Literal["released", "paper"]
Padding = Literal["released", "masked"]
MixingGradient = Literal["released", "true"]


@dataclass(frozen=True)
class DilatedConfig:
    """Settings of dilated attention, checked.

    With the defaults every number is that of the released GigaPath code, with one exception: the
    released code reads the outputs of a branch back shifted where w is no multiple of r and the
    sequence is longer than w, so that tokens from number w on get those of others. We follow the
    paper there. `official_limit` is the longest sequence without such a branch: 185,363 tokens with
    the published segments, 23,170 with those of the PANDA fine-tuning. `legacy_readback` gives the
    released numbers beyond it.

    Attributes:
        segment_lengths: Positions per segment, w, one per branch.
        dilation_rates: One position in r is kept, one r per branch.
        head_order: Which offset head h keeps: "released" h // ceil(H / r) (contiguous groups),
            "paper" h mod r.
        padding: "released" attends to the zero slots that fill segments up, "masked" does not.
        mixing_gradient: "released" sends no gradient through the weights that mix branches,
            "true" does.
        legacy_readback: Whether to read back as the released code does, for comparisons with its
            numbers. Needs "released" head order and padding, no causal call and no gaps in masks.
    """

    segment_lengths: tuple[int, ...]
    dilation_rates: tuple[int, ...]
    head_order: HeadOrder = "released"
    padding: Padding = "released"
    mixing_gradient: MixingGradient = "released"
    legacy_readback: bool = False

    def __post_init__(self) -> None:
        for name in ("segment_lengths", "dilation_rates"):
            values = getattr(self, name)
            whole = isinstance(values, Sequence) and not isinstance(values, str)
            if not whole or any(type(x) is not int or x < 1 for x in values):
                raise refused(name, values, "a list of integers of 1 or more", AttentionError)
            object.__setattr__(self, name, tuple(values))
        if len(self.segment_lengths) != len(self.dilation_rates) or not self.segment_lengths:
            raise AttentionError(
                f"{len(self.segment_lengths)} segment_lengths and {len(self.dilation_rates)} "
                "dilation_rates",
                expected="one dilation rate per segment length, and at least one of each",
            )
        for w, r in self.branches:
            if w < r:
                raise AttentionError(
                    f"a segment of {w} is shorter than its dilation rate {r}",
                    expected="segment_lengths[i] >= dilation_rates[i]",
                    remedy="lengthen the segment, or lower the rate: some heads would keep nothing",
                )
        check_choice(get_args(HeadOrder), error=AttentionError, head_order=self.head_order)
        check_choice(get_args(Padding), error=AttentionError, padding=self.padding)
        check_choice(
            get_args(MixingGradient), error=AttentionError, mixing_gradient=self.mixing_gradient
        )
        if not isinstance(self.legacy_readback, bool):
            raise refused("legacy_readback", self.legacy_readback, "true or false", AttentionError)
        if self.legacy_readback and (self.head_order, self.padding) != ("released", "released"):
            raise AttentionError(
                f"legacy_readback with head_order {self.head_order!r} and padding {self.padding!r}",
                expected="'released' for both: it is how the released code reads its outputs back",
                remedy="leave legacy_readback out, or set both to 'released'",
            )

    @property
    def branches(self) -> tuple[tuple[int, int], ...]:
        """(segment length, dilation rate) of each branch."""
        return tuple(zip(self.segment_lengths, self.dilation_rates, strict=True))

    @property
    def official_limit(self) -> int | None:
        """Most tokens with which the released code agrees with the paper; None = any number."""
        ragged = [w for w, r in self.branches if w % r]
        return min(ragged, default=None)

    def reads_back_shifted(self, length: int) -> bool:
        """Whether the legacy read-back is asked for and differs from the paper at that length."""
        limit = self.official_limit
        return self.legacy_readback and limit is not None and length > limit

    @property
    def needs_own_outputs(self) -> bool:
        """Whether the backward takes each branch's own output instead of the merged one.

        A single branch is not mixed with anything: the two are the same.
        """
        return self.mixing_gradient == "released" and len(self.branches) > 1

    @property
    def keeps_own_outputs(self) -> bool:
        """Whether those are kept for the backward; above 2 N D numbers they are recomputed."""
        few = sum(1 / rate for rate in self.dilation_rates) <= 2
        return self.needs_own_outputs and few and not self.legacy_readback


class DilatedCall(NamedTuple):
    """What one call of dilated attention has beside q, k and v, already checked.

    Attributes:
        config: The branches and conventions.
        mask: Bool (B, L), True = real, or None.
        causal: Whether queries see only keys at or before them.
        first_head: The first head that q, k, v hold, where they hold some heads of a layer.
        num_heads: Heads of that layer; those of q where None.
    """

    config: DilatedConfig
    mask: Tensor | None = None
    causal: bool = False
    first_head: int = 0
    num_heads: int | None = None

    @property
    def zero_slots(self) -> bool:
        """Whether zero slots are attended to; they come last, so no causal query sees any."""
        return self.config.padding == "released" and not self.causal


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
    real_slots = torch.clamp((real - offset[:, None] + dilation_rate - 1) // dilation_rate, min=0)
    return -(-w // dilation_rate) - real_slots

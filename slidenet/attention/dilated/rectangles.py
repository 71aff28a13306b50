"""Cuts a branch of dilated attention into rectangles that strided views address without copies.

In one segment, the head at offset g keeps positions g, g + r, g + 2r, ... Heads and offsets step
through memory regularly, and so do whole segments, so that all of them together are one view with
the dimensions (batch, segment, offset, head, slot, feature). A new rectangle is only needed where
the count of slots or heads changes: at the short last segment, at offsets with one slot fewer
(w mod r != 0), at an offset with fewer heads (H mod r != 0).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

from torch import Tensor

from slidenet.attention.dilated.config import DilatedCall, head_offsets


@dataclass(frozen=True)
class Rectangle:
    """A regular set of (segment, offset, head) that all keep the same number of slots.

    Attributes:
        position: First position kept.
        num_segments: Segments covered, S.
        segment_stride: Positions from one segment to the next.
        num_offsets: Consecutive offsets covered, G.
        head: First head.
        head_per_offset: Heads from one offset to the next.
        num_heads: Heads at each offset, J.
        head_stride: Heads from one of them to the next.
        num_slots: Positions kept per segment, M.
        rate: Positions from one slot to the next.
        zero_slots: Zero slots each query also attends to.
        branch: Index of the branch. Within one, rectangles do not overlap.
    """

    position: int
    num_segments: int
    segment_stride: int
    num_offsets: int
    head: int
    head_per_offset: int
    num_heads: int
    head_stride: int
    num_slots: int
    rate: int
    zero_slots: int
    branch: int = 0

    @property
    def num_queries(self) -> int:
        """Queries in the rectangle over all its heads."""
        return self.num_segments * self.num_offsets * self.num_heads * self.num_slots

    def views(self, x: Tensor) -> Iterator[Tensor]:
        """The rectangle of x (B, L, H, ...), in place, as views (batch, head, slot, ...).

        Kernels take two leading dimensions; the two largest of (batch, segment, offset, head) are
        given to them and the others are walked through.
        """
        _, by_position, by_head = x.stride()[:3]
        sizes = (
            x.shape[0], self.num_segments, self.num_offsets, self.num_heads, self.num_slots,
        )  # fmt: skip
        strides = (
            x.stride(0),
            self.segment_stride * by_position,
            by_position + self.head_per_offset * by_head,
            self.head_stride * by_head,
            self.rate * by_position,
        )
        first = x.storage_offset() + self.position * by_position + self.head * by_head
        view = x.as_strided(sizes + x.shape[3:], strides + x.stride()[3:], first)
        largest_first = sorted(range(4), key=lambda dim: -sizes[dim])
        given, walked = sorted(largest_first[:2]), sorted(largest_first[2:])
        view = view.permute(*walked, *given, *range(4, view.ndim))
        for index in product(*(range(sizes[dim]) for dim in walked)):
            yield view[index]

    def walk(
        self, real: Tensor | None, *tensors: Tensor
    ) -> Iterator[tuple[Tensor | None, tuple[Tensor, ...]]]:
        """Views of several tensors (B, L, H, ...) side by side.

        Args:
            real: Bool (B, L) where some positions are not real, else None.
            *tensors: What to view.

        Yields:
            The keys that may be attended (batch, head, 1, slot), or None for all, and the views.
        """
        if real is not None:
            tensors = (real[:, :, None].expand(-1, -1, tensors[0].shape[2]), *tensors)
        for views in zip(*(self.views(x) for x in tensors), strict=True):
            yield (None, views) if real is None else (views[0][:, :, None, :], views[1:])


def plan_rectangles(call: DilatedCall, length: int, num_heads: int) -> list[Rectangle]:
    """The rectangles of all branches, in order, for one sequence.

    Args:
        call: The branches and conventions, and which heads of the layer are at hand.
        length: Positions.
        num_heads: Heads at hand, counted from 0 in the rectangles.
    """
    heads = slice(call.first_head, call.first_head + num_heads)
    plan = []
    for branch, (w, r) in enumerate(call.config.branches):
        offsets = head_offsets(call.num_heads or num_heads, r, call.config.head_order)[heads]
        rectangles = plan_branch(length, offsets, w, r, zero_slots=call.zero_slots)
        plan += [replace(rectangle, branch=branch) for rectangle in rectangles]
    return plan


def most_slots(length: int, segment_length: int, rate: int) -> int:
    """At least as many slots as any head keeps in one branch; a formula, for a symbolic length."""
    segments = (length + segment_length - 1) // segment_length
    return (length + segments * (rate - 1)) // rate


def plan_branch(
    length: int, offsets: Sequence[int], segment_length: int, rate: int, *, zero_slots: bool
) -> list[Rectangle]:
    """The rectangles of one branch.

    Args:
        length: Positions.
        offsets: The offset each head keeps.
        segment_length: Positions per segment.
        rate: One position in `rate` is kept.
        zero_slots: Whether zero slots fill segments up to ceil(w / rate) slots.
    """
    w = min(segment_length, length)
    num_whole, rest = divmod(length, w) if length else (0, 0)
    slots = -(-w // rate)
    rectangles: list[Rectangle] = []
    for start, num_segments, size in ((0, num_whole, w), (num_whole * w, 1, rest)):
        runs: list[Rectangle] = []
        for offset in range(min(rate, size)):
            heads = [h for h, kept in enumerate(offsets) if kept == offset]
            if not heads:
                continue
            kept = -(-(size - offset) // rate)
            one = Rectangle(
                position=start + offset,
                num_segments=num_segments,
                segment_stride=w,
                num_offsets=1,
                head=heads[0],
                head_per_offset=0,
                num_heads=len(heads),
                head_stride=heads[1] - heads[0] if len(heads) > 1 else 1,
                num_slots=kept,
                rate=rate,
                zero_slots=slots - kept if zero_slots else 0,
            )
            longer = _lengthened(runs[-1], one) if runs else None
            runs[-1:] = [longer] if longer else [*runs[-1:], one]
        rectangles += runs
    return rectangles


def _lengthened(run: Rectangle, one: Rectangle) -> Rectangle | None:
    """`run` with the offset of `one` added, or None where that is not regular."""
    step = one.head - run.head if run.num_offsets == 1 else run.head_per_offset
    expected = replace(
        run,
        position=run.position + run.num_offsets,
        num_offsets=1,
        head=run.head + step * run.num_offsets,
        head_per_offset=0,
    )
    if one != expected:
        return None
    return replace(run, num_offsets=run.num_offsets + 1, head_per_offset=step)

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

from slidenet.attention.dilated.config import DilatedConfig, head_offsets


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

    def views(self, x: Tensor, *, position_dim: int, head_dim: int) -> "RectangleView":
        """The rectangle of x, addressed in place.

        Args:
            x: (B, positions and heads in either order, features or nothing).
            position_dim: Dimension of positions.
            head_dim: Dimension of heads.
        """
        by_position, by_head = x.stride(position_dim), x.stride(head_dim)
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
        offset = x.storage_offset() + self.position * by_position + self.head * by_head
        return RectangleView(x.as_strided(sizes + x.shape[3:], strides + x.stride()[3:], offset))


class RectangleView:
    """A view (batch, segment, offset, head, slot, ...) handed out as (batch, head, slot, ...).

    Kernels take two leading dimensions; the two largest of the four are given to them and the
    others are walked through.
    """

    def __init__(self, view: Tensor) -> None:
        order = sorted(range(4), key=lambda dim: -view.shape[dim])
        walked, given = sorted(order[2:]), sorted(order[:2])
        self._walked_sizes = [view.shape[dim] for dim in walked]
        self._view = view.permute(*walked, *given, *range(4, view.ndim))

    def __iter__(self) -> Iterator[Tensor]:
        for index in product(*(range(size) for size in self._walked_sizes)):
            yield self._view[index]


def plan_rectangles(
    length: int,
    num_heads: int,
    config: DilatedConfig,
    *,
    causal: bool = False,
    heads: slice = slice(None),
) -> list[Rectangle]:
    """The rectangles of all branches, in order, for one sequence of `length` positions.

    Args:
        length: Positions.
        num_heads: Heads of the layer.
        config: The branches and conventions.
        causal: Whether queries see only keys at or before them; then they see no zero slots.
        heads: The heads at hand, counted from 0 in the rectangles.
    """
    plan = []
    for branch, (w, r) in enumerate(config.branches):
        offsets = head_offsets(num_heads, r, config.head_order)[heads]
        padded = config.padding == "released" and not causal
        rectangles = plan_branch(length, offsets, w, r, zero_slots=padded)
        plan += [replace(rectangle, branch=branch) for rectangle in rectangles]
    return plan


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
    if length == 0:
        return []
    w = min(segment_length, length)
    full, rest = divmod(length, w)
    slots = -(-w // rate) if zero_slots else None
    rectangles = _segments(0, full, w, w, offsets, rate, slots)
    if rest:
        rectangles += _segments(full * w, 1, w, rest, offsets, rate, slots)
    return rectangles


def _segments(
    start: int,
    count: int,
    stride: int,
    length: int,
    offsets: Sequence[int],
    rate: int,
    slots: int | None,
) -> list[Rectangle]:
    """Rectangles over `count` equal segments of `length` positions from `start` on."""
    rectangles = []
    for run in _regular_runs(length, offsets, rate):
        offset, num_offsets, heads, head_per_offset = run
        kept = -(-(length - offset) // rate)
        rectangles.append(
            Rectangle(
                position=start + offset,
                num_segments=count,
                segment_stride=stride,
                num_offsets=num_offsets,
                head=heads[0],
                head_per_offset=head_per_offset,
                num_heads=len(heads),
                head_stride=heads[1] - heads[0] if len(heads) > 1 else 1,
                num_slots=kept,
                rate=rate,
                zero_slots=0 if slots is None else slots - kept,
            )
        )
    return rectangles


def _regular_runs(
    length: int, offsets: Sequence[int], rate: int
) -> list[tuple[int, int, list[int], int]]:
    """Groups consecutive offsets with equally many slots and heads, evenly spaced.

    Returns:
        (first offset, number of offsets, heads of the first offset, heads from one to the next).
    """
    runs: list[tuple[int, int, list[int], int]] = []
    for offset in range(min(rate, length)):
        heads = [h for h, kept in enumerate(offsets) if kept == offset]
        if not heads:
            continue
        if runs:
            first, count, first_heads, step = runs[-1]
            same_slots = -(-(length - offset) // rate) == -(-(length - first) // rate)
            distance = heads[0] - first_heads[0]
            step = distance if count == 1 else step
            shifted = [h + step * count for h in first_heads]
            if first + count == offset and same_slots and heads == shifted:
                runs[-1] = (first, count + 1, first_heads, step)
                continue
        runs.append((offset, 1, heads, 0))
    return runs

"""Which kernel calls serve dilated attention over a packed batch: slides after one another.

The positions of one segment at one offset, in all heads that keep them, are a *unit*: they attend
to each other, head by head, and to nothing else. Units of all slides that keep equally many
positions share a kernel call, on rows gathered from q, k and v. Units nearly alike share one too,
the shorter filled up with keys that are not attended, as long as that costs less than a call of
their own. So the number of calls depends on the variety of the lengths and not on the number of
slides, and what is filled up is bounded. A position that is not real is in no unit.

Shapes: N packed positions of all slides, H heads, U units of M slots and J heads in a call, R rows
of a branch.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from slidenet.attention.dilated.config import DilatedConfig, head_offsets
from slidenet.core.arrays import BoolArray

Numbers = NDArray[np.int64]

PAIRS_PER_CALL = {"cpu": 1 << 12}
"""Pairs that take about as long as a call of their own (`scripts/benchmarks/bench_packed.py`)."""

OTHER_PAIRS = 1 << 22
"""The same on other devices, where many pairs are attended while one call starts; not measured."""

ROWS_PER_CALL = {"cpu": 1 << 15}
"""Most rows in a call (or one unit), which bounds what is gathered at once."""

OTHER_ROWS = 1 << 20
"""The same on other devices."""


class PackedCall(NamedTuple):
    """What decides the plan of a packed batch, beside which positions are real.

    Attributes:
        config: The branches and conventions.
        lengths: Positions of each slide.
        num_heads: Heads at hand.
        causal: Whether queries see only keys at or before them.
        first_head: The first of them in the layer.
        layer_heads: Heads of the layer.
    """

    config: DilatedConfig
    lengths: tuple[int, ...]
    num_heads: int
    causal: bool
    first_head: int
    layer_heads: int


@dataclass(frozen=True, eq=False)
class Group:
    """Units that share a kernel call. A row is a position in a head; U M J of them are read.

    Attributes:
        shape: U, M of the longest unit, and J.
        span: The rows that are no filling, among those of the branch.
        read: int64 (U M J,), which row of q, k, v each one is, some row of the unit for filling;
            or a slice, where those are consecutive.
        place: int64 (U M J,), the same as a place within `span`; None where nothing is filled up.
        real: int64, which of the U M J rows are no filling, in order; None where nothing is.
        filling: Bool (U, 1, M), the slots that are; None where nothing is.
    """

    shape: tuple[int, int, int]
    span: slice
    read: Tensor | slice
    place: Tensor | None = None
    real: Tensor | None = None
    filling: Tensor | None = None

    def gathered(self, x: Tensor) -> Tensor:
        """Rows of x (N H, ...) as (U, J, M, ...)."""
        rows = x[self.read] if isinstance(self.read, slice) else x.index_select(0, self.read)
        return rows.view(*self.shape, *x.shape[1:]).transpose(1, 2)

    def spread(self, own: Tensor) -> Tensor:
        """Rows of the branch (R, ...) as (U, J, M, ...)."""
        own = own[self.span]
        own = own if self.place is None else own.index_select(0, self.place)
        return own.view(*self.shape, *own.shape[1:]).transpose(1, 2)

    def compact(self, x: Tensor) -> Tensor:
        """The inverse of `spread`: (U, J, M, ...) as the rows of `span`."""
        x = x.transpose(1, 2).flatten(0, 2)
        return x if self.real is None else x.index_select(0, self.real)


@dataclass(frozen=True, eq=False)
class PackedBranch:
    """One branch over a packed batch.

    Attributes:
        rows: int64 (R,), position * H + head of each row, group after group, each once.
        groups: The kernel calls.
        log_zeros: float64 (R,), log of the number of zero slots each query also attends to; None
            where there are none.
    """

    rows: Tensor
    groups: tuple[Group, ...]
    log_zeros: Tensor | None


@lru_cache(maxsize=2)  # the blocks of a network ask one after another
def kept_plan(call: PackedCall, device: torch.device) -> tuple[PackedBranch, ...]:
    """`plan_packed` where every position is real."""
    return plan_packed(call, device)


def plan_packed(
    call: PackedCall, device: torch.device, real: BoolArray | None = None
) -> tuple[PackedBranch, ...]:
    """The kernel calls of all branches.

    Args:
        call: Settings, lengths and heads.
        device: Where q, k and v are.
        real: bool (N,), or None where all are.
    """
    lengths = np.array(call.lengths, dtype=np.int64)
    heads = slice(call.first_head, call.first_head + call.num_heads)
    plan = []
    for w, r in call.config.branches:
        offsets = np.array(head_offsets(call.layer_heads, r, call.config.head_order)[heads])
        segments = _Segments.of(lengths, w)
        parts: list[_Part] = []
        values, sizes = np.unique(offsets, return_counts=True)
        for num_heads in np.unique(sizes).tolist():
            of_each = [np.flatnonzero(offsets == x) for x in values[sizes == num_heads]]
            units = _Units.of(segments, values[sizes == num_heads], r, real)
            parts += _in_groups(units, np.stack(of_each), call.num_heads, device.type)
        plan.append(_as_branch(parts, call, device))
    return tuple(plan)


class _Segments(NamedTuple):
    """Segments of all slides, one after another.

    Attributes:
        number: Of the segment of each position (N,).
        place: Of each position in its segment (N,).
        size: Positions of each segment (S,).
        width: Positions of a whole segment of that slide (S,).
    """

    number: Numbers
    place: Numbers
    size: Numbers
    width: Numbers

    @classmethod
    def of(cls, lengths: Numbers, segment_length: int) -> "_Segments":
        """Cuts slides of `lengths` into segments of at most `segment_length`."""
        width = np.clip(lengths, 1, segment_length)
        counts = -(-lengths // width)
        slide = np.repeat(np.arange(len(lengths)), counts)
        first = np.repeat(counts.cumsum() - counts, counts)
        before = (np.arange(len(slide)) - first) * width[slide]
        size = np.minimum(width[slide], lengths[slide] - before)
        number = np.repeat(np.arange(len(slide)), size)
        place = np.arange(len(number)) - np.repeat(size.cumsum() - size, size)
        return cls(number, place, size, width[slide])


class _Units(NamedTuple):
    """Units of some offsets.

    Attributes:
        positions: Kept, unit after unit.
        first: Of each unit among those.
        sizes: M of each unit.
        offset: Which offset it is of, from 0.
        zeros: Zero slots each of its queries sees besides.
    """

    positions: Numbers
    first: Numbers
    sizes: Numbers
    offset: Numbers
    zeros: Numbers

    @classmethod
    def of(
        cls, segments: _Segments, offsets: Numbers, rate: int, real: BoolArray | None
    ) -> "_Units":
        """What each of `offsets` keeps of every segment."""
        kept = segments.place % rate == offsets[:, None]
        if real is not None:
            kept &= real
        offset, position = kept.nonzero()
        segment = segments.number[position]
        unit = offset * len(segments.size) + segment
        first = np.flatnonzero(np.diff(unit, prepend=-1))
        offset, segment = offset[first], segment[first]
        slots = -(-(segments.size[segment] - offsets[offset]) // rate)
        zeros = -(-segments.width[segment] // rate) - slots
        return cls(position, first, np.diff(first, append=len(position)), offset, zeros)


class _Part(NamedTuple):
    """A group before its tensors are made: shape, rows (U, M, J), real slots (U, M), zeros (U,)."""

    shape: tuple[int, int, int]
    rows: Numbers
    real: BoolArray
    zeros: Numbers


def _in_groups(units: _Units, heads: Numbers, num_heads: int, device: str) -> list[_Part]:
    """Units of one number of heads, `heads` (offsets, J), longest first."""
    order = np.argsort(-units.sizes, kind="stable")
    sizes, parts, per_unit = units.sizes[order], [], heads.shape[1]
    pairs = PAIRS_PER_CALL.get(device, OTHER_PAIRS) // per_unit
    most = ROWS_PER_CALL.get(device, OTHER_ROWS) // per_unit
    for begin, end in group_bounds(sizes, pairs, most):
        those, slot = order[begin:end], np.arange(sizes[begin])
        own = sizes[begin:end, None]
        place = units.first[those, None] + np.minimum(slot, own - 1)
        rows = (units.positions[place] * num_heads)[:, :, None] + heads[units.offset[those], None]
        parts.append(_Part(rows.shape, rows, slot < own, units.zeros[those]))
    return parts


def _as_branch(parts: list[_Part], call: PackedCall, device: torch.device) -> PackedBranch:
    """Groups one after another, as tensors on `device`."""

    def put(x: NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(x).to(device)

    groups, all_rows, all_zeros, start = [], [np.zeros(0, dtype=np.int64)], [], 0
    for shape, rows, real, zeros in parts:
        flat, heads = rows.reshape(-1), shape[2]
        own = flat if real.all() else rows[real].reshape(-1)
        span = slice(start, start + len(own))
        start = span.stop
        all_rows.append(own)
        all_zeros.append(np.repeat(zeros, real.sum(axis=1) * heads))
        if len(own) == len(flat):
            first = int(flat[0])
            follows = np.array_equal(flat, np.arange(first, first + len(flat)))
            read = slice(first, first + len(flat)) if follows else put(flat)
            groups.append(Group(shape, span, read))
            continue
        counts = real.sum(axis=1)
        slot = np.minimum(np.arange(shape[1]), counts[:, None] - 1)
        place = (counts.cumsum() - counts)[:, None] + slot
        place = place[:, :, None] * heads + np.arange(heads)
        kept = np.flatnonzero(np.broadcast_to(real[:, :, None], shape))
        groups.append(
            Group(shape, span, put(flat), put(place.reshape(-1)), put(kept), put(~real[:, None]))
        )
    log_zeros = None
    if call.config.padding == "released" and not call.causal and any(x.any() for x in all_zeros):
        with np.errstate(divide="ignore"):
            log_zeros = put(np.log(np.concatenate(all_zeros)))
    return PackedBranch(put(np.concatenate(all_rows)), tuple(groups), log_zeros)


def group_bounds(sizes: Numbers, pairs: int, slots: int) -> list[tuple[int, int]]:
    """Which consecutive units share a call.

    Units of the next shorter size join those before them while all they fill up costs less than
    `pairs`, and no call has more than `slots` slots (or one unit).

    Args:
        sizes: Of the units, descending.
        pairs: What a call of its own costs, in attended pairs.
        slots: Most slots per call.

    Returns:
        First unit, and the one after the last, of each call.
    """
    bounds: list[tuple[int, int]] = []
    edges = np.flatnonzero(np.diff(sizes, prepend=-1, append=-1)).tolist()
    first = 0
    for begin, end in pairwise(edges):
        longest, size = int(sizes[first]), int(sizes[begin])
        fills_up = (end - begin) * (longest**2 - size**2)
        if begin > first and fills_up > pairs:
            bounds.append((first, begin))
            first = begin
    if len(sizes):
        bounds.append((first, len(sizes)))
    cut = []
    for begin, end in bounds:
        step = max(1, slots // int(sizes[begin]))
        cut += [(i, min(i + step, end)) for i in range(begin, end, step)]
    return cut

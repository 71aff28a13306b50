"""What one rank computes on its own chunk, and which keys and values it sends and receives.

Segments and dilation count positions of the whole sequence. A segment inside the chunk is a
rectangle on strided views. A segment that reaches beyond it, of which there are at most two per
branch, is a few groups of heads with lists of rows: its own kept (position, head) entries are both
queries and keys, and the others' entries are keys to be received.

An entry is written as one number, position * num_heads + head. Lists of entries ascend, on the
sender's side and on the receiver's, so no list ever has to be sent.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from slidenet.attention.dilated.config import DilatedConfig, head_offsets
from slidenet.attention.dilated.rectangles import Rectangle, plan_branch
from slidenet.parallel.chunks import Chunks

Entries = npt.NDArray[np.int64]


class Segment(NamedTuple):
    """Positions start to stop - 1 of the whole sequence, one in `rate` kept per head."""

    start: int
    stop: int
    rate: int

    def kept(self, offset: int, low: int, high: int) -> range:
        """Positions in [low, high) of the segment that heads at `offset` keep."""
        first = self.start + offset
        low, high = max(low, self.start), min(high, self.stop)
        return range(first + max(-((first - low) // self.rate), 0) * self.rate, high, self.rate)


@dataclass(frozen=True)
class SpanGroup:
    """Heads of one branch in a segment that reaches beyond the chunk, alike in their counts.

    Attributes:
        branch: Index of the branch.
        rows: int64 (h, n), local entries of n queries, which are also keys, for each of h heads.
        remote: int64 (h, m), further keys, as rows of the received entries.
        zero_slots: float64 (h,), zero slots each query also attends to.
    """

    branch: int
    rows: Tensor
    remote: Tensor
    zero_slots: Tensor


@dataclass(frozen=True)
class ChunkPlan:
    """Everything one rank does in one layer of dilated attention.

    Attributes:
        size: Positions of the chunk.
        rectangles: Of segments inside the chunk, in local positions, by branch.
        groups: Of segments that reach beyond it, by branch.
        sent: Local entries sent to each rank, ascending.
        received_counts: Entries received from each rank; in order they ascend.
        received_positions: int64, position in the whole sequence of each entry received.
    """

    size: int
    rectangles: tuple[Rectangle, ...]
    groups: tuple[SpanGroup, ...]
    sent: tuple[Tensor, ...]
    received_counts: tuple[int, ...]
    received_positions: Tensor

    def to(self, device: torch.device) -> "ChunkPlan":
        """The same with its lists on `device`."""
        groups = [
            replace(
                group,
                rows=group.rows.to(device),
                remote=group.remote.to(device),
                zero_slots=group.zero_slots.to(device),
            )
            for group in self.groups
        ]
        return replace(
            self,
            groups=tuple(groups),
            sent=tuple(rows.to(device) for rows in self.sent),
            received_positions=self.received_positions.to(device),
        )


@dataclass(frozen=True)
class SharedLayer:
    """One layer of dilated attention over a sequence in chunks; the same on all ranks.

    Attributes:
        chunks: Of the whole sequence; some may be empty.
        num_heads: Heads of the layer.
        config: The branches and conventions.
        causal: Whether queries see only keys at or before them; then they see no zero slots.
    """

    chunks: Chunks
    num_heads: int
    config: DilatedConfig
    causal: bool = False

    @property
    def zero_slots(self) -> bool:
        """Whether zero slots are attended to."""
        return self.config.padding == "released" and not self.causal

    def branch(self, index: int) -> tuple[int, int, tuple[int, ...]]:
        """Segment length (at most the sequence's), rate, and the offset of each head."""
        w, r = self.config.branches[index]
        offsets = head_offsets(self.num_heads, r, self.config.head_order)
        return min(w, max(self.chunks.length, 1)), r, offsets

    def shared_segments(
        self, receiver: int, sender: int
    ) -> Iterator[tuple[Segment, tuple[int, ...]]]:
        """Segments that lie in both chunks, one per branch at most, with the offset of each head.

        Args:
            receiver: The rank of the queries.
            sender: The rank of the keys.
        """
        first, second = sorted((receiver, sender))
        if first == second or not self.chunks.size(first) or not self.chunks.size(second):
            return
        if self.causal and sender > receiver:
            return
        last, begin = self.chunks.span(first)[1] - 1, self.chunks.span(second)[0]
        for index in range(len(self.config.branches)):
            w, r, offsets = self.branch(index)
            if last // w == begin // w:  # a segment in both holds all that lies between them
                start = last // w * w
                yield Segment(start, min(start + w, self.chunks.length), r), offsets

    def needed_entries(self, receiver: int, sender: int) -> Entries:
        """Entries that queries of one rank attend to in the chunk of another, once, ascending."""
        low, high = self.chunks.span(sender)
        needed = np.zeros((high - low, self.num_heads), dtype=bool)
        for segment, offsets in self.shared_segments(receiver, sender):
            for offset in set(offsets):
                if len(segment.kept(offset, *self.chunks.span(receiver))):
                    heads = [h for h, kept in enumerate(offsets) if kept == offset]
                    keys = segment.kept(offset, low, high)
                    local = slice(keys.start - low, max(keys.stop - low, 0), keys.step)
                    needed[local, heads] = True
        return np.flatnonzero(needed) + low * self.num_heads


@lru_cache(maxsize=16)
def plan_chunk(layer: SharedLayer, rank: int) -> ChunkPlan:
    """Plans one rank's part, once per sequence length, ranks and settings; lists on the CPU."""
    chunks, others = layer.chunks, range(layer.chunks.num_ranks)
    sent = [layer.needed_entries(p, rank) for p in others]
    received = [layer.needed_entries(rank, p) for p in others]
    start = chunks.span(rank)[0] * layer.num_heads
    keys = np.concatenate(received)
    rectangles: list[Rectangle] = []
    groups: list[SpanGroup] = []
    for branch in range(len(layer.config.branches)):
        rectangles += _inner_rectangles(layer, rank, branch)
        groups += _span_groups(layer, rank, branch, keys)
    return ChunkPlan(
        size=chunks.size(rank),
        rectangles=tuple(rectangles),
        groups=tuple(groups),
        sent=tuple(torch.from_numpy(entries - start) for entries in sent),
        received_counts=tuple(len(entries) for entries in received),
        received_positions=torch.from_numpy(keys // layer.num_heads),
    )


@lru_cache(maxsize=8)  # some 35 MB each for a million tokens on 8 ranks
def plan_on_device(layer: SharedLayer, rank: int, device: torch.device) -> ChunkPlan:
    """`plan_chunk` with its lists on `device`; those last used are kept there."""
    plan = plan_chunk(layer, rank)
    return plan if device.type == "cpu" else plan.to(device)


def _inner_rectangles(layer: SharedLayer, rank: int, branch: int) -> Iterator[Rectangle]:
    """Rectangles of the segments of one branch that lie inside the chunk, in local positions."""
    low, high = layer.chunks.span(rank)
    w, r, offsets = layer.branch(branch)
    slots = -(-w // r)
    first, end = -(-low // w), high // w
    pieces = [(first * w, end - first, w)] if end > first else []
    if high == layer.chunks.length and end >= first and high > end * w:
        pieces.append((end * w, 1, high - end * w))  # the short last segment
    for start, count, length in pieces:
        for one in plan_branch(count * length, offsets, length, r, zero_slots=False):
            yield replace(
                one,
                position=one.position + start - low,
                zero_slots=slots - one.num_slots if layer.zero_slots else 0,
                branch=branch,
            )


def _span_groups(
    layer: SharedLayer, rank: int, branch: int, received: Entries
) -> Iterator[SpanGroup]:
    """Groups of the at most two segments of one branch that reach beyond the chunk."""
    low, high = layer.chunks.span(rank)
    if low == high:
        return
    w, r, offsets = layer.branch(branch)

    def entries(positions: range, head: int) -> Entries:
        numbers = np.arange(positions.start, positions.stop, positions.step, dtype=np.int64)
        return numbers * layer.num_heads + head

    for start in sorted({low // w * w, (high - 1) // w * w}):
        segment = Segment(start, min(start + w, layer.chunks.length), r)
        if segment.start >= low and segment.stop <= high:
            continue
        alike: dict[tuple[int, int], list[tuple[Entries, Entries, int]]] = {}
        for head, offset in enumerate(offsets):
            own = segment.kept(offset, low, high)
            if not len(own):
                continue
            before = segment.kept(offset, segment.start, low)
            after = segment.kept(offset, high, high if layer.causal else segment.stop)
            keys = np.concatenate([entries(x, head) for x in (before, after)])
            rows = entries(own, head) - low * layer.num_heads
            real = len(segment.kept(offset, segment.start, segment.stop))
            zeros = -(-w // r) - real if layer.zero_slots else 0
            member = (rows, np.searchsorted(received, keys), zeros)
            alike.setdefault((len(rows), len(keys)), []).append(member)
        for members in alike.values():
            rows_of, remote_of, zeros_of = zip(*members, strict=True)
            yield SpanGroup(
                branch,
                torch.from_numpy(np.stack(rows_of)),
                torch.from_numpy(np.stack(remote_of)),
                torch.tensor(zeros_of, dtype=torch.float64),
            )

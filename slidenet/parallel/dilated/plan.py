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

    def to(self, device: torch.device) -> "SpanGroup":
        """The same on `device`."""
        moved = (x.to(device) for x in (self.rows, self.remote, self.zero_slots))
        return SpanGroup(self.branch, *moved)


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
        return replace(
            self,
            groups=tuple(group.to(device) for group in self.groups),
            sent=tuple(rows.to(device) for rows in self.sent),
            received_positions=self.received_positions.to(device),
        )


@lru_cache(maxsize=16)
def plan_chunk(
    chunks: Chunks,
    rank: int,
    num_heads: int,
    config: DilatedConfig,
    *,
    causal: bool = False,
) -> ChunkPlan:
    """Plans one rank's part, once per sequence length, ranks and settings; lists on the CPU.

    Args:
        chunks: Of the whole sequence; some may be empty.
        rank: Whose part.
        num_heads: Heads of the layer.
        config: The branches and conventions.
        causal: Whether queries see only keys at or before them; then they see no zero slots.
    """
    others = range(chunks.num_ranks)
    sent = [needed_entries(chunks, p, rank, num_heads, config, causal=causal) for p in others]
    received = [needed_entries(chunks, rank, p, num_heads, config, causal=causal) for p in others]
    start = chunks.span(rank)[0]
    keys = np.concatenate(received)
    rectangles: list[Rectangle] = []
    groups: list[SpanGroup] = []
    for branch in range(len(config.branches)):
        rectangles += _inner_rectangles(chunks, rank, num_heads, config, branch, causal)
        groups += _span_groups(chunks, rank, num_heads, config, branch, causal, keys)
    return ChunkPlan(
        size=chunks.size(rank),
        rectangles=tuple(rectangles),
        groups=tuple(groups),
        sent=tuple(torch.from_numpy(entries - start * num_heads) for entries in sent),
        received_counts=tuple(len(entries) for entries in received),
        received_positions=torch.from_numpy(keys // num_heads),
    )


@lru_cache(maxsize=8)  # some 35 MB each for a million tokens on 8 ranks
def plan_on_device(
    chunks: Chunks,
    rank: int,
    num_heads: int,
    config: DilatedConfig,
    device: torch.device,
    *,
    causal: bool = False,
) -> ChunkPlan:
    """`plan_chunk` with its lists on `device`; those last used are kept there."""
    plan = plan_chunk(chunks, rank, num_heads, config, causal=causal)
    return plan if device.type == "cpu" else plan.to(device)


def needed_entries(
    chunks: Chunks,
    receiver: int,
    sender: int,
    num_heads: int,
    config: DilatedConfig,
    *,
    causal: bool = False,
) -> Entries:
    """Entries that queries of one rank attend to in the chunk of another, each once, ascending.

    Args:
        chunks: Of the whole sequence.
        receiver: The rank of the queries.
        sender: The rank of the keys.
        num_heads: Heads of the layer.
        config: The branches.
        causal: Whether queries see only keys at or before them.
    """
    low, high = chunks.span(sender)
    needed = np.zeros((high - low, num_heads), dtype=bool)
    for segment, offsets in shared_segments(
        chunks, receiver, sender, num_heads, config, causal=causal
    ):
        for offset in set(offsets):
            if len(segment.kept(offset, *chunks.span(receiver))):
                heads = [h for h, kept in enumerate(offsets) if kept == offset]
                keys = segment.kept(offset, low, high)
                local = slice(keys.start - low, max(keys.stop - low, 0), keys.step)
                needed[local, heads] = True
    return np.flatnonzero(needed) + low * num_heads


def shared_segments(
    chunks: Chunks,
    receiver: int,
    sender: int,
    num_heads: int,
    config: DilatedConfig,
    *,
    causal: bool = False,
) -> Iterator[tuple[Segment, tuple[int, ...]]]:
    """Segments that lie in both chunks, one per branch at most, with the offset of each head."""
    first, second = sorted((receiver, sender))
    if first == second or not chunks.size(first) or not chunks.size(second):
        return
    if causal and sender > receiver:
        return
    last, begin = chunks.span(first)[1] - 1, chunks.span(second)[0]
    for w, r in config.branches:
        w = min(w, chunks.length)
        if last // w == begin // w:  # a segment in both holds all that lies between them
            start = last // w * w
            segment = Segment(start, min(start + w, chunks.length), r)
            yield segment, head_offsets(num_heads, r, config.head_order)


def _inner_rectangles(
    chunks: Chunks, rank: int, num_heads: int, config: DilatedConfig, branch: int, causal: bool
) -> list[Rectangle]:
    """Rectangles of the segments of one branch that lie inside the chunk."""
    low, high = chunks.span(rank)
    w, r = config.branches[branch]
    w = min(w, max(chunks.length, 1))
    offsets = head_offsets(num_heads, r, config.head_order)
    slots = -(-w // r) if config.padding == "released" and not causal else None
    first, end = -(-low // w), high // w
    pieces = [(first * w, end - first, w)] if end > first else []
    if high == chunks.length and end >= first and high > end * w:
        pieces.append((end * w, 1, high - end * w))  # the short last segment
    found = []
    for start, count, length in pieces:
        for one in plan_branch(count * length, offsets, length, r, zero_slots=False):
            found.append(
                replace(
                    one,
                    position=one.position + start - low,
                    zero_slots=0 if slots is None else slots - one.num_slots,
                    branch=branch,
                )
            )
    return found


def _span_groups(
    chunks: Chunks,
    rank: int,
    num_heads: int,
    config: DilatedConfig,
    branch: int,
    causal: bool,
    received: Entries,
) -> list[SpanGroup]:
    """Groups of the at most two segments of one branch that reach beyond the chunk."""
    low, high = chunks.span(rank)
    if low == high:
        return []
    w, r = config.branches[branch]
    w = min(w, chunks.length)
    offsets = head_offsets(num_heads, r, config.head_order)
    padded = config.padding == "released" and not causal
    groups = []
    for start in sorted({low // w * w, (high - 1) // w * w}):
        segment = Segment(start, min(start + w, chunks.length), r)
        if segment.start >= low and segment.stop <= high:
            continue
        alike: dict[tuple[int, int], list[tuple[Entries, Entries, int]]] = {}
        for head, offset in enumerate(offsets):
            own = segment.kept(offset, low, high)
            if not len(own):
                continue
            before = segment.kept(offset, segment.start, low)
            after = segment.kept(offset, high, high if causal else segment.stop)
            keys = np.concatenate([_entries(x, num_heads, head) for x in (before, after)])
            rows = _entries(own, num_heads, head) - low * num_heads
            real = len(segment.kept(offset, segment.start, segment.stop))
            member = (rows, np.searchsorted(received, keys), -(-w // r) - real if padded else 0)
            alike.setdefault((len(rows), len(keys)), []).append(member)
        groups += [_span_group(branch, members) for members in alike.values()]
    return groups


def _span_group(branch: int, members: list[tuple[Entries, Entries, int]]) -> SpanGroup:
    return SpanGroup(
        branch,
        torch.from_numpy(np.stack([rows for rows, _, _ in members])),
        torch.from_numpy(np.stack([keys for _, keys, _ in members])),
        torch.tensor([zeros for _, _, zeros in members], dtype=torch.float64),
    )


def _entries(positions: range, num_heads: int, head: int) -> Entries:
    numbers = np.arange(positions.start, positions.stop, positions.step, dtype=np.int64)
    return numbers * num_heads + head

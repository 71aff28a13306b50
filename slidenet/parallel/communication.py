"""Bytes a rank receives per layer, counted exactly, for ours and for the schemes beside it.

Ours: a rank receives an entry (position, head) of another rank's chunk if some branch puts it into
a segment, at an offset, with a query of the receiver. Within one branch these entries are an
arithmetic progression per head; the branches' progressions are united, since an entry travels once.
The backward moves the same number of bytes the other way.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import gcd

from slidenet.attention.dilated.config import DilatedConfig
from slidenet.parallel.chunks import Chunks
from slidenet.parallel.dilated.plan import SharedLayer

KEYS_AND_VALUES = 2


@dataclass(frozen=True)
class ExchangeBytes:
    """What one layer's forward moves for one sequence; the backward moves as much.

    Attributes:
        received: Bytes that each rank receives from others.
    """

    received: tuple[int, ...]

    @property
    def mean(self) -> float:
        """Per rank."""
        return sum(self.received) / len(self.received)

    @property
    def most(self) -> int:
        """Of the rank that receives most."""
        return max(self.received)


def dilated_bytes(
    chunks: Chunks,
    num_heads: int,
    head_dim: int,
    config: DilatedConfig,
    *,
    itemsize: int = 2,
    causal: bool = False,
) -> ExchangeBytes:
    """Our exchange: sparsified keys and values of the segments that ranks share.

    Args:
        chunks: Of the sequence.
        num_heads: Heads of the layer.
        head_dim: Features per head.
        config: The branches.
        itemsize: Bytes per number; 2 for bfloat16.
        causal: Whether queries see only keys at or before them.
    """
    layer, ranks = SharedLayer(chunks, num_heads, config, causal), range(chunks.num_ranks)
    entries = [sum(count_entries(layer, p, sender) for sender in ranks) for p in ranks]
    return ExchangeBytes(tuple(KEYS_AND_VALUES * head_dim * itemsize * n for n in entries))


def count_entries(layer: SharedLayer, receiver: int, sender: int) -> int:
    """Length of `SharedLayer.needed_entries`, by inclusion and exclusion instead of listing."""
    chunks, shared = layer.chunks, list(layer.shared_segments(receiver, sender))
    # Heads that keep the same offset in every branch need the same positions.
    alike = Counter(tuple(offsets[h] for _, offsets in shared) for h in range(layer.num_heads))
    total = 0
    for kept, num_alike in alike.items():
        wanted = [
            segment.kept(offset, *chunks.span(sender))
            for (segment, _), offset in zip(shared, kept, strict=True)
            if len(segment.kept(offset, *chunks.span(receiver)))
        ]
        total += num_alike * size_of_union(wanted)
    return total


def size_of_union(progressions: Sequence[range]) -> int:
    """How many numbers lie in at least one of several ascending ranges."""
    total = 0
    for count in range(1, len(progressions) + 1):
        for some in combinations(progressions, count):
            common = some[0]
            for other in some[1:]:
                common = intersection(common, other)
            total += len(common) if count % 2 else -len(common)
    return total


def intersection(a: range, b: range) -> range:
    """Numbers in both of two ascending ranges (Chinese remainder theorem)."""
    divisor = gcd(a.step, b.step)
    if (b.start - a.start) % divisor or not len(a) or not len(b):
        return range(0)
    step = a.step // divisor * b.step
    modulus = b.step // divisor
    times = 0
    if modulus > 1:
        times = (b.start - a.start) // divisor * pow(a.step // divisor, -1, modulus) % modulus
    first = a.start + times * a.step
    low = max(a.start, b.start)
    first += max(-((first - low) // step), 0) * step
    return range(first, min(a.stop, b.stop), step)


def gathered_branches_bytes(
    chunks: Chunks, width: int, config: DilatedConfig, *, itemsize: int = 2
) -> ExchangeBytes:
    """The published way: sparsified keys and values of every branch longer than a chunk, from all.

    Args:
        chunks: Of the sequence.
        width: Features of all heads together.
        config: The branches.
        itemsize: Bytes per number.
    """
    longest = max(chunks.size(p) for p in range(chunks.num_ranks))
    share = sum(1 / r for w, r in config.branches if w > longest)
    whole = _other_positions(chunks)
    return ExchangeBytes(tuple(int(KEYS_AND_VALUES * width * itemsize * n * share) for n in whole))


def ring_bytes(chunks: Chunks, width: int, *, itemsize: int = 2) -> ExchangeBytes:
    """Ring attention, and as much for an all-gather of full keys and values: all of the others'.

    Args:
        chunks: Of the sequence.
        width: Features of all heads together.
        itemsize: Bytes per number.
    """
    whole = _other_positions(chunks)
    return ExchangeBytes(tuple(KEYS_AND_VALUES * width * itemsize * n for n in whole))


def ulysses_bytes(chunks: Chunks, width: int, *, itemsize: int = 2) -> ExchangeBytes:
    """DeepSpeed-Ulysses: queries, keys, values there and outputs back, for 1 / R of the heads.

    Args:
        chunks: Of the sequence.
        width: Features of all heads together.
        itemsize: Bytes per number.
    """
    ranks = chunks.num_ranks
    received = []
    for p, others in enumerate(_other_positions(chunks)):
        own_back = chunks.size(p) * (ranks - 1)
        received.append(int((3 * others + own_back) * width * itemsize / ranks))
    return ExchangeBytes(tuple(received))


def _other_positions(chunks: Chunks) -> list[int]:
    return [chunks.length - chunks.size(p) for p in range(chunks.num_ranks)]

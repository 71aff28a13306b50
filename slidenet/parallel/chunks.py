"""Which positions of a sequence each rank holds: contiguous chunks, in the order of the ranks.

Chunks of slides are counted in tokens, and the class token is the first: rank 0 holds it and one
tile fewer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch.distributed as dist
from torch import Tensor

from slidenet.core.errors import ParallelError
from slidenet.parallel.agreement import Fact, agree
from slidenet.parallel.collectives import join_chunks


@dataclass(frozen=True)
class Chunks:
    """The chunks of one sequence; the same on all ranks.

    Attributes:
        bounds: Rank p holds positions bounds[p] to bounds[p + 1] - 1; one bound more than ranks.
    """

    bounds: tuple[int, ...]

    def __post_init__(self) -> None:
        assert len(self.bounds) > 1, self.bounds
        assert self.bounds[0] == 0, self.bounds
        assert all(a <= b for a, b in pairwise(self.bounds)), self.bounds

    @property
    def length(self) -> int:
        """Positions of the whole sequence."""
        return self.bounds[-1]

    @property
    def num_ranks(self) -> int:
        """Ranks that share the sequence."""
        return len(self.bounds) - 1

    def span(self, rank: int) -> tuple[int, int]:
        """First position of a rank, and the one after its last."""
        return self.bounds[rank], self.bounds[rank + 1]

    def size(self, rank: int) -> int:
        """How many positions a rank holds."""
        return self.bounds[rank + 1] - self.bounds[rank]

    def cut(self, length: int) -> "Chunks":
        """The chunks of the first `length` positions; later ranks may be left with none."""
        return Chunks(tuple(min(bound, length) for bound in self.bounds))


def even_chunks(length: int, num_ranks: int) -> Chunks:
    """Chunks that differ by at most one position, longer ones first.

    Raises:
        ParallelError: If there are more ranks than positions.
    """
    if num_ranks < 1 or length < num_ranks:
        raise ParallelError(
            f"{num_ranks} sequence ranks for {length} tokens (class token included)",
            expected="at least one rank, and one token for each",
            remedy=f"use at most {max(length, 1)} sequence ranks for this slide, or leave it out",
        )
    base, longer = divmod(length, num_ranks)
    return Chunks(tuple(p * base + min(p, longer) for p in range(num_ranks + 1)))


def chunks_of(sizes: Sequence[int]) -> Chunks:
    """Chunks of given sizes.

    Raises:
        ParallelError: Naming the first rank without positions.
    """
    for rank, size in enumerate(sizes):
        if size < 1:
            raise ParallelError(
                f"sequence rank {rank} of {len(sizes)} holds no token",
                expected="at least one token per rank",
                remedy="split the slide with even_chunks, or use fewer sequence ranks",
            )
    bounds = [0]
    for size in sizes:
        bounds.append(bounds[-1] + size)
    return Chunks(tuple(bounds))


def tile_span(chunks: Chunks, rank: int) -> tuple[int, int]:
    """First tile of a rank, and the one after its last, of a slide whose tokens are `chunks`."""
    low, high = chunks.span(rank)
    return max(low - 1, 0), high - 1


def shard_slides(
    features: Tensor, grid_xy: Tensor, mask: Tensor | None, rank: int, num_ranks: int
) -> tuple[Tensor, Tensor, Tensor | None]:
    """This rank's chunk of every slide of a batch.

    Args:
        features: Tile features (B, L, F), the same on all ranks.
        grid_xy: int64 (B, L, 2), their cells.
        mask: Bool (B, L), True = real tile.
        rank: Place in the sequence group.
        num_ranks: Its size.

    Returns:
        The same three for the chunk (B, L_rank, ...). The mask is None where all tiles are real;
        chunks of shorter slides are filled up with zeros.

    Raises:
        ParallelError: If a slide has fewer tokens (tiles and class token) than there are ranks.
    """
    if mask is None or bool(mask.all()):
        low, high = tile_span(even_chunks(1 + features.shape[1], num_ranks), rank)
        return features[:, low:high], grid_xy[:, low:high], None
    picked = []
    for slide in range(len(mask)):
        tiles = mask[slide].nonzero()[:, 0]
        low, high = tile_span(even_chunks(1 + len(tiles), num_ranks), rank)
        picked.append(tiles[low:high])
    largest = max(len(tiles) for tiles in picked)
    shape = (len(mask), largest)
    own_features = features.new_zeros(*shape, features.shape[2])
    own_grid = grid_xy.new_zeros(*shape, 2)
    own_mask = mask.new_zeros(shape)
    for slide, tiles in enumerate(picked):
        own_features[slide, : len(tiles)] = features[slide, tiles]
        own_grid[slide, : len(tiles)] = grid_xy[slide, tiles]
        own_mask[slide, : len(tiles)] = True
    return own_features, own_grid, None if bool(own_mask.all()) else own_mask


def gather_chunks(x: Tensor, group: dist.ProcessGroup) -> Tensor:
    """Chunks (L_rank, ...) of all ranks as (L, ...), on every rank, with its gradient.

    Args:
        x: This rank's chunk; all but the first dimension alike on all ranks.
        group: The ranks, in the order of the chunks.

    Raises:
        ParallelError: On all ranks, if the chunks do not fit together.
    """
    remedy = "gather tensors that are alike but for their first dimension"
    facts = {
        "shape beyond the first dimension": Fact(tuple(x.shape[1:]), remedy),
        "dtype": Fact(x.dtype, remedy),
    }
    sizes = agree("the gathering of chunks", facts, [len(x)], group)
    return join_chunks(x, [size for (size,) in sizes], group)

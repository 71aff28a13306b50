"""Which positions of a sequence each rank holds: contiguous chunks, in the order of the ranks."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from slidenet.core.errors import ParallelError


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

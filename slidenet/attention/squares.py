"""Attended pairs counted in coarse squares: what a picture of a long sequence shows.

Shapes: L positions, b runs of positions, H heads; P = 1 where all heads see the same keys, else H.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from slidenet.attention.dilated.coarse import MOST_BRANCHES, coarse_pairs
from slidenet.attention.dilated.config import DilatedConfig
from slidenet.attention.links import BlockLinks, DenseLinks, DilatedLinks, Links

COUNTED_ENTRIES = 1 << 28
"""Entries of masks or blocks up to which pairs are counted one by one."""

ROW_ENTRIES = 1 << 24
"""Entries of the masks made at once."""


@dataclass(frozen=True, slots=True)
class Matrices:
    """A mask drawn coarse: each cell is the share of its pairs that are attended.

    Attributes:
        heads: float32 (P, b, b), rows are queries; P = 1 where all heads see the same keys.
        mean: The mean over heads, float32 (b, b).
        local: The part of `mean` whose key lies on the rank of its query; without ranks all of it.
        fetched: The part of `mean` whose key lies on another rank.
        queries_per_row: Queries behind each row: all of them, or some of many, drawn at random.
        side: Most positions per row and column; 1 where every pair is a cell of its own.
    """

    heads: Tensor
    mean: Tensor
    local: Tensor
    fetched: Tensor
    queries_per_row: int
    side: int


def matrices(links: Links, *, bounds: Sequence[int] = (), cells: int = 256) -> Matrices:
    """The mask in at most `cells` rows and columns, at any length.

    Args:
        links: Who sees whom.
        bounds: Rank p holds positions bounds[p] to bounds[p + 1] - 1; none without ranks.
        cells: Most rows and columns.
    """
    length = links.length
    edges, cell = cells_of(length, cells)
    sizes = edges.diff()
    number, side = len(sizes), int(sizes.max())
    per_row, area = side, sizes[:, None] * sizes
    counted = pairs_in_squares(links, edges, bounds)
    if counted is not None:
        heads, local = counted
    else:
        per_row = min(side, max(1, COUNTED_ENTRIES // (links.num_parts * length * number)))
        generator = torch.Generator().manual_seed(0)
        drawn = torch.rand(number, per_row, generator=generator, dtype=torch.float64)
        queries = (edges[:-1, None] + (drawn * sizes[:, None]).long()).flatten()
        area = torch.bincount(cell[queries], minlength=number)[:, None] * sizes
        heads, local = _in_rows(links, queries, cell, rank_of_position(length, bounds))
    heads, local = (heads / area).float(), (local / area).float().mean(dim=0)
    mean = heads.mean(dim=0)
    return Matrices(heads, mean, local, (mean - local).clamp(min=0), per_row, side)


def pairs_in_squares(
    links: Links, edges: Tensor, bounds: Sequence[int] = ()
) -> tuple[Tensor, Tensor] | None:
    """Different pairs that each head attends to, in runs of queries and of keys.

    Args:
        links: Who sees whom.
        edges: int64 (b + 1,), where each run begins, and the end, L.
        bounds: Rank p holds positions bounds[p] to bounds[p + 1] - 1; none without ranks.

    Returns:
        All pairs, and those within one rank, float64 (P, b, b), rows are queries; None where they
        take too long to count.
    """
    length, causal = links.length, links.causal
    by_branches = (
        len(links.pattern.branches) <= MOST_BRANCHES
        if isinstance(links, DilatedLinks)
        else isinstance(links, DenseLinks)
    )
    if by_branches:
        config, heads = DilatedConfig((length,), (1,)), 1  # one segment of all: dense attention
        if isinstance(links, DilatedLinks):
            config, heads = links.pattern.config, links.num_heads
        every = coarse_pairs(config, length, heads, edges, causal=causal)
        if not bounds:
            return every, every
        own = coarse_pairs(config, length, heads, edges, causal=causal, bounds=bounds)
        return every, own
    cell = torch.bucketize(torch.arange(length), edges[1:], right=True)
    rank = rank_of_position(length, bounds)
    if isinstance(links, BlockLinks):
        return _in_blocks(links, cell, rank) if links.entries <= COUNTED_ENTRIES else None
    if links.num_parts * length**2 > COUNTED_ENTRIES:
        return None
    return _in_rows(links, torch.arange(length), cell, rank)


def _in_blocks(links: BlockLinks, cell: Tensor, rank: Tensor) -> tuple[Tensor, Tensor]:
    """Every pair of every block; each lies in exactly one."""
    number, several = int(cell[-1]) + 1, bool(rank[-1] > 0)
    every = torch.zeros(links.num_parts, number * number, dtype=torch.float64)
    own = torch.zeros_like(every)
    for parts, queries, keys, pairs in links.pairs():
        local = pairs & (rank[queries] == rank[keys]) if several else pairs
        if number == 1:
            every[parts, 0] += pairs.sum()
            own[parts, 0] += local.sum()
            continue
        square = (cell[queries] * number + cell[keys])[pairs]
        every[parts] += torch.bincount(square, minlength=number * number)
        if several:
            own[parts] += torch.bincount(square[local[pairs]], minlength=number * number)
    shape = (-1, number, number)
    return every.view(shape), own.view(shape) if several else every.view(shape)


def _in_rows(links: Links, queries: Tensor, cell: Tensor, rank: Tensor) -> tuple[Tensor, Tensor]:
    """The pairs of some queries, row by row of the mask."""
    number = int(cell[-1]) + 1
    every = torch.zeros(links.num_parts, number, number, dtype=torch.float64)
    own = torch.zeros_like(every)
    for some, rows in rows_by_part(links, queries):
        for total, pairs in ((every, rows), (own, rows & (rank[:, None] == rank[some]))):
            by_cell = torch.zeros(links.num_parts, number, len(some), dtype=torch.float64)
            by_cell.index_add_(1, cell, pairs.double())
            total.index_add_(1, cell[some], by_cell.transpose(1, 2))
    return every, own


def rows_by_part(
    links: Links, queries: Tensor, *, united: bool = False
) -> Iterator[tuple[Tensor, Tensor]]:
    """Some queries at a time, and their rows of the mask as columns, bool (P, L, n)."""
    parts = 1 if united else links.num_parts
    for some in torch.split(queries, max(1, ROW_ENTRIES // (parts * links.length))):
        yield some, links.rows(some, united=united)


def rank_of_position(length: int, bounds: Sequence[int]) -> Tensor:
    """The rank that holds each position, int64 (L,); 0 for all without bounds."""
    return torch.bucketize(torch.arange(length), torch.tensor([*bounds[1:], length]), right=True)


def cells_of(length: int, cells: int) -> tuple[Tensor, Tensor]:
    """Positions in at most `cells` runs that differ by one at most.

    Returns:
        Where each run begins, and the end, int64 (b + 1,); the run of each position, int64 (L,).
    """
    number = min(cells, length)
    edges = torch.arange(number + 1) * length // number
    return edges, torch.bucketize(torch.arange(length), edges[1:], right=True)

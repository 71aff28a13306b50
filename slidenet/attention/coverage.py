"""What one layer of a pattern covers: pairs by head, tokens left out, what ranks must fetch."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from slidenet.attention.links import Links
from slidenet.attention.reach import spread_tokens

COUNTED_ENTRIES = 1 << 28
"""Entries of the masks (heads that differ x L x L) up to which pairs are counted one by one."""

ROW_ENTRIES = 1 << 24
"""Entries of the masks made at once."""

FIRST_NAMED = 8


@dataclass(frozen=True, slots=True)
class Coverage:
    """Which tokens and pairs the heads of one layer cover.

    Attributes:
        queries_left_out: Tokens that see no key in any head: attention gives them nothing.
        keys_left_out: Tokens that no query sees in any head.
        first_left_out: The first positions that see no key.
        queries_by_head: Tokens that see a key, for each head.
        pairs_by_head: Different pairs that each head attends; None for long sequences.
        united_pairs: Pairs that at least one head attends; None for long sequences.
        united_share: The share of them among all that may be attended (all, or those not looking
            ahead when causal), of the queries looked at.
        num_queries: Queries looked at for it: all, or a sample of long sequences.
    """

    queries_left_out: int
    keys_left_out: int
    first_left_out: tuple[int, ...]
    queries_by_head: tuple[int, ...]
    pairs_by_head: tuple[int, ...] | None
    united_pairs: int | None
    united_share: float
    num_queries: int


def coverage(links: Links) -> Coverage:
    """Counts what one layer covers; see `Coverage`."""
    attending = links.attending().expand(links.num_heads, -1)
    alone = (~attending.any(dim=0)).nonzero()[:, 0]
    queries, every = queries_to_count(links)
    by_part, united = torch.zeros(links.num_parts, dtype=torch.long), 0
    for some in _row_chunks(links, queries):
        rows = links.rows(some)
        by_part += rows.sum(dim=(1, 2))
        united += int(rows.any(dim=0).sum())
    possible = int((queries + 1).sum()) if links.causal else len(queries) * links.length
    return Coverage(
        queries_left_out=len(alone),
        keys_left_out=int((~links.attended().any(dim=0)).sum()),
        first_left_out=tuple(alone[:FIRST_NAMED].tolist()),
        queries_by_head=tuple(attending.sum(dim=1).tolist()),
        pairs_by_head=tuple(by_part.expand(links.num_heads).tolist()) if every else None,
        united_pairs=united if every else None,
        united_share=united / max(possible, 1),
        num_queries=len(queries),
    )


def queries_to_count(links: Links) -> tuple[Tensor, bool]:
    """Positions whose pairs are counted one by one, and whether these are all."""
    if links.num_parts * links.length**2 <= COUNTED_ENTRIES:
        return torch.arange(links.length), True
    sample = spread_tokens(links.length)
    return sample, len(sample) == links.length


def local_share(links: Links, bounds: Sequence[int]) -> tuple[float, int]:
    """Share of the attended pairs, over all heads, whose key is on the rank of the query.

    Args:
        links: Who sees whom.
        bounds: Of the ranks, as in `fetched_entries`.

    Returns:
        The share, and the number of queries looked at: all, or a sample of long sequences.
    """
    rank = rank_of_position(links.length, bounds)
    queries, _ = queries_to_count(links)
    own = total = 0
    for some in _row_chunks(links, queries):
        rows = links.rows(some)
        total += int(rows.sum())
        own += int((rows & (rank[:, None] == rank[some])).sum())
    return own / max(total, 1), len(queries)


def rank_of_position(length: int, bounds: Sequence[int]) -> Tensor:
    """The rank that holds each position, int64 (L,); 0 for all without bounds."""
    return torch.bucketize(torch.arange(length), torch.tensor([*bounds[1:], length]), right=True)


def _row_chunks(links: Links, queries: Tensor) -> Sequence[Tensor]:
    return torch.split(queries, max(1, ROW_ENTRIES // (links.num_parts * links.length)))


def fetched_entries(links: Links, bounds: Sequence[int]) -> tuple[int, ...]:
    """Keys of other ranks that the queries of each rank see, counted per head.

    Args:
        links: Who sees whom.
        bounds: Rank p holds positions bounds[p] to bounds[p + 1] - 1.

    Returns:
        One number of (position, head) per rank; a key and a value travel for each.
    """
    fetched = _fetched(links, bounds)
    return tuple((fetched.sum(dim=(0, 1)) * (links.num_heads // links.num_parts)).tolist())


def fetched_keys(links: Links, bounds: Sequence[int], *, cells: int = 256) -> Tensor:
    """Where those keys lie: float32 (ranks, H, b), the share of the positions of each cell.

    Args:
        links: Who sees whom.
        bounds: As in `fetched_entries`.
        cells: Most columns; one per position where there are fewer.
    """
    edges, cell = cells_of(links.length, cells)
    fetched = _fetched(links, bounds).float()
    found = torch.zeros(fetched.shape[0], len(edges) - 1, fetched.shape[2])
    found.index_add_(1, cell, fetched)
    share = found / edges.diff()[:, None]
    return share.expand(links.num_heads, -1, -1).permute(2, 0, 1)


def _fetched(links: Links, bounds: Sequence[int]) -> Tensor:
    """Bool (P, L, ranks)."""
    rank = rank_of_position(links.length, bounds)
    held = rank[:, None] == torch.arange(len(bounds) - 1)
    return links.spread(held) & ~held


def cells_of(length: int, cells: int) -> tuple[Tensor, Tensor]:
    """Positions in at most `cells` runs that differ by one at most.

    Returns:
        Where each run begins, and the end, int64 (b + 1,); the run of each position, int64 (L,).
    """
    number = min(cells, length)
    edges = torch.arange(number + 1) * length // number
    return edges, torch.bucketize(torch.arange(length), edges[1:], right=True)


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
        bounds: Of the ranks, as in `fetched_entries`.
        cells: Most rows and columns.
    """
    length = links.length
    edges, cell = cells_of(length, cells)
    sizes, number = edges.diff(), len(edges) - 1
    rank = rank_of_position(length, bounds)
    side = int(sizes.max())
    per_row = min(side, max(1, COUNTED_ENTRIES // (links.num_parts * length * number)))
    queries = torch.arange(length)
    if per_row < side:
        generator = torch.Generator().manual_seed(0)
        drawn = torch.rand(number, per_row, generator=generator, dtype=torch.float64)
        queries = (edges[:-1, None] + (drawn * sizes[:, None]).long()).flatten()
    heads = torch.zeros(links.num_parts, number, number)
    local = torch.zeros_like(heads)
    for some in _row_chunks(links, queries):
        seen = links.rows(some)
        for total, pairs in ((heads, seen), (local, seen & (rank[:, None] == rank[some]))):
            by_cell = torch.zeros(links.num_parts, number, len(some))
            by_cell.index_add_(1, cell, pairs.float())
            total.index_add_(1, cell[some], by_cell.transpose(1, 2))
    area = torch.bincount(cell[queries], minlength=number)[:, None] * sizes
    heads, local = heads / area, (local / area).mean(dim=0)
    mean = heads.mean(dim=0)
    return Matrices(heads, mean, local, (mean - local).clamp(min=0), per_row, side)

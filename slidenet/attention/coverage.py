"""What one layer of a pattern covers: pairs by head, tokens left out, what ranks must fetch."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from slidenet.attention.links import Links
from slidenet.attention.reach import spread_tokens
from slidenet.attention.squares import (
    COUNTED_ENTRIES,
    cells_of,
    pairs_in_squares,
    rank_of_position,
    rows_by_part,
)

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


def coverage(links: Links, pairs_per_head: int | None = None) -> Coverage:
    """Counts what one layer covers; see `Coverage`.

    Args:
        links: Who sees whom.
        pairs_per_head: How many different pairs each head attends, where it is known and all heads
            attend the same.
    """
    attending = links.attending().expand(links.num_heads, -1)
    alone = (~attending.any(dim=0)).nonzero()[:, 0]
    by_head: list[int] = [] if pairs_per_head is None else [pairs_per_head] * links.num_heads
    if not by_head:
        counted = pairs_in_squares(links, torch.tensor([0, links.length]))
        if counted is not None:
            by_head = counted[0].flatten().long().expand(links.num_heads).tolist()
    alike = links.num_parts == 1 and bool(by_head)
    every = alike or links.length**2 <= COUNTED_ENTRIES
    queries = torch.arange(links.length) if every else spread_tokens(links.length)
    if alike:  # what one head attends to, all do
        united = by_head[0]
    else:
        united = sum(int(rows.sum()) for _, rows in rows_by_part(links, queries, united=True))
    possible = int((queries + 1).sum()) if links.causal else len(queries) * links.length
    return Coverage(
        queries_left_out=len(alone),
        keys_left_out=int((~links.attended().any(dim=0)).sum()),
        first_left_out=tuple(alone[:FIRST_NAMED].tolist()),
        queries_by_head=tuple(attending.sum(dim=1).tolist()),
        pairs_by_head=tuple(by_head) or None,
        united_pairs=united if every else None,
        united_share=united / max(possible, 1),
        num_queries=len(queries),
    )


def local_share(links: Links, bounds: Sequence[int]) -> tuple[float, int]:
    """Share of the attended pairs, over all heads, whose key is on the rank of the query.

    Args:
        links: Who sees whom.
        bounds: Of the ranks, as in `fetched_entries`.

    Returns:
        The share, and the number of queries looked at: all, or a sample of long sequences.
    """
    counted = pairs_in_squares(links, torch.tensor([0, links.length]), bounds)
    if counted is not None:
        every, own = counted
        return float(own.sum() / every.sum().clamp(min=1)), links.length
    rank, queries = rank_of_position(links.length, bounds), spread_tokens(links.length)
    own_pairs = total = 0
    for some, rows in rows_by_part(links, queries):
        total += int(rows.sum())
        own_pairs += int((rows & (rank[:, None] == rank[some])).sum())
    return own_pairs / max(total, 1), len(queries)


def fetched_entries(links: Links, bounds: Sequence[int]) -> tuple[int, ...]:
    """Keys of other ranks that the queries of each rank see, counted per head.

    Args:
        links: Who sees whom.
        bounds: Rank p holds positions bounds[p] to bounds[p + 1] - 1.

    Returns:
        One number of (position, head) per rank; a key and a value travel for each.
    """
    fetched = fetched_positions(links, bounds)
    return tuple((fetched.sum(dim=(0, 1)) * (links.num_heads // links.num_parts)).tolist())


def fetched_keys(links: Links, bounds: Sequence[int], *, cells: int = 256) -> Tensor:
    """Where those keys lie: float32 (ranks, H, b), the share of the positions of each cell.

    Args:
        links: Who sees whom.
        bounds: As in `fetched_entries`.
        cells: Most columns; one per position where there are fewer.
    """
    edges, cell = cells_of(links.length, cells)
    fetched = fetched_positions(links, bounds).float()
    found = torch.zeros(fetched.shape[0], len(edges) - 1, fetched.shape[2])
    found.index_add_(1, cell, fetched)
    share = found / edges.diff()[:, None]
    return share.expand(links.num_heads, -1, -1).permute(2, 0, 1)


def fetched_positions(links: Links, bounds: Sequence[int]) -> Tensor:
    """Which positions each rank fetches for its queries, bool (P, L, ranks)."""
    rank = rank_of_position(links.length, bounds)
    held = rank[:, None] == torch.arange(len(bounds) - 1)
    return links.spread(held) & ~held

"""A sequence shared by ranks: what each holds, what it fetches, beside ring attention."""

from dataclasses import dataclass

from slidenet.attention import AttentionPattern, DilatedAttention
from slidenet.attention.coverage import fetched_entries, local_share
from slidenet.attention.links import Links
from slidenet.parallel.chunks import even_chunks
from slidenet.parallel.communication import KEYS_AND_VALUES, dilated_bytes, ring_bytes

ITEM_BYTES = 2
"""Of a number in bfloat16."""


@dataclass(frozen=True, slots=True)
class RankShares:
    """One layer's forward on ranks that hold consecutive tokens; the backward moves as much.

    Attributes:
        bounds: Rank p holds tokens bounds[p] to bounds[p + 1] - 1.
        received_bytes: Keys and values that each rank gets from others, in bfloat16.
        ring_bytes: The same for dense attention, whether keys and values go round in a ring or are
            gathered by all.
        local_share: Share of the attended pairs whose key lies on the rank of its query.
        num_queries: Queries looked at for that share.
        runs: Whether slidenet runs this pattern across ranks; if not, it is what it would take.
    """

    bounds: tuple[int, ...]
    received_bytes: tuple[int, ...]
    ring_bytes: tuple[int, ...]
    local_share: float
    num_queries: int
    runs: bool


def share_among_ranks(
    pattern: AttentionPattern, links: Links, head_dim: int, num_ranks: int
) -> RankShares:
    """Counts what ranks of even chunks exchange.

    Args:
        pattern: Any attention pattern.
        links: Who sees whom in it.
        head_dim: Features per head.
        num_ranks: Ranks that share the sequence.

    Raises:
        ParallelError: If there are more ranks than tokens.
    """
    chunks, heads = even_chunks(links.length, num_ranks), links.num_heads
    if isinstance(pattern, DilatedAttention):
        config = pattern.config
        received = dilated_bytes(
            chunks, heads, head_dim, config, itemsize=ITEM_BYTES, causal=links.causal
        ).received
    else:
        per_entry = KEYS_AND_VALUES * head_dim * ITEM_BYTES
        received = tuple(per_entry * n for n in fetched_entries(links, chunks.bounds))
    share, num_queries = local_share(links, chunks.bounds)
    return RankShares(
        bounds=chunks.bounds,
        received_bytes=received,
        ring_bytes=ring_bytes(chunks, heads * head_dim, itemsize=ITEM_BYTES).received,
        local_share=share,
        num_queries=num_queries,
        runs=isinstance(pattern, DilatedAttention),
    )

"""All numbers of an attention pattern with its settings: cost, coverage, reach, growth."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from slidenet.attention.accounting import AttentionCost, attention_cost
from slidenet.attention.coverage import Coverage, coverage
from slidenet.attention.dilated.attention import DilatedAttention
from slidenet.attention.dilated.unseen import unseen_offsets
from slidenet.attention.links import Links, links_of
from slidenet.attention.patterns.bigbird import BigBirdAttention
from slidenet.attention.patterns.block_sparse import BlockSparsePattern, FixedBlockPattern
from slidenet.attention.patterns.dense import DenseAttention
from slidenet.attention.patterns.fixed import FixedAttention
from slidenet.attention.patterns.strided import StridedAttention
from slidenet.attention.protocol import AttentionPattern
from slidenet.attention.reach import Reach, reach
from slidenet.core.checks import check_whole
from slidenet.core.errors import AttentionError

GROWTH_LENGTHS = (1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000)

GROWTH_ENTRIES = 100_000_000
"""Entries of blocks up to which pairs are counted for the curve of growth: seconds."""

FOREIGN_LENGTH = 3_000

MOST_ENTRIES = 10_000_000_000
"""Entries of blocks looked at for coverage and reach: some minutes."""

MOST_LENGTH = 2_000_000
MOST_LAYERS = 1_000


@dataclass(frozen=True, slots=True)
class Branch:
    """One branch of dilated attention.

    Attributes:
        segment_length: Tokens per segment, w.
        dilation_rate: One token in r is kept.
        pairs: Attended pairs over all heads.
        unseen_offsets: Of its r offsets, how many no head keeps.
    """

    segment_length: int
    dilation_rate: int
    pairs: int
    unseen_offsets: int


@dataclass(frozen=True, slots=True)
class Growth:
    """Attended pairs over all heads, by length.

    Attributes:
        lengths: Ascending; those that take too long to count are left out.
        pairs: Of the pattern.
        dense_pairs: Of dense attention.
    """

    lengths: tuple[int, ...]
    pairs: tuple[int, ...]
    dense_pairs: tuple[int, ...]


@dataclass(frozen=True)
class Description:
    """An attention pattern with all its settings, in numbers.

    Attributes:
        pattern: Its name.
        settings: Its settings, the defaults too.
        chosen: Values of those that are None, which the pattern chooses by the length.
        length: Tokens, L.
        num_heads: Heads, H.
        head_dim: Features per head.
        causal: Whether queries see only keys at or before them.
        layers: Layers that `reach` tells of.
        cost: Pairs and floating-point operations of one layer. A pair attended in several branches
            counts once for each.
        dense_pairs: Pairs of dense attention over all heads, causal or not as here.
        at_most: Whether the number of pairs depends on the content and is the most it can be.
        by_content: Whether content decides who sees whom: coverage and reach are those of one
            seeded example.
        branches: The branches of dilated attention; none for others.
        growth: Pairs by length.
        coverage: What one layer covers; None where `layers` is 0.
        reach: What several layers reach; None where `layers` is 0.
    """

    pattern: str
    settings: Mapping[str, Any]
    chosen: Mapping[str, int]
    length: int
    num_heads: int
    head_dim: int
    causal: bool
    layers: int
    cost: AttentionCost
    dense_pairs: int
    at_most: bool
    by_content: bool
    branches: tuple[Branch, ...]
    growth: Growth
    coverage: Coverage | None
    reach: Reach | None


def describe(
    pattern: AttentionPattern,
    length: int,
    num_heads: int,
    head_dim: int,
    *,
    causal: bool = False,
    layers: int = 4,
    links: Links | None = None,
) -> Description:
    """Counts everything there is to know about a pattern, without its mask where that is large.

    Args:
        pattern: Any attention pattern.
        length: Tokens, L.
        num_heads: Heads, H.
        head_dim: Features per head, D.
        causal: Whether queries see only keys at or before them.
        layers: Layers to follow; 0 counts the cost only.
        links: Who sees whom, where it is at hand already.

    Raises:
        AttentionError: If a number is out of range, or there is more to look at than is sensible.
    """
    check_whole(error=AttentionError, length=length, num_heads=num_heads, head_dim=head_dim)
    check_whole(least=0, error=AttentionError, layers=layers)
    if length > MOST_LENGTH or layers > MOST_LAYERS:
        raise AttentionError(
            f"length {length:,} and {layers:,} layers",
            expected=f"at most {MOST_LENGTH:,} tokens and {MOST_LAYERS:,} layers",
        )
    by_content = isinstance(pattern, BlockSparsePattern) and not isinstance(
        pattern, FixedBlockPattern
    )
    if layers and links is None:
        links = checked_links(pattern, length, num_heads, causal, layers)
    cost = attention_cost(pattern, length, num_heads, head_dim, causal=causal)
    alike = None
    if links is not None and links.num_parts == 1 and isinstance(pattern, FixedBlockPattern):
        alike = cost.num_pairs // num_heads  # no pair lies in two blocks
    return Description(
        pattern=pattern.name,
        settings=all_settings(pattern),
        chosen=chosen_settings(pattern, length, causal),
        length=length,
        num_heads=num_heads,
        head_dim=head_dim,
        causal=causal,
        layers=layers,
        cost=cost,
        dense_pairs=DenseAttention().num_pairs(length, num_heads, causal=causal),
        at_most=by_content and not causal,
        by_content=by_content,
        branches=_branches(pattern, length, num_heads, causal),
        growth=_growth(pattern, length, num_heads, causal),
        coverage=None if links is None or not layers else coverage(links, alike),
        reach=reach(links, layers) if links is not None and layers else None,
    )


def checked_links(
    pattern: AttentionPattern, length: int, num_heads: int, causal: bool, layers: int
) -> Links:
    """The links of a pattern that can be followed through so many layers in sensible time.

    Raises:
        AttentionError: If they cannot.
    """
    links = links_of(pattern, length, num_heads, causal=causal)
    entries = (layers + 2) * links.entries
    if entries > MOST_ENTRIES:
        raise AttentionError(
            f"{pattern.name} of {length:,} tokens has {entries:,} pairs to look at in {layers} "
            "layers",
            expected=f"at most {MOST_ENTRIES:,}",
            remedy="take a shorter length or fewer layers, or --layers 0 without ranks and figures "
            "for the cost alone",
        )
    return links


def all_settings(pattern: Any) -> dict[str, Any]:
    """The settings of a pattern that is a dataclass, the defaults too; of others none."""
    if not is_dataclass(pattern):
        return {}
    return {field.name: getattr(pattern, field.name) for field in fields(pattern)}


def chosen_settings(pattern: AttentionPattern, length: int, causal: bool) -> dict[str, int]:
    """Stride and window where the pattern chooses them by the length."""
    chosen = {}
    if isinstance(pattern, StridedAttention | FixedAttention) and pattern.stride is None:
        chosen["stride"] = pattern.stride_for(length)
    if isinstance(pattern, StridedAttention) and pattern.window is None:
        chosen["window"] = sum(pattern.reach(length, causal=causal)) + 1
    return chosen


def _branches(
    pattern: AttentionPattern, length: int, num_heads: int, causal: bool
) -> tuple[Branch, ...]:
    if not isinstance(pattern, DilatedAttention):
        return ()
    found = []
    for w, r in pattern.branches:
        alone = DilatedAttention((w,), (r,), pattern.head_order)
        pairs = alone.num_pairs(length, num_heads, causal=causal)
        unseen = len(unseen_offsets(num_heads, r, pattern.head_order))
        found.append(Branch(w, r, pairs, unseen))
    return tuple(found)


def _growth(pattern: AttentionPattern, length: int, num_heads: int, causal: bool) -> Growth:
    """Pairs at growing lengths, as far as they can be counted in seconds.

    A pattern of another package is not asked beyond `FOREIGN_LENGTH`, or the length it is used for:
    it may count in its mask.
    """
    entries = type(pattern).num_pairs is FixedBlockPattern.num_pairs
    foreign = not isinstance(pattern, DenseAttention | DilatedAttention | BlockSparsePattern)
    lengths, pairs = [], []
    for longer in GROWTH_LENGTHS:
        if foreign and longer > max(length, FOREIGN_LENGTH):
            break
        if entries and links_of(pattern, longer, num_heads, causal=causal).entries > GROWTH_ENTRIES:
            break
        if isinstance(pattern, BigBirdAttention):  # it draws blocks anew for every head
            drawn = num_heads * (longer // pattern.block_size) * pattern.random_blocks**2
            if drawn > GROWTH_ENTRIES:
                break
        lengths.append(longer)
        pairs.append(pattern.num_pairs(longer, num_heads, causal=causal))
    dense = [DenseAttention().num_pairs(longer, num_heads, causal=causal) for longer in lengths]
    return Growth(tuple(lengths), tuple(pairs), tuple(dense))

"""The pairs of dilated attention counted in coarse squares, exactly, at any length.

The mask of a million tokens has 10^12 pairs, but those of a branch in a segment are all pairs of
the tokens kept there: of two runs of tokens, the product of how many of them are kept. A pair that
several branches attend is counted once, by inclusion and exclusion: the tokens kept by all branches
of a set attend to each other within what is one segment for all of them.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from slidenet.attention.dilated.config import DilatedConfig, head_offsets

MOST_BRANCHES = 8
"""Beyond, there are too many sets of branches to go through: one for each of 2^branches."""


def coarse_pairs(
    config: DilatedConfig,
    length: int,
    num_heads: int,
    edges: Tensor,
    *,
    causal: bool = False,
    bounds: Sequence[int] = (),
) -> Tensor:
    """How many different pairs each head attends to, in runs of queries and of keys.

    Args:
        config: The branches and conventions, `MOST_BRANCHES` at most; zero slots are no pairs.
        length: Tokens, L.
        num_heads: Heads, H.
        edges: int64 (b + 1,), where each run of tokens begins, and the end, L.
        causal: Whether only keys at or before the query are attended.
        bounds: Where ranks begin, and the end: only pairs within one rank are counted. All without.

    Returns:
        float64 (H, b, b), whole numbers; rows are queries.
    """
    position = torch.arange(length)
    run = torch.bucketize(position, edges[1:], right=True)
    inner = torch.tensor(bounds[1:-1], dtype=torch.long)
    rank = torch.bucketize(position, inner, right=True)
    places = [(position // w, position % w % r) for w, r in config.branches]
    offsets = [head_offsets(num_heads, r, config.head_order) for _, r in config.branches]
    counted: dict[tuple[int, ...], Tensor] = {}
    for key in zip(*offsets, strict=True):
        if key not in counted:
            total = torch.zeros(len(edges) - 1, len(edges) - 1, dtype=torch.float64)
            for sign, kept, part in _sets(places, key, position, rank):
                total += sign * _pairs(run.index_select(0, kept), part, len(total), causal)
            counted[key] = total
    return torch.stack([counted[key] for key in zip(*offsets, strict=True)])


def _sets(
    places: Sequence[tuple[Tensor, Tensor]],
    offsets: Sequence[int],
    kept: Tensor,
    part: Tensor,
    first: int = 0,
    sign: int = 1,
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Every set of branches that keep a token together, without the empty one.

    Args:
        places: Segment of each position, and its place in the segment modulo the rate, by branch.
        offsets: Of one head, by branch.
        kept: Positions kept by the branches so far.
        part: For each of them, a number that ascends where a segment of one of these begins.
        first: The next branch.
        sign: Of the sets with one branch more.

    Yields:
        Sign, positions and parts of the set.
    """
    for index in range(first, len(places)):
        segments, residues = places[index]
        stays = (residues.index_select(0, kept) == offsets[index]).nonzero()[:, 0]
        both = kept.index_select(0, stays)
        if not len(both):
            continue
        # Parts and segments both ascend: a new one begins where either does.
        segment, before = segments.index_select(0, both), part.index_select(0, stays)
        begins = (segment.diff() != 0) | (before.diff() != 0)
        finer = torch.cat([segment.new_zeros(1), begins.cumsum(0)])
        yield sign, both, finer
        yield from _sets(places, offsets, both, finer, index + 1, -sign)


def _pairs(run: Tensor, part: Tensor, number: int, causal: bool) -> Tensor:
    """Pairs of tokens of one part, by their runs: float64 (number, number).

    Args:
        run: The run of each token, ascending.
        part: The part of each token, ascending.
        number: Of runs.
        causal: Whether the key is at or before the query.
    """
    cells, counts = torch.unique_consecutive(part * number + run, return_counts=True)
    part, run, count = cells // number, cells % number, counts.double()
    # Parts within a single run give no pairs between runs; of the others there are fewer than runs.
    _, index, spans = torch.unique_consecutive(part, return_inverse=True, return_counts=True)
    several = spans[index] > 1
    _, row = torch.unique_consecutive(index[several], return_inverse=True)
    by_part = torch.zeros(int(several.any() and row[-1] + 1), number, dtype=torch.float64)
    by_part[row, run[several]] = count[several]
    pairs = by_part.T @ by_part
    within = count * (count + 1) / 2 if causal else count.square()
    diagonal = torch.zeros(number, dtype=torch.float64).index_add_(0, run, within)
    return (pairs.tril() if causal else pairs).diagonal_scatter(diagonal)

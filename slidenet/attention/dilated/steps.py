"""Dilated attention one step after the other, with every number in between, for short sequences.

The steps are those of the paper (Ding et al. 2023, *LongNet*, sections 2.2 and 2.3). For every
branch (w, r) the sequence is split into segments of w tokens, each head keeps one token in r,
attends densely to what it keeps within a segment, and its results are scattered back to their
tokens; then the branches are mixed by the softmax of their log-sum-exps. This is for looking at,
keeps every number, and agrees with `dilated_attention` to rounding. `naive` has the same steps as
operations on whole batches, to be timed.

Shapes: L tokens, H heads, D features per head, S segments, m = ceil(w / r) slots.
"""

from dataclasses import dataclass, replace

import numpy as np

from slidenet.attention.dilated.config import DilatedConfig, head_offsets
from slidenet.core.arrays import Float64Array, IntArray
from slidenet.core.checks import check_whole, refused
from slidenet.core.errors import AttentionError

ZERO_SLOT = -1
"""In place of a token: the slot holds none, since its segment was filled up with zeros."""

FEWEST_TOKENS, MOST_TOKENS, MOST_HEADS = 16, 24, 4


@dataclass(frozen=True, eq=False)
class BranchSteps:
    """One branch, from its segments to its share in the output.

    Attributes:
        segment_length: w, at most L.
        dilation_rate: r.
        segments: First token of each segment, and the one after its last.
        offsets: The place in its segment of the first token that each head keeps.
        kept: int64 (S, H, m), the token in each slot, or `ZERO_SLOT`; slot j of head h is place
            offsets[h] + j r of its segment.
        scores: float64 (S, H, m, m), q k / sqrt(D) of the slots of a segment, rows are queries;
            -inf where a query does not see the key.
        weights: float64 (S, H, m, m), the softmax of each row of scores.
        results: float64 (S, H, m, D), the mean of the values by these weights.
        result_lse: float64 (S, H, m), log of the sum of exp(scores) of each row.
        readers: int64 (S, H, m), the token that each result goes to: the one in the slot, or with
            `legacy_readback` also another; `ZERO_SLOT` for none.
        out: float64 (L, H, D), the results at their tokens; 0 where the head keeps nothing.
        lse: float64 (L, H), the same of result_lse; -inf where the head keeps nothing.
        mixing: float64 (L, H), the share of this branch in the output.
    """

    segment_length: int
    dilation_rate: int
    segments: tuple[tuple[int, int], ...]
    offsets: tuple[int, ...]
    kept: IntArray
    scores: Float64Array
    weights: Float64Array
    results: Float64Array
    result_lse: Float64Array
    readers: IntArray
    out: Float64Array
    lse: Float64Array
    mixing: Float64Array


@dataclass(frozen=True, eq=False)
class DilatedSteps:
    """Dilated attention of one short sequence, step by step.

    Attributes:
        config: The branches and conventions, as given.
        causal: Whether queries see only keys at or before them.
        q: float64 (L, H, D), queries.
        k: float64 (L, H, D), keys.
        v: float64 (L, H, D), values.
        branches: One per branch of `config`.
        out: float64 (L, H, D), the output: the branches mixed.
        lse: float64 (L, H), the log-sum-exp over all branches; -inf where none keeps the token.
    """

    config: DilatedConfig
    causal: bool
    q: Float64Array
    k: Float64Array
    v: Float64Array
    branches: tuple[BranchSteps, ...]
    out: Float64Array
    lse: Float64Array

    @property
    def zero_slots(self) -> bool:
        """Whether slots without a token are filled with zeros; otherwise there are none."""
        return self.config.padding == "released"


def example_steps(
    config: DilatedConfig,
    *,
    length: int = FEWEST_TOKENS,
    num_heads: int = MOST_HEADS,
    causal: bool = False,
    seed: int = 0,
) -> DilatedSteps:
    """The steps for a sequence of random numbers with one decimal and one feature per head.

    Such numbers can be read in a drawing, and every step done again by hand. Segments longer than
    the sequence are cut to it, as dilated attention always does.

    Args:
        config: The branches and conventions.
        length: Tokens of the example, at most `MOST_TOKENS`; see `example_length`.
        num_heads: Heads of the example, at most `MOST_HEADS`.
        causal: Whether queries see only keys at or before them.
        seed: Of the random numbers.

    Raises:
        AttentionError: More tokens or heads than a drawing with numbers can show, or none.
    """
    check_whole(error=AttentionError, length=length, num_heads=num_heads)
    limits = (("length", length, MOST_TOKENS), ("num_heads", num_heads, MOST_HEADS))
    for name, value, most in limits:
        if value > most:
            expected = f"at most {most}, so that the numbers of a step can be read"
            raise refused(name, value, expected, AttentionError)
    draw = np.random.default_rng(seed)
    q, k, v = (np.round(draw.normal(0, s, (length, num_heads, 1)), 1) + 0.0 for s in (1.2, 1.2, 1))
    return dilated_steps(q, k, v, config, causal=causal)


def example_length(config: DilatedConfig, length: int) -> int:
    """How many tokens of a sequence of `length` the example shows.

    As many as the longest segment that can still be read, 16 at least, and never more than there
    are.
    """
    readable = [w for w in config.segment_lengths if w <= MOST_TOKENS]
    return min(length, max(FEWEST_TOKENS, *readable, 0))


def dilated_steps(
    q: Float64Array,
    k: Float64Array,
    v: Float64Array,
    config: DilatedConfig,
    *,
    causal: bool = False,
) -> DilatedSteps:
    """Every step of dilated attention, in float64; quadratic in memory.

    Args:
        q: Queries (L, H, D), at least one token.
        k: Keys (L, H, D).
        v: Values (L, H, D).
        config: The branches and conventions.
        causal: Keep only keys at or before the query.

    Raises:
        AttentionError: For shapes that differ or hold nothing, or a causal `legacy_readback`.
    """
    if q.ndim != 3 or not q.size or not q.shape == k.shape == v.shape:
        raise AttentionError(
            f"q, k, v have shapes {q.shape}, {k.shape}, {v.shape}",
            expected="three equal shapes (length, heads, features per head), none of them 0",
        )
    if causal and config.reads_back_shifted(len(q)):
        raise AttentionError(
            "legacy_readback with a causal call",
            expected="both directions, as in the released code",
            remedy="leave one of the two out",
        )
    q, k, v = (np.asarray(x, dtype=np.float64) for x in (q, k, v))
    branches = [_branch(q, k, v, config, w, r, causal) for w, r in config.branches]
    lses = np.stack([branch.lse for branch in branches])
    total = np.logaddexp.reduce(lses)
    mixing = np.exp(lses - np.where(total == -np.inf, 0, total))
    out = sum(share[..., None] * b.out for share, b in zip(mixing, branches, strict=True))
    branches = [replace(b, mixing=share) for share, b in zip(mixing, branches, strict=True)]
    return DilatedSteps(config, causal, q, k, v, tuple(branches), np.asarray(out), total)


def _branch(
    q: Float64Array,
    k: Float64Array,
    v: Float64Array,
    config: DilatedConfig,
    w: int,
    r: int,
    causal: bool,
) -> BranchSteps:
    """Split, sparsify, attend and scatter of one branch; not yet mixed."""
    length, num_heads, dim = q.shape
    w = min(w, length)
    slots = -(-w // r)
    heads = np.arange(num_heads)[:, None]

    # Split.
    segments = tuple((start, min(start + w, length)) for start in range(0, length, w))
    start, stop = np.array(segments).T[:, :, None, None]

    # Sparsify: head h keeps its offset and every r-th token after it. Of the last segment, and of
    # those whose length is no multiple of r, some slots lie behind the last token.
    offsets = head_offsets(num_heads, r, config.head_order)
    token = start + np.array(offsets)[:, None] + r * np.arange(slots)
    kept = np.where(token < stop, token, ZERO_SLOT)
    q_sparse, k_sparse, v_sparse = (
        np.concatenate([x, np.zeros((1, num_heads, dim))])[kept, heads] for x in (q, k, v)
    )

    # Attend: dense attention within each segment.
    real = kept != ZERO_SLOT
    seen = np.ones((*kept.shape, slots), dtype=bool)
    if config.padding == "masked":
        seen &= real[..., :, None] & real[..., None, :]
    if causal:
        seen &= np.tril(np.ones((slots, slots), dtype=bool))
    scores = np.einsum("shid,shjd->shij", q_sparse, k_sparse) / np.sqrt(dim)
    scores = np.where(seen, scores, -np.inf)
    result_lse = np.logaddexp.reduce(scores, axis=-1)
    weights = np.exp(scores - np.where(result_lse == -np.inf, 0, result_lse)[..., None])
    results = np.einsum("shij,shjd->shid", weights, v_sparse)

    # Scatter: results go to the tokens they belong to, those of zero slots nowhere. The released
    # code takes a filled segment of m r slots for one of w tokens.
    readers = kept
    if config.legacy_readback:
        filled = np.arange(len(segments))[:, None, None] * slots * r
        place = filled + np.array(offsets)[:, None] + r * np.arange(slots)
        readers = np.where(place < length, place, ZERO_SLOT)
    read = readers != ZERO_SLOT
    out = np.zeros_like(q)
    lse = np.full((length, num_heads), -np.inf)
    head_of = np.broadcast_to(heads, kept.shape)
    out[readers[read], head_of[read]] = results[read]
    lse[readers[read], head_of[read]] = result_lse[read]
    return BranchSteps(
        segment_length=w,
        dilation_rate=r,
        segments=segments,
        offsets=offsets,
        kept=kept,
        scores=scores,
        weights=weights,
        results=results,
        result_lse=result_lse,
        readers=readers,
        out=out,
        lse=lse,
        mixing=np.zeros_like(lse),
    )

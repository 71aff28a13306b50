"""Pairs by formula are those of the mask, for settings at their limits too."""

import pytest

from slidenet.attention import BigBirdAttention, LongformerAttention, StridedAttention
from slidenet.attention.patterns.fixed import FixedAttention

PATTERNS = [
    StridedAttention(stride=1, window=2),
    StridedAttention(stride=4, window=1000),
    StridedAttention(stride=100, window=3, sampling="random", seed=1),
    StridedAttention(stride=3, window=6, sampling="random", window_rule="half"),
    StridedAttention(sampling="random"),
    StridedAttention(window_rule="half"),
    LongformerAttention(window=5, global_tokens=tuple(range(40))),
    LongformerAttention(window=4, global_tokens=(20, 5, 6, 7), window_rule="half"),
    BigBirdAttention(4, 5, 0, 2, window_rule="half"),
    BigBirdAttention(3, 2, 50, 2),
    BigBirdAttention(100, 2, 2, 3),
    BigBirdAttention(1, 1, 2, 3, seed=5),
    FixedAttention(stride=1, summary_tokens=3),
    FixedAttention(stride=5, summary_tokens=7),
]


@pytest.mark.parametrize("pattern", PATTERNS, ids=repr)
def test_pairs_are_counted_by_formula(pattern):
    for length in (1, 7, 33):
        for causal in (False, True):
            mask = pattern.mask(length, 3, causal=causal).expand(3, length, length)
            assert pattern.num_pairs(length, 3, causal=causal) == int(mask.sum())

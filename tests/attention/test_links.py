"""Who sees whom, found without the mask, is what the mask says."""

import pytest
import torch

from slidenet.attention import (
    BigBirdAttention,
    DenseAttention,
    DilatedAttention,
    LongformerAttention,
    SlidingWindowAttention,
    StridedAttention,
    TopKBlocksAttention,
    attend,
)
from slidenet.attention.links import GradientLinks, MaskLinks, links_of

PATTERNS = [
    DenseAttention(),
    SlidingWindowAttention(window=5),
    SlidingWindowAttention(window=4, dilation=3),
    StridedAttention(window=3),
    StridedAttention(window=4, sampling="random", seed=3),
    LongformerAttention(window=3, global_tokens=(6, 0, 900)),
    LongformerAttention(window=3, global_tokens=()),
    BigBirdAttention(block_size=3, window_blocks=1, global_blocks=1, random_blocks=2, seed=9),
    TopKBlocksAttention(block_size=4, top_k=2),
    DilatedAttention((8, 16, 64), (1, 2, 4)),
    DilatedAttention((7, 16, 60), (3, 2, 4), head_order="paper"),
    DilatedAttention((9,), (4,)),
]
each_pattern = pytest.mark.parametrize("pattern", PATTERNS, ids=repr)
either_direction = pytest.mark.parametrize("causal", [False, True], ids=["both ways", "causal"])


class EveryThird:
    """A plug-in: every third token is seen by all, by a call that can be differentiated."""

    name = "every_third"

    def mask(self, length, num_heads, *, causal=False):
        seen = torch.zeros(1, length, length, dtype=torch.bool)
        seen[:, :, ::3] = True
        return seen.tril() if causal else seen

    def num_pairs(self, length, num_heads, *, causal=False):
        return num_heads * int(self.mask(length, 1, causal=causal).sum())

    def __call__(self, q, k, v, *, mask=None, causal=False):
        heads_first = [x.transpose(1, 2) for x in (q, k, v)]
        allowed = self.mask(q.shape[1], q.shape[2], causal=causal)[None]
        out, lse = attend(*heads_first, allowed=allowed)
        return out.transpose(1, 2), lse


def check(links, mask):
    """Against the mask: rows, sets of queries, and who sees or is seen at all."""
    length = mask.shape[1]
    heads = links.num_heads
    mask = mask.expand(heads, length, length)
    rows = links.rows(torch.arange(length)).transpose(1, 2)
    assert torch.equal(rows.expand_as(mask), mask)
    assert torch.equal(links.attending().expand(heads, -1), mask.any(dim=2))
    assert torch.equal(links.attended().expand(heads, -1), mask.any(dim=1))
    sets = torch.rand(length, 4, generator=torch.Generator().manual_seed(0)) < 0.1
    want = torch.stack([(mask & some[:, None]).any(dim=1) for some in sets.T], dim=2)
    assert torch.equal(links.spread(sets).expand_as(want), want)
    assert torch.equal(links.spread(sets, united=True)[0], want.any(dim=0))


@each_pattern
@either_direction
def test_links_are_those_of_the_mask(pattern, causal):
    for length, heads in ((1, 2), (7, 1), (33, 3), (64, 3)):
        mask = pattern.mask(length, heads, causal=causal)
        check(links_of(pattern, length, heads, causal=causal), mask)


@either_direction
@pytest.mark.parametrize("kind", [MaskLinks, GradientLinks])
def test_plug_ins_are_followed_by_mask_and_by_gradient(kind, causal):
    for pattern in (EveryThird(), PATTERNS[1], DilatedAttention((8, 16), (1, 2))):
        check(kind(pattern, 21, 2, causal), pattern.mask(21, 2, causal=causal))
    assert isinstance(links_of(EveryThird(), 21, 2), MaskLinks)


def test_sets_are_taken_a_few_at_a_time(monkeypatch):
    monkeypatch.setattr("slidenet.attention.links.SET_ELEMENTS", 100)
    monkeypatch.setattr("slidenet.attention.links.MASK_LENGTH", 20)
    check(links_of(PATTERNS[9], 64, 3), PATTERNS[9].mask(64, 3))
    assert isinstance(links_of(EveryThird(), 21, 2), GradientLinks)

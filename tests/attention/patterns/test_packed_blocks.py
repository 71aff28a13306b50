"""Packed batches of the block patterns: each slide gets what it gets alone."""

import pytest
import torch

from slidenet.attention import (
    BigBirdAttention,
    Blocks,
    DenseAttention,
    FixedAttention,
    FixedBlockPattern,
    LongformerAttention,
    SlidingWindowAttention,
    StridedAttention,
    TopKBlocksAttention,
    attend_packed,
)
from slidenet.attention.patterns import packed_blocks

LENGTHS = (1, 30, 17, 0, 8, 8)
PATTERNS = [
    DenseAttention(),
    SlidingWindowAttention(window=5),
    SlidingWindowAttention(window=4, dilation=3),
    StridedAttention(),
    StridedAttention(window=4, sampling="random", seed=3),
    FixedAttention(summary_tokens=2),
    LongformerAttention(window=3, global_tokens=(6, 0, 900)),
    BigBirdAttention(block_size=4, random_blocks=2),
    TopKBlocksAttention(block_size=4, top_k=3),
]


class Chunks(FixedBlockPattern):
    """A pattern of somebody else: blocks that share queries, and a mere function as predicate."""

    def mask(self, length, num_heads, *, causal=False):
        place = torch.arange(length)
        near = place[:, None] // 4 - place // 4 <= 1
        return torch.where(place < 4, place[:, None] < 8, near)[None]

    def layout(self, length, num_heads, *, causal=False):
        everyone = torch.arange(length).view(1, 1, -1)
        first, second, rest = everyone[..., :2], everyone[..., 2:4], everyone[..., 4:]
        near = lambda q, k: q // 4 - k // 4 <= 1  # noqa: E731
        return [
            Blocks(everyone[..., :8], first),
            Blocks(everyone[..., :8], second),
            Blocks(everyone, rest, near),
        ]


@pytest.mark.parametrize("pattern", [*PATTERNS, Chunks()], ids=lambda x: x.name)
@pytest.mark.parametrize("pairs", [0, 1 << 15])
def test_a_packed_batch_equals_its_slides(pattern, pairs, monkeypatch):
    monkeypatch.setattr(packed_blocks, "PAIRS_PER_CALL", pairs)
    packed_blocks._kept_layout.cache_clear()
    generator = torch.Generator().manual_seed(0)
    shape = (5, sum(LENGTHS), 2, 4)
    *inputs, w_out, w_lse = torch.randn(shape, generator=generator, dtype=torch.float64).unbind(0)
    for x in inputs:
        x.requires_grad_()
    for causal in (False, True):
        found = attend_packed(pattern, *inputs, LENGTHS, causal=causal)
        parts = [
            pattern(*(x[None] for x in slide), causal=causal)
            for slide in zip(*(x.split(LENGTHS) for x in inputs), strict=True)
        ]
        wanted = (
            torch.cat([out[0] for out, _ in parts]),
            torch.cat([lse[0].T for _, lse in parts]),
        )
        torch.testing.assert_close(found, wanted, atol=1e-13, rtol=0)
        grads = [
            torch.autograd.grad((out * w_out).sum() + (lse * w_lse[..., 0]).sum(), inputs)
            for out, lse in (found, wanted)
        ]
        torch.testing.assert_close(*grads, atol=1e-13, rtol=0)
    packed_blocks._kept_layout.cache_clear()


def test_blocks_of_one_kind_are_joined():
    """Eight windows of different lengths need fewer pieces than slides; no slide sees another."""
    lengths = (9, 10, 11, 12, 13, 14, 15, 16)
    layouts = [LongformerAttention(window=3).layout(n, 2) for n in lengths]
    together = packed_blocks.joined(layouts, lengths, 2)
    assert len(together) == 3
    ends = torch.tensor(lengths).cumsum(0)
    for blocks in together:
        for queries, keys in zip(blocks.queries[0], blocks.keys[0], strict=True):
            slides = torch.bucketize(torch.cat([queries, keys]), ends, right=True)
            assert len(slides[torch.cat([queries, keys]) >= 0].unique()) <= 1

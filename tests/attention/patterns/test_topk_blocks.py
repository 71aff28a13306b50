"""Queries choose blocks by content; compared with a choice made in plain loops."""

import pytest
import torch

from slidenet.attention import TopKBlocksAttention
from slidenet.attention.patterns.topk_blocks import route_queries


def chosen_in_loops(q, k, real, *, block_size, top_k, causal):
    """The mask of one sample and head, (L, L), from the definition."""
    length = len(q)
    blocks = [range(s, min(s + block_size, length)) for s in range(0, length, block_size)]
    allowed = torch.zeros(length, length, dtype=torch.bool)
    for i in range(length):
        own = i // block_size
        scores = {}
        for number, block in enumerate(blocks):
            keys = [j for j in block if real[j]]
            if keys and number != own and not (causal and number > own):
                scores[number] = float(q[i] @ k[keys].mean(dim=0))
        best = sorted(scores, key=scores.get, reverse=True)[: top_k - 1]
        for j in range(length):
            seen = j // block_size in [own, *best] and real[i] and real[j]
            allowed[i, j] = seen and not (causal and j > i)
    return allowed


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_the_choice_is_the_definition(causal, masked):
    torch.manual_seed(0)
    q, k = torch.randn(2, 2, 23, 2, 4, dtype=torch.float64)
    mask = torch.ones(2, 23, dtype=torch.bool)
    if masked:
        mask[0, 17:] = mask[1, 4:9] = False
    pattern = TopKBlocksAttention(block_size=4, top_k=3)
    found = pattern.mask_for(q, k, mask=mask, causal=causal)
    for b in range(2):
        for h in range(2):
            wanted = chosen_in_loops(
                q[b, :, h], k[b, :, h], mask[b], block_size=4, top_k=3, causal=causal
            )
            assert torch.equal(found[b, h], wanted)


def test_a_query_finds_the_far_block_that_looks_like_it():
    q = torch.zeros(1, 400, 1, 8)
    k = 0.1 * torch.randn(1, 400, 1, 8, generator=torch.Generator().manual_seed(0))
    q[0, 0, 0, 3] = 1.0
    k[0, 371, 0, 3] = 9.0
    pattern = TopKBlocksAttention(block_size=16, top_k=2)
    assert pattern.mask_for(q, k)[0, 0, 0, 371]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("length", [1, 5, 24, 64])
def test_pairs_are_exact_for_full_blocks_and_when_causal(causal, length):
    if not causal and length % 8:
        length = 8 * length
    pattern = TopKBlocksAttention(block_size=8, top_k=3)
    pairs = pattern.mask(length, 4, causal=causal).sum()
    assert pattern.num_pairs(length, 4, causal=causal) == pairs


@pytest.mark.parametrize("length", [9, 23, 37])
def test_pairs_bound_what_any_content_attends_to(length):
    pattern = TopKBlocksAttention(block_size=8, top_k=3)
    most = pattern.num_pairs(length, 2)
    pairs = int(pattern.mask(length, 2).sum())
    assert most - 2 * length * 7 <= pairs <= most


def test_more_blocks_than_there_are_is_dense():
    assert TopKBlocksAttention(block_size=8, top_k=50).mask(37, 2).all()
    assert TopKBlocksAttention(block_size=8, top_k=50).num_pairs(37, 2) == 2 * 37 * 37


def test_routing_puts_each_query_with_the_block_it_chose():
    chosen = torch.tensor([[2, 0, 2, 2, -1, 1, 2], [-1, -1, -1, -1, -1, -1, -1]])
    blocks = route_queries(chosen, block_size=3)
    pairs = [set(), set()]
    for row in range(2):
        for queries, keys in zip(
            blocks.queries[row].tolist(), blocks.keys[row].tolist(), strict=True
        ):
            pairs[row] |= {(i, keys[0] // 3) for i in queries if i >= 0}
    assert pairs == [{(0, 2), (1, 0), (2, 2), (3, 2), (5, 1), (6, 2)}, set()]
    assert blocks.keys.max() == 6, "the last block ends with the sequence"


def test_the_choice_takes_no_gradient_but_chosen_keys_do():
    torch.manual_seed(0)
    q, k, v = (x.requires_grad_() for x in torch.randn(3, 1, 40, 1, 4))
    pattern = TopKBlocksAttention(block_size=8, top_k=2)
    pattern(q, k, v)[0][0, 0].sum().backward()
    seen = pattern.mask_for(q.detach(), k.detach())[0, 0, 0]
    assert seen.sum() == 16
    assert torch.equal(k.grad[0, :, 0].abs().sum(dim=-1) > 0, seen)

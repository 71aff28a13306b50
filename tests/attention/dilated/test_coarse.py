"""Pairs in squares are those of the mask, counted."""

from itertools import product

import pytest
import torch

from slidenet.attention import DilatedAttention
from slidenet.attention.dilated.coarse import coarse_pairs
from slidenet.attention.links import links_of
from slidenet.attention.squares import pairs_in_squares

SETTINGS = [
    (64, 4, (8, 16, 64), (1, 2, 4)),
    (53, 6, (5, 11, 100), (2, 3, 4)),  # ragged, and heads that do not divide by the rates
    (40, 2, (4, 4, 12, 40), (1, 2, 3, 8)),
    (1, 1, (4,), (1,)),
]


@pytest.mark.parametrize(
    ("order", "causal", "ranks"), list(product(["released", "paper"], [False, True], [1, 3]))
)
def test_equals_the_mask(order, causal, ranks):
    for length, heads, w, r in SETTINGS:
        pattern = DilatedAttention(w, r, head_order=order)
        edges = torch.arange(6 if length > 5 else 2) * length // (5 if length > 5 else 1)
        bounds = [length * p // ranks for p in range(ranks + 1)]
        mask = pattern.mask(length, heads, causal=causal)
        rank = torch.bucketize(torch.arange(length), torch.tensor(bounds[1:-1]), right=True)
        mask = mask & (rank[:, None] == rank)
        run = torch.bucketize(torch.arange(length), edges[1:], right=True)
        member = (run == torch.arange(len(edges) - 1)[:, None]).double()
        expected = member @ mask.double() @ member.T
        found = coarse_pairs(pattern, length, heads, edges, causal=causal, bounds=bounds)
        torch.testing.assert_close(found, expected, atol=0, rtol=0)


def test_so_many_branches_that_pairs_are_counted_one_by_one():
    """2^30 sets of branches would take days."""
    pattern = DilatedAttention(range(4, 34), [3] * 30)
    counted = pairs_in_squares(links_of(pattern, 40, 3), torch.tensor([0, 25, 40]))
    mask = pattern.mask(40, 3).double()
    expected = [mask[:, :25, :25], mask[:, :25, 25:], mask[:, 25:, :25], mask[:, 25:, 25:]]
    assert torch.equal(counted[0].flatten(1), torch.stack([x.sum(dim=(1, 2)) for x in expected], 1))


def test_many_tokens_are_counted_without_their_mask():
    pattern = DilatedAttention((1024, 5792, 32768, 185363, 1048576), (1, 2, 4, 8, 16))
    edges = torch.arange(33) * 20_000 // 32
    found = coarse_pairs(pattern, 20_000, 16, edges)
    assert found.shape == (16, 32, 32)
    # What one branch of all attends, and all of them together, with what they share.
    assert found.sum() < pattern.num_pairs(20_000, 16) < 1.2 * found.sum()
    torch.testing.assert_close(found, found.transpose(1, 2), atol=0, rtol=0)

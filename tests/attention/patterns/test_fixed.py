"""Own block and summaries: Child's fixed pattern, drawn out, and how far it reaches."""

import pytest
import torch

from slidenet.attention import FixedAttention


def drawn(*rows):
    return torch.tensor([[char == "x" for char in row] for row in rows])[None]


def test_mask():
    assert torch.equal(
        FixedAttention(stride=3).mask(8, 2),
        drawn(*["xxx..x.x"] * 3, *["..xxxx.x"] * 3, *["..x..xxx"] * 2),
    )


def test_child_s_causal_form():
    # {j : floor(j / l) = floor(i / l)} and {j : j mod l in l - c .. l - 1}, j <= i.
    length, stride, summaries = 23, 5, 2
    i, j = torch.arange(length)[:, None], torch.arange(length)
    wanted = ((i // stride == j // stride) | (j % stride >= stride - summaries)) & (j <= i)
    pattern = FixedAttention(stride=stride, summary_tokens=summaries)
    assert torch.equal(pattern.mask(length, 1, causal=True)[0], wanted)


@pytest.mark.parametrize("causal", [False, True])
def test_two_layers_reach_every_token(causal):
    for length in (1, 2, 5, 16, 17, 30, 48):
        for stride, summaries in ((None, 1), (4, 1), (7, 3), (5, 9), (100, 1)):
            pattern = FixedAttention(stride=stride, summary_tokens=summaries)
            one = pattern.mask(length, 1, causal=causal)[0].float()
            every = torch.ones(length, length, dtype=torch.bool)
            assert torch.equal(one @ one > 0, every.tril() if causal else every)


def test_pairs_by_hand():
    # 4 blocks of 4 see themselves and the 3 summaries of the other blocks.
    assert FixedAttention().num_pairs(16, 2) == 2 * 16 * (4 + 3)
    assert FixedAttention(summary_tokens=2).num_pairs(16, 1) == 16 * (4 + 6)

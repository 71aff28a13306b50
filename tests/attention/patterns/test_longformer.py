"""Global tokens see and are seen by everyone."""

import torch

from slidenet.attention import LongformerAttention, SlidingWindowAttention


def test_the_class_token_is_global_by_default():
    mask = LongformerAttention(window=3).mask(20, 1)[0]
    assert mask[0].all()
    assert mask[:, 0].all()
    assert torch.equal(mask[1:, 1:], SlidingWindowAttention(window=3).mask(20, 1)[0, 1:, 1:])


def test_global_tokens_are_causal_when_the_rest_is():
    mask = LongformerAttention(window=1, global_tokens=(3,)).mask(6, 1, causal=True)[0]
    assert mask[3].tolist() == [True] * 4 + [False] * 2
    assert mask[:, 3].tolist() == [False] * 3 + [True] * 3


def test_a_causal_window_lies_before_the_query():
    mask = LongformerAttention(window=3).mask(7, 1, causal=True)[0]
    assert mask[6].nonzero().flatten().tolist() == [0, 4, 5, 6]
    old = LongformerAttention(window=3, window_rule="half").mask(7, 1, causal=True)[0]
    assert old[6].nonzero().flatten().tolist() == [0, 5, 6]


def test_settings_from_a_list_make_an_equal_pattern():
    assert LongformerAttention(global_tokens=[4, 1]) == LongformerAttention(global_tokens=(4, 1))


def test_pairs_of_a_window_and_one_global_token():
    # 99 tokens with a window of 3 among themselves, and 2 * 100 - 1 pairs of the class token.
    assert LongformerAttention(window=3).num_pairs(100, 2) == 2 * (3 * 99 - 2 + 199)


def test_a_far_token_reaches_the_class_token_in_one_layer():
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 1, 200, 1, 4)
    v.requires_grad_()
    LongformerAttention(window=5)(q, k, v)[0][0, 0].sum().backward()
    assert (v.grad.abs().sum(dim=-1) > 0).all()

"""The window's mask, drawn out, and its blocks."""

import pytest
import torch

from slidenet.attention import SlidingWindowAttention
from slidenet.attention.patterns.sliding_window import window_layout


def drawn(*rows):
    return torch.tensor([[char == "x" for char in row] for row in rows])[None]


def test_mask_of_a_window():
    assert torch.equal(
        SlidingWindowAttention(window=3).mask(5, 2),
        drawn("xx...", "xxx..", ".xxx.", "..xxx", "...xx"),
    )


def test_mask_of_a_dilated_causal_window():
    assert torch.equal(
        SlidingWindowAttention(window=3, dilation=2).mask(5, 1, causal=True),
        drawn("x....", ".x...", "x.x..", ".x.x.", "x.x.x"),
    )


def test_a_causal_window_holds_as_many_keys_as_it_is_wide():
    mask = SlidingWindowAttention(window=4).mask(6, 1, causal=True)
    assert torch.equal(mask, drawn("x.....", "xx....", "xxx...", "xxxx..", ".xxxx.", "..xxxx"))
    old = SlidingWindowAttention(window=4, window_rule="half").mask(6, 1, causal=True)
    assert torch.equal(old, drawn("x.....", "xx....", "xxx...", ".xxx..", "..xxx.", "...xxx"))


@pytest.mark.parametrize(("rule", "reach"), [("keys", [64, 127, 190]), ("half", [33, 65, 97])])
def test_layers_of_a_causal_window_reach_as_mistral(rule, reach):
    pattern = SlidingWindowAttention(window=64, window_rule=rule)
    one = pattern.mask(256, 1, causal=True)[0].float()
    seen = [one[-1], one[-1] @ one, one[-1] @ one @ one]
    assert [int((row > 0).sum()) for row in seen] == reach


def test_an_even_window_is_the_next_odd_one():
    even, odd = SlidingWindowAttention(window=4), SlidingWindowAttention(window=5)
    assert torch.equal(even.mask(12, 1), odd.mask(12, 1))


@pytest.mark.parametrize(
    ("window", "dilation", "length", "causal", "pairs"),
    [
        (3, 1, 5, False, 13),
        (3, 1, 5, True, 12),
        (4, 2, 7, True, 16),
        (3, 2, 5, False, 11),
        (100, 1, 5, False, 25),
        (513, 1, 1_000_000, False, 513 * 1_000_000 - 256 * 257),
    ],
)
def test_pairs(window, dilation, length, causal, pairs):
    pattern = SlidingWindowAttention(window=window, dilation=dilation)
    assert pattern.num_pairs(length, 1, causal=causal) == pairs
    assert pattern.num_pairs(length, 7, causal=causal) == 7 * pairs


def test_blocks_cover_every_query_once_and_no_key_twice():
    blocks = window_layout(1001, 32, 32, dilation=3)
    queries = blocks.queries[blocks.queries >= 0]
    assert torch.equal(queries.sort().values, torch.arange(1001))
    for keys in blocks.keys[0]:
        keys = keys[keys >= 0]
        assert len(keys.unique()) == len(keys)


def test_a_causal_window_lays_out_no_later_keys():
    assert window_layout(1000, 32, 0).keys.shape[-1] == 64 + 32
    assert window_layout(1000, 32, 32).keys.shape[-1] == 64 + 2 * 32

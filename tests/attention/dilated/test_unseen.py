"""Heads that leave tokens out say so, with the number; those of published shapes are silent."""

import warnings

import pytest
import torch

from slidenet.attention import (
    AttentionWarning,
    DilatedAttention,
    unseen_offsets,
    unseen_positions,
)
from slidenet.attention.dilated.config import branch_mask
from slidenet.attention.dilated.unseen import _warn_once
from slidenet.slide_encoders import LONGNET_CONFIGS, LongNetViT


@pytest.fixture(autouse=True)
def nothing_said_yet():
    _warn_once.cache_clear()


@pytest.mark.parametrize(
    ("num_heads", "rate", "released", "paper"),
    [
        (8, 16, tuple(range(8, 16)), tuple(range(8, 16))),
        (6, 4, (3,), ()),
        (1, 4, (1, 2, 3), (1, 2, 3)),
        (12, 5, (4,), ()),
        (16, 16, (), ()),
        (8, 4, (), ()),
        (3, 1, (), ()),
    ],
)
def test_offsets_that_no_head_keeps(num_heads, rate, released, paper):
    for order, wanted in (("released", released), ("paper", paper)):
        assert unseen_offsets(num_heads, rate, order) == wanted
        kept = branch_mask(rate, num_heads, rate, rate, order).any(dim=0).diagonal()
        assert tuple((~kept).nonzero().flatten().tolist()) == wanted


@pytest.mark.parametrize(
    ("segments", "rates", "num_heads", "order", "words"),
    [
        ((64,), (16,), 8, "paper", "8 of 16 in the branch w=64, r=16; 32 of the first 64 tokens"),
        ((16,), (4,), 6, "released", "1 of 4 in the branch w=16, r=4; 4 of the first 16 tokens"),
        ((8, 64), (1, 4), 2, "released", "2 of 4 in the branch w=64, r=4; every token is still"),
        ((9, 32), (2, 4), 1, "released", "1 of 2 .* w=9, r=2, 3 of 4 .*; 11 of the first 32"),
    ],
)
def test_a_call_warns_once_and_its_numbers_are_those_of_the_mask(
    segments, rates, num_heads, order, words
):
    pattern = DilatedAttention(segments, rates, order, padding="masked")
    length = max(segments)
    q = torch.randn(1, length, num_heads, 2)
    with pytest.warns(AttentionWarning, match=words):
        out, _ = pattern(q, q, q)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pattern(q, q, q)
    unseen = (~pattern.mask(length, num_heads).any(dim=1).any(dim=0)).nonzero().flatten()
    assert torch.equal(unseen_positions(pattern, length, num_heads), unseen)
    assert torch.equal((out == 0).all(dim=(0, 2, 3)).nonzero().flatten(), unseen)
    # What the message says to do is enough.
    enough = 16 if rates == (16,) else 4
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        q = torch.randn(1, length, enough, 2)
        pattern(q, q, q)


def test_a_slide_encoder_warns_when_it_is_built():
    with pytest.warns(AttentionWarning, match="2 of 4 in the branch w=8, r=4"):
        LongNetViT(feature_dim=4, embed_dim=8, depth=1, num_heads=2, ffn_dim=8,
                   segment_lengths=(4, 8), dilation_rates=(1, 4))  # fmt: skip


@pytest.mark.parametrize("shape", list(LONGNET_CONFIGS))
def test_the_shapes_of_slidenet_see_every_token(shape):
    with warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("error")
        LongNetViT(LONGNET_CONFIGS[shape])

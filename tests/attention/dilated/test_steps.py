"""The steps end where dilated attention ends, and say on the way what the paper says."""

from itertools import product

import numpy as np
import pytest
import torch

from slidenet.attention import DilatedAttention, DilatedConfig, reference_dilated_attention
from slidenet.attention.dilated.steps import (
    ZERO_SLOT,
    dilated_steps,
    example_length,
    example_steps,
)
from slidenet.core.errors import AttentionError

SETTINGS = [
    (16, 4, (4, 8, 16), (1, 2, 4)),
    (13, 3, (5, 11, 100), (1, 2, 4)),  # ragged segments, one longer than the sequence
    (10, 6, (4, 7), (3, 4)),  # heads that do not divide by the rates
    (1, 2, (8,), (8,)),  # one token: the other head keeps a zero slot only
]


@pytest.mark.filterwarnings("ignore:dilated attention with .* leaves offsets")
@pytest.mark.parametrize(
    ("order", "padding", "causal"),
    list(product(["released", "paper"], ["released", "masked"], [False, True])),
)
def test_the_end_is_dilated_attention(order, padding, causal):
    for length, heads, w, r in SETTINGS:
        config = DilatedConfig(w, r, head_order=order, padding=padding)
        q, k, v = np.random.default_rng(length).normal(size=(3, length, heads, 2))
        steps = dilated_steps(q, k, v, config, causal=causal)
        tensors = [torch.from_numpy(x)[None] for x in (q, k, v)]
        pattern = DilatedAttention(w, r, head_order=order, padding=padding)
        for out, lse in (
            reference_dilated_attention(*tensors, config, causal=causal),
            pattern(*tensors, causal=causal),
        ):
            np.testing.assert_allclose(steps.out, out[0].numpy(), atol=1e-12, rtol=0)
            np.testing.assert_allclose(steps.lse.T, lse[0].numpy(), atol=1e-12, rtol=0)


@pytest.mark.parametrize(("w", "r", "length"), [((5, 7), (1, 3), 17), ((5, 9), (2, 4), 12)])
def test_the_legacy_read_back_is_that_of_the_call(w, r, length):
    config = DilatedConfig(w, r, legacy_readback=True)
    q, k, v = np.random.default_rng(1).normal(size=(3, length, 4, 2))
    steps = dilated_steps(q, k, v, config)
    assert any((branch.readers != branch.kept).any() for branch in steps.branches)
    out, lse = reference_dilated_attention(*(torch.from_numpy(x)[None] for x in (q, k, v)), config)
    np.testing.assert_allclose(steps.out, out[0].numpy(), atol=1e-12, rtol=0)
    np.testing.assert_allclose(steps.lse.T, lse[0].numpy(), atol=1e-12, rtol=0)


def test_what_is_split_and_kept():
    steps = example_steps(DilatedConfig((4, 6), (1, 4)), length=8, num_heads=2)
    first, second = steps.branches
    assert first.segments == ((0, 4), (4, 8))
    assert first.kept[1].tolist() == [[4, 5, 6, 7], [4, 5, 6, 7]]
    # Heads keep the offsets 0 and 1 of 4; 6 is no multiple of 4, and the last segment is short.
    assert second.segments == ((0, 6), (6, 8))
    assert second.kept.tolist() == [[[0, 4], [1, 5]], [[6, ZERO_SLOT], [7, ZERO_SLOT]]]


def test_a_zero_slot_takes_part_unless_padding_is_masked():
    config = DilatedConfig((4,), (1,))
    steps = example_steps(config, length=6, num_heads=1)
    (branch,) = steps.branches
    assert branch.kept[1, 0].tolist() == [4, 5, ZERO_SLOT, ZERO_SLOT]
    q, k = steps.q[4, 0, 0], steps.k[4:, 0, 0]
    scores = np.array([q * k[0], q * k[1], 0, 0])
    np.testing.assert_allclose(branch.scores[1, 0, 0], scores)
    np.testing.assert_allclose(branch.weights[1, 0, 0], np.exp(scores) / np.exp(scores).sum())
    masked = example_steps(
        DilatedConfig((4,), (1,), padding="masked"), length=6, num_heads=1
    ).branches[0]
    assert masked.weights[1, 0, 0, 2:].tolist() == [0, 0]


def test_shares_of_the_branches_add_up_to_one_where_a_branch_keeps_the_token():
    steps = example_steps(DilatedConfig((8, 16), (2, 4)), length=16, num_heads=2)
    total = sum(branch.mixing for branch in steps.branches)
    kept = steps.lse > -np.inf
    assert 0 < kept.sum() < kept.size
    np.testing.assert_allclose(total[kept], 1)
    assert not total[~kept].any()
    assert not steps.out[~kept].any()


def test_numbers_of_the_example_can_be_read_and_come_again():
    config = DilatedConfig((4,), (1,))
    one, two, other = (example_steps(config, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(np.round(one.k, 1), one.k)
    np.testing.assert_array_equal(one.q, two.q)
    assert (one.q != other.q).any()
    assert one.q.shape == (16, 4, 1)


@pytest.mark.parametrize(
    ("segments", "length", "shown"),
    [((4, 8), 64, 16), ((8, 20, 64), 64, 20), ((1024, 5792), 10_000, 16), ((4,), 5, 5)],
)
def test_the_example_is_as_long_as_the_longest_segment_that_can_be_read(segments, length, shown):
    assert example_length(DilatedConfig(segments, (1,) * len(segments)), length) == shown


def test_what_cannot_be_shown_is_refused():
    config = DilatedConfig((4,), (1,))
    with pytest.raises(AttentionError, match="length is 64; expected at most 24"):
        example_steps(config, length=64)
    with pytest.raises(AttentionError, match="num_heads is 16; expected at most 4"):
        example_steps(config, num_heads=16)
    with pytest.raises(AttentionError, match="length is 0"):
        example_steps(config, length=0)
    with pytest.raises(AttentionError, match="three equal shapes"):
        dilated_steps(np.zeros((4, 2, 1)), np.zeros((4, 2, 1)), np.zeros((4, 1, 1)), config)

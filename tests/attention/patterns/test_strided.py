"""Which keys the periods pick."""

import math

import pytest
import torch

from slidenet.attention import StridedAttention


def test_fixed_periods_count_from_the_query():
    mask = StridedAttention(stride=3, window=1).mask(7, 4)
    assert mask.shape == (1, 7, 7)
    assert mask[0, 0].nonzero().flatten().tolist() == [0, 3, 6]
    assert mask[0, 4].nonzero().flatten().tolist() == [1, 4]


def test_random_draws_one_key_from_each_period_for_each_head():
    keys = StridedAttention(stride=4, sampling="random").sampled_keys(30, 3)
    assert keys.shape == (3, 8)
    assert torch.equal(keys // 4, torch.arange(8).expand(3, 8))
    assert keys.max() < 30
    assert len({tuple(row) for row in keys.tolist()}) == 3


def test_the_seed_decides():
    def draw(seed):
        return StridedAttention(sampling="random", seed=seed).sampled_keys(1000, 2)

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))


@pytest.mark.parametrize(
    ("length", "stride"), [(0, 1), (1, 1), (2, 2), (16, 4), (17, 5), (10**6, 1000)]
)
def test_the_default_period_is_the_root_of_the_length(length, stride):
    assert StridedAttention().stride_for(length) == stride


@pytest.mark.parametrize("sampling", ["fixed", "random"])
def test_cost_grows_like_length_to_the_three_halves(sampling):
    pattern = StridedAttention(window=1, sampling=sampling)
    pairs = [pattern.num_pairs(length, 1) for length in (4096, 16384)]
    assert pairs[1] / pairs[0] == pytest.approx(8, rel=0.01)
    assert pairs[0] == pytest.approx(4096 * math.sqrt(4096), rel=0.02)

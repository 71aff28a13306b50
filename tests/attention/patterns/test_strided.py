"""Which keys the periods pick."""

import math

import pytest
import torch

from slidenet.attention import StridedAttention


def test_periods_count_from_the_query():
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


@pytest.mark.parametrize("sampling", ["periodic", "random"])
@pytest.mark.parametrize("causal", [False, True])
def test_two_layers_reach_every_token(sampling, causal):
    for length in (1, 2, 4, 11, 16, 17, 30, 36, 48):
        for stride in (None, 2, 7):
            pattern = StridedAttention(stride=stride, sampling=sampling, seed=length)
            one = pattern.mask(length, 2, causal=causal).float()
            every = torch.ones(length, length, dtype=torch.bool)
            assert torch.equal((one @ one > 0).all(dim=0), every.tril() if causal else every)


@pytest.mark.parametrize("causal", [False, True])
def test_a_narrower_window_does_not_reach_every_token(causal):
    # Two layers of the default window of older versions, 64 keys on each side, at 20,000 tokens.
    one = StridedAttention(stride=142, window=129).reach(20_000, causal=causal)
    assert one == ((128, 0) if causal else (64, 64))
    narrow = StridedAttention(stride=7, window=11 if not causal else 6)
    wide = StridedAttention(stride=7, window=13 if not causal else 7)
    found = [p.mask(49, 1, causal=causal)[0].float() for p in (narrow, wide)]
    reached = [int((one @ one > 0).sum()) for one in found]
    assert reached[0] < reached[1] == (49 * 50 // 2 if causal else 49 * 49)


def test_child_s_own_window_when_causal():
    # A1 of section 4.2: the stride positions before i; A2: those a multiple of the stride before.
    mask = StridedAttention(stride=4).mask(20, 1, causal=True)[0]
    assert mask[13].nonzero().flatten().tolist() == [1, 5, 9, 10, 11, 12, 13]
    assert StridedAttention(stride=4).reach(20, causal=True) == (4, 0)


def test_the_old_name_and_the_old_window():
    old = StridedAttention(sampling="fixed", window_rule="half")
    assert old.sampling == "periodic"
    assert old.reach(20_000) == (64, 64)
    assert old.reach(20_000, causal=True) == (64, 0)
    assert torch.equal(
        old.mask(300, 1), StridedAttention(window=128, window_rule="half").mask(300, 1)
    )


@pytest.mark.parametrize("sampling", ["periodic", "random"])
def test_cost_grows_like_length_to_the_three_halves(sampling):
    pattern = StridedAttention(window=1, sampling=sampling)
    pairs = [pattern.num_pairs(length, 1) for length in (4096, 16384)]
    assert pairs[1] / pairs[0] == pytest.approx(8, rel=0.01)
    assert pairs[0] == pytest.approx(4096 * math.sqrt(4096), rel=0.02)

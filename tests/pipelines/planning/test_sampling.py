"""Some slides for all: drawn from every stratum, and expanded with intervals that hold."""

import numpy as np
import pytest

from slidenet.pipelines.planning.sampling import choose, expand


def test_every_stratum_and_every_size_is_drawn():
    strata = ["a"] * 90 + ["b"] * 9 + ["c"]
    sizes = np.arange(100, dtype=np.float64)
    drawn = choose(strata, sizes, 20, seed=1)
    assert len(set(drawn)) == 20
    assert {strata[i] for i in drawn} == {"a", "b", "c"}
    of_a = np.sort(sizes[[i for i in drawn if strata[i] == "a"]])
    assert np.diff(of_a).max() < 3 * 90 / len(of_a)  # from small to large, without large gaps
    assert (choose(strata, sizes, 20, seed=1) == drawn).all()
    assert (choose(strata, sizes, 20, seed=2) != drawn).any()


def test_all_are_taken_where_there_are_no_more_and_no_stratum_is_forgotten():
    assert list(choose(["a", "b"], np.ones(2), 5, seed=0)) == [0, 1]
    assert len(choose(list("abcdef"), np.ones(6), 2, seed=0)) == 6


def test_what_is_counted_is_kept_and_the_rest_goes_by_the_ratio():
    found = expand(["a"] * 4, np.array([10.0, 20, 30, 40]), np.array([0, 1]), np.array([5.0, 10]))
    assert list(found.each) == [5, 10, 15, 20]
    assert found.total == found.low == found.high == 50
    every = expand(["a"] * 2, np.ones(2), np.array([0, 1]), np.array([3.0, 9]))
    assert (every.low, every.high) == (12, 12)


def test_one_slide_of_a_kind_borrows_the_spread_of_others_or_says_that_it_has_none():
    sizes, values = np.ones(8), np.array([4.0, 6, 5])
    found = expand(["a"] * 4 + ["b"] * 4, sizes, np.array([0, 1, 4]), values)
    assert found.low < found.total < found.high
    alone = expand(["a"] * 4, sizes[:4], np.array([0]), np.array([4.0]), most=np.full(4, 9.0))
    assert (alone.low, alone.high) == (4, 4 + 27)
    with pytest.raises(ValueError, match="without a known slide"):
        expand(["a", "b"], np.ones(2), np.array([0]), np.array([1.0]))


def test_the_interval_holds_as_often_as_it_says():
    rng = np.random.default_rng(0)
    strata = ["a"] * 60 + ["b"] * 40
    sizes = rng.uniform(100, 1000, 100)
    held = 0
    for turn in range(200):
        share = np.where(np.arange(100) < 60, 0.3, 0.6) * rng.normal(1, 0.25, 100)
        truth = sizes * share
        known = choose(strata, sizes, 12, seed=turn)
        found = expand(strata, sizes, known, truth[known])
        held += found.low <= truth.sum() <= found.high
    assert held >= 184  # of 200; 190 expected

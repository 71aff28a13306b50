"""Every bag once per epoch, whatever the batches and the processes; balanced draws are balanced."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slidenet.core.errors import ConfigError
from slidenet.data import BagBatchSampler, bag_loader
from slidenet.data.batches.plan import plan_batches
from slidenet.data.batches.sampler import balanced_draws


class Lengths:
    """As much of a dataset as a sampler looks at."""

    def __init__(self, lengths):
        self.lengths = tuple(lengths)

    def __len__(self):
        return len(self.lengths)


bag_lengths = st.lists(st.integers(1, 5000), min_size=1, max_size=60)


@settings(max_examples=150, deadline=None)
@given(
    lengths=bag_lengths,
    batch_size=st.integers(1, 12),
    token_budget=st.none() | st.integers(1, 20000),
    world=st.integers(1, 9),
    shuffle=st.booleans(),
    seed=st.integers(0, 5),
    epoch=st.integers(0, 3),
)
def test_every_bag_exactly_once_per_epoch(
    lengths, batch_size, token_budget, world, shuffle, seed, epoch
):
    world = min(world, len(lengths))
    drawn, counts = [], set()
    for rank in range(world):
        sampler = BagBatchSampler(
            Lengths(lengths),
            batch_size=batch_size,
            token_budget=token_budget,
            shuffle=shuffle,
            seed=seed,
            num_replicas=world,
            rank=rank,
        )
        first_length = len(sampler)
        sampler.set_epoch(epoch)
        batches = list(sampler)
        assert len(sampler) == len(batches) == first_length  # Lightning asks once, in epoch 0
        assert all(batches)
        counts.add(len(batches))
        drawn += [draw for batch in batches for draw in batch]
    assert sorted(bag for bag, _ in drawn) == list(range(len(lengths)))
    assert len(counts) == 1
    assert {turn for _, turn in drawn} == {epoch * len(lengths)}


@settings(max_examples=150, deadline=None)
@given(
    lengths=bag_lengths,
    token_budget=st.integers(1, 20000),
    seed=st.none() | st.integers(0, 5),
)
def test_a_token_budget_is_kept_but_by_single_bags(lengths, token_budget, seed):
    rng = None if seed is None else np.random.default_rng(seed)
    for batch in plan_batches(lengths, token_budget=token_budget, rng=rng):
        tokens = max(lengths[i] for i in batch) * len(batch)
        assert len(batch) == 1 or tokens <= token_budget


@settings(max_examples=100, deadline=None)
@given(
    lengths=bag_lengths,
    batch_size=st.integers(1, 12),
    token_budget=st.integers(1, 20000),
    seed=st.none() | st.integers(0, 5),
)
def test_both_limits_are_kept(lengths, batch_size, token_budget, seed):
    rng = None if seed is None else np.random.default_rng(seed)
    batches = plan_batches(lengths, batch_size=batch_size, token_budget=token_budget, rng=rng)
    for batch in batches:
        assert len(batch) <= batch_size
        assert len(batch) == 1 or max(lengths[i] for i in batch) * len(batch) <= token_budget


def test_a_budget_that_nothing_can_exceed_changes_no_batch():
    lengths = [5, 9, 7, 8, 3, 2, 9]
    for seed in range(5):
        plain, budget = (
            plan_batches(lengths, batch_size=3, token_budget=b, rng=np.random.default_rng(seed))
            for b in (None, 27)
        )
        assert plain == budget


@settings(max_examples=100, deadline=None)
@given(lengths=bag_lengths, batch_size=st.integers(1, 12))
def test_a_batch_size_is_kept_on_one_process(lengths, batch_size):
    batches = plan_batches(lengths, batch_size=batch_size)
    assert max(map(len, batches)) <= batch_size
    assert [i for batch in batches for i in batch] == list(range(len(lengths)))


def test_batches_in_order_are_even():
    assert plan_batches([1] * 10, batch_size=4) == [[0, 1, 2, 3], [4, 5, 6], [7, 8, 9]]
    assert plan_batches([1] * 10, batch_size=4, num_processes=2) == [
        [0, 1, 2],
        [3, 4, 5],
        [6, 7],
        [8, 9],
    ]
    assert plan_batches([1] * 3, batch_size=1, num_processes=2) == [[0, 1], [2]]


def test_a_token_budget_in_order_counts_the_padding():
    lengths = [10, 10, 30, 10, 100, 5, 5]
    assert plan_batches(lengths, token_budget=60) == [[0, 1], [2, 3], [4], [5, 6]]


def test_a_token_budget_puts_similar_lengths_together():
    rng = np.random.default_rng(0)
    lengths = rng.integers(100, 4000, size=400).tolist()
    batches = plan_batches(lengths, token_budget=16000, rng=np.random.default_rng(1))
    padded = sum(max(lengths[i] for i in b) * len(b) for b in batches)
    assert padded < 1.2 * sum(lengths)
    means = [np.mean([lengths[i] for i in b]) for b in batches]
    assert abs(np.corrcoef(means, range(len(means)))[0, 1]) < 0.3  # not sorted by length


@pytest.mark.parametrize("budget", [None, 300])
def test_epochs_differ_and_repeat(budget):
    def epoch(number, seed=0):
        sampler = BagBatchSampler(
            Lengths(range(1, 41)), batch_size=4, token_budget=budget, shuffle=True, seed=seed
        )
        sampler.set_epoch(number)
        return [[bag for bag, _ in batch] for batch in sampler]

    assert epoch(1) == epoch(1)
    assert epoch(0) != epoch(1)
    assert epoch(1) != epoch(1, seed=1)


@settings(max_examples=100, deadline=None)
@given(classes=st.lists(st.integers(0, 3), min_size=1, max_size=60), seed=st.integers(0, 5))
def test_balanced_draws_are_even_over_classes_and_bags(classes, seed):
    classes = np.array(classes)
    draws = balanced_draws(classes, np.random.default_rng(seed))
    assert len(draws) == len(classes)
    assert len(set(draws)) == len(draws)
    per_class = Counter(int(classes[bag]) for bag, _ in draws)
    assert set(per_class) == set(classes.tolist())
    assert max(per_class.values()) - min(per_class.values()) <= 1
    per_bag = Counter(bag for bag, _ in draws)
    for label in per_class:
        times = [per_bag[int(bag)] for bag in np.flatnonzero(classes == label)]
        assert max(times) - min(times) <= 1


def test_balanced_batches_draw_other_tiles_each_time():
    classes = np.array([0] * 9 + [1])
    sampler = BagBatchSampler(Lengths([5] * 10), batch_size=2, shuffle=True, classes=classes)
    sampler.set_epoch(2)
    draws = [draw for batch in sampler for draw in batch]
    assert sorted(turn for bag, turn in draws if bag == 9) == [20, 21, 22, 23, 24]


def test_what_cannot_be_sampled():
    with pytest.raises(ConfigError, match=r"2 bags for 3 processes"):
        BagBatchSampler(Lengths([1, 1]), num_replicas=3)
    with pytest.raises(ConfigError, match=r"batch_size is 0"):
        plan_batches([1], batch_size=0)
    with pytest.raises(ConfigError, match=r"token_budget is 0"):
        plan_batches([1], token_budget=0)
    with pytest.raises(ConfigError, match=r"1 classes for balanced draws of 2 bags"):
        BagBatchSampler(Lengths([1, 1]), shuffle=True, classes=np.array([1]))


def test_worker_processes_give_the_same_batches(cohort_kit, tmp_path):
    from slidenet.data import BagDataset, BagSource

    bags = [
        BagSource(f"s{i}", (cohort_kit.open_slide(tmp_path, f"s{i}", 5 + i),)) for i in range(6)
    ]
    dataset = BagDataset(bags, max_tiles=6, seed=4)
    dataset[0]  # a file that the parent has had open

    def epochs(num_workers):
        sampler = BagBatchSampler(dataset, batch_size=2, shuffle=True, seed=1)
        loader = bag_loader(dataset, sampler, num_workers=num_workers)
        found = []
        for epoch in range(2):
            sampler.set_epoch(epoch)
            found += [(b.bag_ids, b.features.numpy(), b.grid_xy.numpy()) for b in loader]
        return found

    here, there = epochs(0), epochs(2)
    assert [ids for ids, *_ in here] == [ids for ids, *_ in there]
    for (_, *mine), (_, *theirs) in zip(here, there, strict=True):
        for a, b in zip(mine, theirs, strict=True):
            np.testing.assert_array_equal(a, b)

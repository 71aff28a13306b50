"""CV+ sets and intervals: the definition counted out, coverage as promised, few patients."""

import numpy as np
import pytest

from slidenet.evaluation.cross_conformal import cross_conformal


def small_cohort(num_patients=12, num_folds=3, seed=0):
    """Bags of patients with one to three each, and what the model of each fold says of them."""
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(num_patients), rng.integers(1, 4, num_patients))
    truth = rng.normal(size=num_patients)[patient] + 0.2 * rng.normal(size=len(patient))
    return patient % num_folds, patient, truth, rng


def test_sets_are_those_of_the_definition():
    member, patient, truth, rng = small_cohort()
    target = (truth > 0).astype(np.int64)
    probabilities = rng.dirichlet([1, 1, 1], len(patient))
    new = rng.dirichlet([1, 1, 1], (3, 7))
    found = cross_conformal(member, patient, target, probabilities).sets(new, 0.5)
    share = 1 / np.bincount(patient)[patient]
    for bag in range(7):
        for name in range(3):
            better = sum(
                share[i]
                for i in range(len(patient))
                if 1 - probabilities[i, target[i]] < 1 - new[member[i], bag, name]
            )
            assert found[bag, name] == (better < 0.5 * (12 + 1) - 1e-9)
    assert 0 < found.sum() < found.size


def test_intervals_hold_what_the_definition_lets_in():
    member, patient, truth, rng = small_cohort()
    predicted = truth + rng.normal(size=len(truth))
    new = rng.normal(size=(3, 5))
    low, high = cross_conformal(member, patient, truth, predicted).intervals(new, 0.3).T
    share, errors = 1 / np.bincount(patient)[patient], np.abs(truth - predicted)
    for bag in range(5):
        ends = [new[m, bag] + e for m, e in zip(member, errors, strict=True)]
        order = np.argsort(ends)
        reached = np.cumsum(share[order]) >= 0.7 * 13 - 1e-9
        assert high[bag] == pytest.approx(np.array(ends)[order][reached.argmax()])
        flipped = cross_conformal(member, patient, -truth, -predicted).intervals(-new, 0.3)
        assert low[bag] == pytest.approx(-flipped[bag, 1])


def test_new_patients_are_covered_as_promised():
    held = []
    for seed in range(60):
        member, patient, truth, rng = small_cohort(30, 5, seed)
        shift = rng.normal(size=5)
        predicted = 0.5 * truth + shift[member]
        new = rng.normal(size=20)
        cut = cross_conformal(member, patient, truth, predicted)
        low, high = cut.intervals(0.5 * new + shift[:, None], 0.2).T
        held.append(((low <= new) & (new <= high)).mean())
    assert np.mean(held) >= 0.8
    # Theorem 4 of Barber et al. 2021, with n = 30 and K = 5.
    assert cut.guarantee(0.2) == pytest.approx(0.6 - min(1.6 / 7, (1 - 5 / 30) / 6))


def test_too_few_patients_promise_nothing_less_than_everything():
    member, patient, truth, rng = small_cohort(6, 3)
    found = cross_conformal(member, patient, truth, truth + 1.0)
    assert np.isinf(found.intervals(rng.normal(size=(3, 2)), 0.1)).all()
    target = np.zeros(len(patient), np.int64)
    found = cross_conformal(member, patient, target, rng.dirichlet([1, 1], len(patient)))
    assert found.sets(rng.dirichlet([1, 1], (3, 4)), 0.1).all()


def test_of_repeats_the_first_is_taken_and_overlapping_folds_give_none():
    member, patient, truth, _ = small_cohort()
    twice = [np.concatenate([a, b]) for a, b in ((member, member + 3), (patient, patient))]
    twice += [np.concatenate([truth, truth]), np.concatenate([truth, truth + 9])]
    once = cross_conformal(member, patient, truth, truth)
    found = cross_conformal(*twice)
    assert found.num_folds == once.num_folds == 3
    np.testing.assert_array_equal(found.scores, once.scores)
    assert cross_conformal(patient * 0, patient, truth, truth) is None
    assert cross_conformal(np.arange(4), np.zeros(4, np.int64), truth[:4], truth[:4]) is None

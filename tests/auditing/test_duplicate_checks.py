import numpy as np
import pytest

from slidenet.auditing.duplicate_checks import nearest_pairs


@pytest.mark.parametrize("num_features", [8, 48, 2000])
@pytest.mark.parametrize("kind", ["even", "clustered", "heavy tails"])
def test_slides_that_differ_are_no_pairs(num_features, kind):
    rng = np.random.default_rng(7)
    for _ in range(5):
        signatures = rng.normal(size=(100, num_features))
        if kind == "clustered":
            signatures += 5 * rng.normal(size=(3, num_features))[rng.integers(0, 3, 100)]
        if kind == "heavy tails":
            signatures *= np.exp(rng.normal(0, 0.5, (100, 1)))
        assert nearest_pairs(signatures, np.arange(100), ratio=0.3) == []


def test_copies_are_pairs_even_when_half_the_cohort_is_copied():
    rng = np.random.default_rng(1)
    signatures = rng.normal(size=(40, 30))
    signatures[:20] = signatures[20:] + rng.normal(0, 0.05, (20, 30))
    pairs = nearest_pairs(signatures, np.arange(40), ratio=0.3)
    one_pair = nearest_pairs(signatures[19:], np.arange(21), ratio=0.3)
    assert [(i, j) for i, j, _ in one_pair] == [(0, 20)]
    assert all(j == i + 20 for i, j, _ in pairs)


def test_slides_of_one_patient_are_not_compared():
    rng = np.random.default_rng(2)
    signatures = rng.normal(size=(20, 30))
    signatures[1] = signatures[0] + 0.01
    patients = np.arange(20)
    assert [(i, j) for i, j, _ in nearest_pairs(signatures, patients, ratio=0.3)] == [(0, 1)]
    patients[1] = 0
    assert nearest_pairs(signatures, patients, ratio=0.3) == []


def test_two_slides_of_a_rare_kind_are_no_pair():
    rng = np.random.default_rng(3)
    signatures = rng.normal(size=(30, 50))
    signatures[:2] += 20
    assert nearest_pairs(signatures, np.arange(30), ratio=0.3) == []


def test_cohorts_too_small_or_all_alike_are_left_alone():
    assert nearest_pairs(np.zeros((12, 4)), np.arange(12), ratio=0.3) == []
    assert nearest_pairs(np.ones((3, 4)), np.arange(3), ratio=0.3) == []
    assert nearest_pairs(np.ones((9, 4)), np.zeros(9, int), ratio=0.3) == []

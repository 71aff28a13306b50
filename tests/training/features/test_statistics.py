"""How training features lie: a bag of the same kind is as far out as they are, another is not."""

import numpy as np
import pytest
import torch

from slidenet.core.errors import StoreError
from slidenet.mil import BagBatch
from slidenet.training.features.statistics import (
    FeatureStatistics,
    fit_statistics,
    mean_features,
)


def bags(count, rng, mixing, shift=0.0):
    """Mean features along a few directions, on scales from a thousandth to a thousand."""
    scales = np.logspace(-3, 3, mixing.shape[1])
    noise = 0.3 * rng.normal(size=(count, mixing.shape[1]))
    return (rng.normal(size=(count, len(mixing))) @ mixing + noise + shift) * scales


@pytest.mark.parametrize(("count", "dim"), [(40, 60), (150, 30)])
def test_bags_of_the_cohort_are_as_usual_as_it_is_and_others_are_far(count, dim):
    usual, far = [], []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        mixing = rng.normal(size=(6, dim)) / np.arange(1, 7)[:, None]
        found = fit_statistics(bags(count, rng, mixing))
        usual.append(found.shares_as_far(bags(100, rng, mixing)))
        far.append(found.shares_as_far(bags(100, rng, mixing, 2 * rng.normal(size=dim))))
    for share in (0.1, 0.3):
        assert (np.concatenate(usual) <= share).mean() <= share + 0.03
    assert np.mean(usual) > 0.4
    assert (np.concatenate(far) <= 1 / (count + 1) + 1e-9).mean() > 0.95


def test_patients_with_several_slides_do_not_make_every_new_patient_look_far():
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(20), 5)
    mixing = np.eye(40)
    rows = bags(20, rng, mixing)[patients] + 0.05 * bags(100, rng, mixing)
    new = bags(300, rng, mixing)
    by_bag, by_patient = (
        fit_statistics(rows, names) for names in (None, [str(p) for p in patients])
    )
    assert (by_bag.shares_as_far(new) <= 0.05).mean() > 0.9, "what it would be without patients"
    assert (by_patient.shares_as_far(new) <= 0.05).mean() < 0.15
    assert fit_statistics(rows[:45], [str(p) for p in patients[:45]]) is None, "9 patients"


def test_one_broken_feature_and_constant_features_do_not_decide():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(60, 50))
    rows[:, 0] = 7.0
    rows[:50, 1] = 0.0
    found = fit_statistics(rows)
    new = rng.normal(size=(200, 50))
    new[:, 0], new[:, 1] = 7.0, 0.0
    assert np.isfinite(found.distance(new)).all()
    assert found.shares_as_far(new).min() > 0
    assert (found.shares_as_far(new) < 0.1).mean() < 0.25


def test_too_few_bags_or_bags_alike_tell_nothing():
    assert fit_statistics(np.random.default_rng(0).normal(size=(9, 3))) is None
    assert fit_statistics(np.ones((20, 3))) is None


def test_the_mean_leaves_padding_out():
    features = torch.tensor([[[1.0], [3.0], [99.0]], [[2.0], [4.0], [6.0]]])
    mask = torch.tensor([[True, True, False], [True, True, True]])
    places = torch.zeros(2, 3, 2, dtype=torch.int64)
    batch = BagBatch(features, places, places, mask, None, ("a", "b"), (("a",), ("b",)))
    np.testing.assert_array_equal(mean_features(batch), [[2.0], [4.0]])


def test_they_are_checked_when_read():
    found = fit_statistics(np.random.default_rng(0).normal(size=(20, 4)))
    tensors = found.tensors()
    again = FeatureStatistics.from_tensors(tensors, 4, source="a.slidenet")
    assert all(torch.equal(again.tensors()[name], tensor) for name, tensor in tensors.items())
    assert FeatureStatistics.from_tensors(None, 4, source="a.slidenet") is None
    nan = torch.full_like(tensors["centre"], torch.nan)
    for wrong in (
        [],
        {},
        {**tensors, "more": tensors["scale"]},
        {**tensors, "scale": -tensors["scale"]},
        {**tensors, "scale": tensors["scale"].double()},
        {**tensors, "centre": nan},
        {**tensors, "basis": tensors["basis"][:, :3]},
        {**tensors, "distances": tensors["distances"].flip(0)},
        {**tensors, "distances": tensors["distances"][:0]},
        dict.fromkeys(tensors, 1.0),
    ):
        with pytest.raises(StoreError, match=r"statistics of features in a\.slidenet"):
            FeatureStatistics.from_tensors(wrong, 4, source="a.slidenet")
    with pytest.raises(StoreError, match="shape"):
        FeatureStatistics.from_tensors(tensors, 5, source="a.slidenet")

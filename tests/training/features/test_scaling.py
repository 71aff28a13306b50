"""Features on one scale: against numpy, on raw values of any size, and in files of any age."""

import numpy as np
import pytest
import torch

from slidenet.core.errors import ConfigError
from slidenet.mil import BagBatch
from slidenet.tasks import BinaryTask
from slidenet.training import SlideClassifier
from slidenet.training.bundles.restoring import restore
from slidenet.training.features.scaling import LIMIT, FeatureScaling

TASK = BinaryTask(("label",), ("no", "yes"))
D = 6
SIZES = np.array([1e-4, 1.0, 50.0, 3e3, 1e6, 1.0])


def raw_bags(seed=0):
    """Bags whose features have sizes from 1e-4 to 1e6; the last feature never varies."""
    rng = np.random.default_rng(seed)
    bags = [rng.normal(3, 1, (n, D)) * SIZES for n in (5, 1, 9, 30)]
    for bag in bags:
        bag[:, -1] = 7.0
    return [torch.from_numpy(bag).float() for bag in bags]


def fitted(bags):
    scaling = FeatureScaling(D)
    scaling.fit(bags)
    return scaling


def test_it_is_the_mean_and_deviation_of_the_training_tiles():
    bags = raw_bags()
    rows = np.concatenate([bag.double().numpy() for bag in bags])
    found = fitted(bags)(torch.cat(bags)).numpy()
    with np.errstate(invalid="ignore"):
        wanted = (rows - rows.mean(axis=0)) / rows.std(axis=0)
    np.testing.assert_allclose(found[:, :-1], wanted[:, :-1], atol=1e-3)
    assert (found[:, -1] == 0).all()


def test_a_feature_that_never_varied_says_nothing_later_either():
    scaling = fitted(raw_bags())
    other = raw_bags(1)[3]
    other[:, -1] = torch.linspace(-1e5, 1e5, len(other))
    assert (scaling(other)[:, -1] == 0).all()


def test_rounding_of_a_large_number_is_no_variation():
    rows = torch.full((50, 2), 1e7)
    rows[::2, 0] += 1.0  # one step of float32
    rows[:, 1] = torch.arange(50)
    assert fitted_factor(rows) == [True, False]


def fitted_factor(rows):
    scaling = FeatureScaling(rows.shape[1])
    scaling.fit([rows])
    return [bool(factor == 0) for factor in scaling.factor]


def test_one_tile_is_not_all_of_a_bag_and_what_is_not_finite_stays_so():
    bags = raw_bags()
    scaling = fitted(bags)
    rows = bags[0].clone()
    rows[0, 1], rows[1, 1], rows[2, 1] = 1e9, -torch.inf, torch.nan
    found = scaling(rows)[:, 1]
    assert found[0] == LIMIT
    assert found[1] == -torch.inf
    assert found[2].isnan()


def test_features_on_any_scale_look_the_same_to_a_network():
    bags = raw_bags()
    plain = [bag / torch.from_numpy(SIZES).float() - 3 for bag in bags]
    one, other = fitted(bags), fitted(plain)
    for raw, scaled in zip(bags, plain, strict=True):
        torch.testing.assert_close(one(raw), other(scaled), atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        (torch.ones(4, 2), "all 4 training tiles have the same features"),
        (torch.tensor([[1.0, 2.0], [torch.nan, 3.0]]), "NaN or infinite"),
    ],
)
def test_features_nothing_can_be_learnt_from_are_refused(rows, found):
    with pytest.raises(ConfigError, match=found):
        FeatureScaling(2).fit([rows])


@pytest.mark.parametrize(
    ("settings", "scaled"),
    [
        ({}, True),
        ({"feature_scaling": "none"}, False),
        ({"feature_components": 2}, False),  # which have a scale of their own
        ({"feature_components": 2, "feature_scaling": "standard"}, True),
    ],
)
def test_who_is_scaled(settings, scaled):
    module = SlideClassifier(TASK, D, "mean", **settings)
    assert (module.scaling is not None) is scaled
    module.fit_inputs([[bag] for bag in raw_bags()])
    assert module(batch_of(raw_bags()[0])).logits.shape == (1, 1)


def test_files_from_before_the_setting_take_features_as_they_are():
    old = SlideClassifier(TASK, D, "mean", feature_scaling="none")
    settings = {name: v for name, v in old.hparams.items() if name != "feature_scaling"}
    again = restore(settings, old.state_dict(), source="old.ckpt", allow_code=False)
    assert again.scaling is None


def batch_of(features):
    count = len(features)
    places = torch.zeros(1, count, 2, dtype=torch.int64)
    mask = torch.ones(1, count, dtype=torch.bool)
    return BagBatch(features[None], places, places, mask, None, ("a",), (("a",),))

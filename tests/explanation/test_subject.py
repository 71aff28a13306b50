"""A subject says of its bag what the classifier says, whatever else goes into the logits."""

import pytest
import torch
from torch.testing import assert_close

from slidenet.core.errors import ConfigError, EncoderError
from slidenet.explanation import subjects_of
from slidenet.explanation.subject import untrained_network
from slidenet.mil import CovariateColumn, FeatureSet
from slidenet.tasks import MulticlassTask, RegressionTask

AGE = RegressionTask(("age",))
GRADE = MulticlassTask(("grade",), ("1", "2", "3"))


@pytest.mark.parametrize("name", ["abmil", "transmil", "longnet"])
def test_logits_of_the_whole_bag_are_those_of_the_classifier(name, classifier, batch):
    module, bag = classifier(name, AGE, target_offset=60.0, target_scale=12.0), batch()
    (subject,) = subjects_of(module, bag)
    assert_close(subject.logits(), module(bag).logits[0], rtol=0, atol=0)
    assert not subject.network.training
    assert_close(subject.score(AGE.explained_targets()[0]), module(bag).logits[0, 0])


def test_each_feature_set_is_a_subject_and_the_others_are_its_offset(classifier, batch):
    other = batch(5, seed=3)
    tiles = FeatureSet(other.features, other.coords, other.grid_xy, other.mask)
    bag = batch(covariates=torch.tensor([[70.0]]), others=(tiles,))
    column = CovariateColumn("age", None, (60.0,), 10.0, 0.0)
    module = classifier("abmil", GRADE, covariates=[column], more_feature_dims=(6,))
    first, second = subjects_of(module, bag)
    with torch.no_grad():
        expected = module(bag).logits[0]
        assert_close(first.logits(), expected)
        assert_close(second.logits(), expected)
    assert (len(first), len(second)) == (9, 5)
    with pytest.raises(ConfigError, match="0 covariates"):
        subjects_of(module, batch())


def test_removed_tiles_leave_the_bag_and_places_stay(subject):
    made = subject("longnet")
    rest = torch.tensor([True, False, True, True, True, True, False, True, True])
    with torch.no_grad():
        expected = made.logits_of_bags(made.features[rest][None], made.grid_xy[rest][None])[0]
        assert_close(made.logits(rest), expected, rtol=0, atol=0)
        assert_close(made.logits(rest.nonzero()[:, 0].numpy()), expected, rtol=0, atol=0)
        moved = made.logits(grid_xy=made.grid_xy.flip(0))
    assert (moved - made.logits()).abs() > 1e-6
    with pytest.raises(EncoderError, match="no real tile"):
        made.logits(torch.zeros(9, dtype=torch.bool))


def test_gradients_reach_the_features(subject):
    made = subject("abmil")
    x = made.features.clone().requires_grad_()
    (grad,) = torch.autograd.grad(made.logits(features=x)[0], x)
    assert grad.shape == x.shape
    assert grad.abs().min() > 0


def test_padding_is_no_tile(classifier, batch):
    bag = batch()
    bag.mask[0, 4] = False
    module = classifier("abmil")
    (subject,) = subjects_of(module, bag)
    assert len(subject) == 8
    assert_close(subject.logits(), module(bag).logits[0])


def test_untrained_networks_are_the_same_each_time_and_leave_the_seed_alone(classifier):
    module = classifier("abmil")
    torch.manual_seed(7)
    one, two = untrained_network(module), untrained_network(module)
    assert torch.initial_seed() == 7
    for (name, a), b in zip(one.named_parameters(), two.parameters(), strict=True):
        assert torch.equal(a, b), name
    assert not torch.equal(one.head.weight, module.network.head.weight)
    assert not one.training


def test_one_untrained_network_serves_all_bags_of_a_classifier(classifier, batch):
    module = classifier("abmil")
    first, second = (subjects_of(module, batch(seed=seed))[0].fresh() for seed in (0, 1))
    assert first is second
    assert subjects_of(classifier("abmil"), batch())[0].fresh() is not first

"""Deletion and insertion of a score whose truth is known."""

import numpy as np
import pytest
import torch

from slidenet.core.errors import ConfigError
from slidenet.explanation.faithfulness import Faithfulness
from slidenet.explanation.subject import Subject
from slidenet.mil.pooling import MeanPooling
from slidenet.tasks import ExplainedTarget

TARGET = ExplainedTarget("positive", (1.0,))


@pytest.fixture(scope="module")
def subject():
    """A bag of which the mean of the first feature is the logit."""
    network = MeanPooling(feature_dim=2, num_outputs=1).eval()
    network.head.weight.data = torch.tensor([[1.0, 0.0]])
    draw = torch.Generator().manual_seed(0)
    return Subject(
        network=network,
        features=torch.randn(50, 2, generator=draw),
        grid_xy=torch.zeros(50, 2, dtype=torch.int64),
        offset=torch.zeros(1),
        scale=torch.ones(1),
    )


@pytest.fixture(scope="module")
def faithfulness(subject):
    return Faithfulness(subject, TARGET)


def test_the_truth_beats_every_random_order_and_its_opposite_none(subject, faithfulness):
    truth = subject.features[:, 0].numpy()
    found = faithfulness.of(truth)
    assert (found["deletion_beats"], found["insertion_beats"], found["random_orders"]) == (20,) * 3
    worst = faithfulness.of(-truth)
    assert (worst["deletion_beats"], worst["insertion_beats"]) == (0, 0)
    order = np.argsort(-truth)
    deleted = [truth.mean() - truth[order[step:]].mean() for step in faithfulness.steps]
    kept = [truth[order[:step]].mean() - truth.mean() for step in faithfulness.steps]
    assert found["deletion"] == pytest.approx(np.mean(deleted), abs=1e-5)
    assert found["insertion"] == pytest.approx(np.mean(kept), abs=1e-5)


def test_random_orders_are_seeded_and_counted_backwards_too(subject, faithfulness):
    again = Faithfulness(subject, TARGET)
    np.testing.assert_array_equal(again.random, faithfulness.random)
    other = Faithfulness(subject, TARGET, seed=1, num_orders=3)
    assert other.random.shape == (3, 2)
    truth = subject.features[:, 0].numpy()
    order = np.random.default_rng(0).permutation(50)
    for backwards in (False, True):
        some = order[::-1] if backwards else order
        deleted = [truth.mean() - truth[some[step:]].mean() for step in faithfulness.steps]
        assert faithfulness.random[int(backwards), 0] == pytest.approx(np.mean(deleted), abs=1e-5)


def test_small_bags_keep_and_lose_at_least_one_tile(subject):
    two = Subject(
        subject.network, subject.features[:2], subject.grid_xy[:2], subject.offset, subject.scale
    )
    assert Faithfulness(two, TARGET).steps == [1]
    one = Subject(
        subject.network, subject.features[:1], subject.grid_xy[:1], subject.offset, subject.scale
    )
    with pytest.raises(ConfigError, match="a bag of one tile"):
        Faithfulness(one, TARGET)


def test_maps_that_do_not_fit_are_refused(faithfulness):
    with pytest.raises(ConfigError, match="for each of the 50 tiles"):
        faithfulness.of(np.zeros(49))
    with pytest.raises(ConfigError, match="1 NaN"):
        faithfulness.of(np.r_[np.nan, np.zeros(49)])

"""Features reduced to whitened components."""

import numpy as np
import pytest
import torch

from slidenet.core.errors import ConfigError
from slidenet.tasks import BinaryTask
from slidenet.training import SlideClassifier
from slidenet.training.features.reduction import FeatureReduction


def rows(count=200, dim=6):
    rng = np.random.default_rng(0)
    return (rng.normal(size=(count, 3)) @ rng.normal(size=(3, dim)) + 5).astype(np.float32)


def test_components_are_uncorrelated_with_the_asked_deviation():
    reduction = FeatureReduction(6, 3, scale=0.5)
    reduction.fit(rows())
    reduced = reduction(torch.from_numpy(rows())).numpy()
    np.testing.assert_allclose(reduced.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(np.cov(reduced.T), 0.25 * np.eye(3), atol=1e-4)


def test_a_direction_that_does_not_vary_is_refused():
    with pytest.raises(ConfigError, match="fewer than 4 directions"):
        FeatureReduction(6, 4).fit(rows())


@pytest.mark.parametrize(
    ("components", "scale"), [(0, 1.0), (7, 1.0), (2, 0.0)], ids=["none", "many", "scale"]
)
def test_settings_out_of_range(components, scale):
    with pytest.raises(ConfigError):
        FeatureReduction(6, components, scale)


def test_the_network_sees_components_and_a_state_dict_brings_them():
    task = BinaryTask(("label",), ("a", "b"))
    settings = {"network": "mean", "feature_components": 2}
    trained = SlideClassifier(task, 6, **settings)
    trained.reduction.fit(rows())
    assert trained.network.feature_dim == 2
    loaded = SlideClassifier(**trained.hparams)
    loaded.load_state_dict(trained.state_dict())
    assert loaded.hparams == trained.hparams
    tiles = torch.from_numpy(rows(5))
    assert torch.equal(loaded.reduction(tiles), trained.reduction(tiles))
    assert bool(loaded.reduction.fitted)

"""Gradients at tiles: completeness, known answers, and models left as they were."""

import numpy as np
import pytest
import torch

from slidenet.core.errors import ConfigError
from slidenet.explanation import gradients
from slidenet.explanation.gradients import (
    bag_mean,
    for_gradients_of_tiles,
    gradient_x_input,
    integrated_gradients,
)
from slidenet.mil import make_bag_model


@pytest.fixture(scope="module")
def features():
    return torch.randn(20, 12, generator=torch.Generator().manual_seed(0))


def sharp(name, features, **settings):
    """A model whose softmaxes are steep, as trained ones are, and its logit."""
    torch.manual_seed(3)
    network = make_bag_model(name, feature_dim=features.shape[1], num_outputs=1, **settings).eval()
    torch.nn.init.normal_(network.head.weight, std=1.0)
    cells = torch.arange(len(features))
    grid_xy = torch.stack([cells % 8, cells // 8], dim=1)[None]
    mask = torch.ones(1, len(features), dtype=torch.bool)
    if name == "abmil":
        network.attention.score.weight.data *= 20
    return network, lambda x: network(x[None], grid_xy, mask).logits[0, 0]


def test_a_linear_score_is_shared_out_exactly(features):
    weights = torch.randn(20, 12, generator=torch.Generator().manual_seed(1))
    baseline = bag_mean(features)
    exact = (weights * (features - baseline)).sum(dim=1).numpy()

    def score(x):
        return (weights * x).sum() + 3

    found = integrated_gradients(score, features, baseline)
    np.testing.assert_allclose(found.values, exact, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(gradient_x_input(score, features, baseline), exact, rtol=1e-5)
    assert (found.steps, found.is_complete) == (9, True)
    assert found.difference == pytest.approx(exact.sum(), rel=1e-4)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("abmil", {}),
        ("longnet", {"embed_dim": 16, "depth": 1, "num_heads": 4, "ffn_dim": 24}),
        pytest.param(
            "transmil",
            {"embed_dim": 8, "num_heads": 2, "num_landmarks": 4, "residual_kernel": 5},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_attributions_are_complete_and_those_of_a_fine_path(name, settings, features):
    network, score = sharp(name, features, **settings)
    baseline = bag_mean(features)
    with for_gradients_of_tiles(network, len(features)):
        found = integrated_gradients(score, features, baseline)
        fine = 0.0
        for middle in (np.arange(60) + 0.5) / 60:
            x = (baseline + float(middle) * (features - baseline)).requires_grad_()
            (slope,) = torch.autograd.grad(score(x), x)
            fine = fine + ((features - baseline) * slope).sum(dim=1).numpy() / 60
    expected = float(score(features).detach() - score(baseline.expand_as(features)).detach())
    assert found.difference == pytest.approx(expected, abs=1e-5)
    assert found.is_complete
    assert found.gap <= 0.01
    assert abs(found.values.sum() - expected) <= 0.01 * abs(expected) + 1e-5
    np.testing.assert_allclose(found.values, fine, atol=0.02 * np.abs(fine).max())


def test_gradients_of_dilated_attention_are_those_of_what_it_says(features):
    """As released no gradient flows through the weights of its branches: good to learn by."""
    shape = {"embed_dim": 16, "depth": 1, "num_heads": 4, "ffn_dim": 24}
    network, score = sharp("longnet", features, **shape)
    network.double()
    x = features.double().requires_grad_()
    change = torch.zeros_like(x).detach()
    change[3] = 1e-4
    slope = float(score(x + change).detach() - score(x - change).detach()) / 2e-4
    pattern = network.encoder.pattern
    assert pattern.mixing_gradient == "released"
    with for_gradients_of_tiles(network, len(features)):
        (true,) = torch.autograd.grad(score(x), x)
    (released,) = torch.autograd.grad(score(x), x)
    assert float(true[3].sum()) == pytest.approx(slope, rel=1e-5)
    assert float(released[3].sum()) != pytest.approx(slope, rel=1e-3)
    assert network.encoder.pattern is pattern


def test_a_budget_that_is_spent_is_said(features):
    def stairs(x):
        return torch.tanh(300 * (x.sum() - 0.31 * features.sum()))

    few = integrated_gradients(stairs, features, torch.zeros(12), max_steps=9)
    assert (few.steps, few.is_complete) == (9, False)
    assert few.gap > 0.01
    more = integrated_gradients(stairs, features, torch.zeros(12))
    assert more.is_complete
    assert more.gap <= 0.01
    assert 9 < more.steps < 100, "halved where it turns over, not everywhere"


def test_a_score_that_never_changes_has_nothing_to_share_out(features):
    found = integrated_gradients(lambda x: 0 * x.sum() + 5, features, bag_mean(features))
    assert (found.steps, found.gap, found.is_complete) == (9, 0, True)
    assert not found.values.any()


def test_bad_settings_are_named(features):
    with pytest.raises(ConfigError, match="tolerance is 0"):
        integrated_gradients(torch.sum, features, bag_mean(features), tolerance=0)
    with pytest.raises(ConfigError, match="max_steps is 8"):
        integrated_gradients(torch.sum, features, bag_mean(features), max_steps=8)


def test_a_model_is_left_as_it_was(monkeypatch):
    network = make_bag_model("longnet", feature_dim=5, num_outputs=1, embed_dim=16, num_heads=4)
    trained = {n for n, p in network.named_parameters() if p.requires_grad}
    assert trained < {n for n, _ in network.named_parameters()}, "some are frozen from the start"
    monkeypatch.setattr(gradients, "RECOMPUTED_ABOVE", 30 * 16 * 4 - 1)

    def fail_midway():
        with for_gradients_of_tiles(network, 30):
            assert not any(p.requires_grad for p in network.parameters())
            assert network.encoder.checkpoint_activations
            raise RuntimeError("midway")

    with pytest.raises(RuntimeError, match="midway"):
        fail_midway()
    assert {n for n, p in network.named_parameters() if p.requires_grad} == trained
    assert not network.encoder.checkpoint_activations
    with for_gradients_of_tiles(network, 29):
        assert not network.encoder.checkpoint_activations

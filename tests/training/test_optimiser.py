"""Parameter groups by level, and the learning rate of every iteration."""

import math

import pytest
import torch
from torch import nn

from slidenet.core.errors import ConfigError
from slidenet.mil.recipe import TrainingRecipe
from slidenet.training import SlideClassifier, seed_run
from slidenet.training.optimiser import OptimiserSettings, parameter_groups, rate_factor


def test_groups_by_level_and_dimension():
    network = nn.ModuleDict({"low": nn.Linear(2, 3), "high": nn.Linear(3, 1)})
    levels = {"low.weight": 0, "low.bias": 0, "high.weight": 2, "high.bias": 2}
    settings = OptimiserSettings(layer_decay=0.5, weight_decay=0.1)
    groups = parameter_groups(network, levels, settings, 0.8)
    found = [(g["lr"], g["weight_decay"], [tuple(p.shape) for p in g["params"]]) for g in groups]
    assert found == [
        (pytest.approx(0.2), 0.1, [(3, 2)]),
        (pytest.approx(0.2), 0.0, [(3,)]),
        (pytest.approx(0.8), 0.1, [(1, 3)]),
        (pytest.approx(0.8), 0.0, [(1,)]),
    ]


def test_frozen_parameters_are_left_out():
    network = nn.Linear(2, 3)
    network.weight.requires_grad_(False)
    groups = parameter_groups(network, None, OptimiserSettings(), 0.1)
    assert [p.shape for g in groups for p in g["params"]] == [(3,)]


def test_every_parameter_of_longnet_has_the_rate_of_its_level(cohort, quiet_trainer):
    loader, tasks = cohort
    shape = {"embed_dim": 24, "depth": 3, "num_heads": 2, "ffn_dim": 32}
    module = SlideClassifier(
        tasks["binary"],
        6,
        "longnet",
        {**shape, "segment_lengths": [4], "dilation_rates": [1]},
        layer_decay=0.5,
        learning_rate=0.1,
        schedule="constant",
    )
    trainer = quiet_trainer(max_epochs=1, limit_train_batches=1)
    trainer.fit(module, loader(tasks["binary"]))
    rates = {id(p): g["lr"] for g in trainer.optimizers[0].param_groups for p in g["params"]}
    named = {n: p for n, p in module.network.named_parameters() if p.requires_grad}
    assert set(rates) == {id(p) for p in named.values()}
    levels = module.network.layer_levels()
    top = max(levels.values())
    for name, parameter in named.items():
        assert rates[id(parameter)] == pytest.approx(0.1 * 0.5 ** (top - levels[name]))
    assert top == 4


def factor(total_steps=100.0, steps_per_epoch=10.0, rate=0.1, **settings):
    return rate_factor(
        OptimiserSettings(**settings),
        rate=rate,
        total_steps=total_steps,
        steps_per_epoch=steps_per_epoch,
    )


def test_warm_up_and_half_cosine():
    f = factor(warmup_epochs=2.0, min_learning_rate=0.01)
    assert [f(0), f(5), f(10), f(20)] == [0.0, 0.25, 0.5, 1.0]
    assert f(60) == pytest.approx(0.1 + 0.9 * 0.5)
    assert f(40) == pytest.approx(0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi / 4)))
    assert f(100) == f(250) == pytest.approx(0.1)


@pytest.mark.parametrize(("total_steps", "wanted"), [(100, 10), (20_000, 500), (math.inf, 500)])
def test_the_usual_warm_up_is_a_tenth_of_the_steps(total_steps, wanted):
    f = factor(schedule="constant", total_steps=total_steps)
    assert [f(0), f(wanted // 2), f(wanted)] == [0.0, 0.5, 1.0]


def test_what_is_left_open_is_the_networks_and_what_is_given_wins():
    recipe = TrainingRecipe(learning_rate=0.5, weight_decay=0.25)
    assert OptimiserSettings().completed(recipe) == OptimiserSettings(0.5, 0.25)
    given = OptimiserSettings(weight_decay=0.0).completed(recipe)
    assert (given.learning_rate, given.weight_decay) == (0.5, 0.0)


def test_constant_schedule_with_warm_up():
    f = factor(schedule="constant", warmup_epochs=0.5, total_steps=math.inf)
    assert [f(0), f(1), f(5), f(99)] == [0.0, 0.2, 1.0, 1.0]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"total_steps": math.inf}, "without an end"),
        ({"warmup_epochs": 10.0}, "warm-up of 100 steps in a fit of 100"),
        ({"min_learning_rate": 0.2}, "2 times the learning rate"),
    ],
)
def test_schedules_that_cannot_be_are_refused(settings, words):
    with pytest.raises(ConfigError, match=words):
        factor(**settings)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_rate_is_scaled_by_bags_per_step_and_stepped_per_iteration(
    cohort, quiet_trainer, accumulate
):
    loader, tasks = cohort
    seed_run(0)
    module = SlideClassifier(
        tasks["binary"],
        6,
        "mean",
        learning_rate=0.64,
        scale_learning_rate=True,
        warmup_epochs=1.0,
        min_learning_rate=1e-4,
    )
    seen = []
    module.on_train_batch_start = lambda batch, batch_idx: seen.append(
        module.optimizers().param_groups[0]["lr"]
    )
    trainer = quiet_trainer(max_epochs=3, accumulate_grad_batches=accumulate)
    trainer.fit(module, loader(tasks["binary"], batch_size=4))
    rate = 0.64 * 4 * accumulate / 256
    steps = 6 // accumulate
    f = factor(
        total_steps=3.0 * steps,
        steps_per_epoch=float(steps),
        rate=rate,
        warmup_epochs=1.0,
        min_learning_rate=1e-4,
    )
    assert seen == pytest.approx([rate * f(i // accumulate) for i in range(18)])
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(1e-4)


def test_batches_by_a_token_budget_scale_by_their_mean(cohort, quiet_trainer):
    loader, tasks = cohort
    data = loader(tasks["binary"])
    groups = [[0], [1, 2, 3], *[list(range(i, i + 5)) for i in (4, 9, 14, 19)]]
    budgeted = torch.utils.data.DataLoader(
        data.dataset, batch_sampler=groups, collate_fn=data.collate_fn
    )
    module = SlideClassifier(
        tasks["binary"],
        6,
        "mean",
        learning_rate=0.64,
        scale_learning_rate=True,
        schedule="constant",
    )
    trainer = quiet_trainer(max_epochs=1)
    trainer.fit(module, budgeted)
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.64 * 4 / 256)

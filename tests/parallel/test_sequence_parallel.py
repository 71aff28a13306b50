"""Models on several ranks: the same outputs, the same weights after training, fair randomness."""

import pytest
import torch
from rank_launch import run_ranks
from rank_models import (
    Classifier,
    given_back,
    outputs,
    random_draws,
    slides,
    train,
    two_steps,
)

from slidenet.parallel.forward_facts import draws

RUNS = [
    ({"pooling": "class_token"}, "plain"),
    ({"pooling": "mean"}, "plain"),
    ({"pooling": "mean"}, "double"),
    ({"pooling": "class_token"}, "double"),
    ({"pooling": "class_token"}, "checkpointed"),
    ({"pooling": "mean"}, "ddp"),
    ({"pooling": "class_token"}, "ddp"),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("num_ranks", "data", "runs"),
    [
        (2, 1, RUNS),
        pytest.param(4, 1, RUNS[2:5], marks=pytest.mark.slow),
        pytest.param(4, 2, RUNS, marks=pytest.mark.slow),
    ],
)
def test_two_steps_give_the_weights_of_one_rank(num_ranks, data, runs):
    found = run_ranks(train, num_ranks, data, runs)
    for i, (settings, wrapper) in enumerate(runs):
        model = Classifier(**settings)
        model = model.double() if wrapper == "double" else model
        wanted = two_steps(model, model, slice(None), lambda: None)
        for weights in (part[i] for part in found):
            assert list(weights) == list(wanted)  # checkpoints are those of one rank
            for name, x in wanted.items():
                torch.testing.assert_close(
                    weights[name], x, atol=1e-5, rtol=0, msg=f"{name}, {settings}, {wrapper}"
                )


def test_outputs_are_those_of_one_rank():
    parts = run_ranks(outputs, 3)
    for found in parts:
        for equal in (True, False):
            features, grid_xy, mask, _ = slides(equal)
            for pooling in ("class_token", "mean"):
                model = Classifier(pooling=pooling).encoder.eval()
                with torch.no_grad():
                    wanted = {
                        "final": model(features, grid_xy, mask),
                        2: model(features, grid_xy, mask, state=2),
                        "pooled": model.pooled_states(features, grid_xy, mask),
                        "states": torch.stack(model.states(features, grid_xy, mask)),
                    }
                for key, x in wanted.items():
                    y = found[equal, pooling, key]
                    torch.testing.assert_close(y, x, atol=1e-5, rtol=1e-5)
                half = found[equal, pooling, "mixed precision"]
                torch.testing.assert_close(half, wanted["final"], atol=0.1, rtol=0.1)
        features, grid_xy, _, _ = slides(equal=True)
        with torch.no_grad():
            wanted_chunk = Classifier().encoder.eval()(features, grid_xy)
        torch.testing.assert_close(found["chunk"], wanted_chunk, atol=1e-5, rtol=1e-5)


@pytest.mark.slow
def test_random_draws_differ_per_token_and_agree_per_slide():
    first, second = run_ranks(random_draws, 2)
    assert first["dropped"].any()
    assert not torch.equal(first["dropped"], second["dropped"])
    assert not torch.equal(first["dropped"], first["dropped again"])
    decided = [x for x in first["depth"] if x is not None]
    assert first["depth"] == second["depth"]
    forward, recomputed = decided[: len(decided) // 2], decided[len(decided) // 2 :]
    assert forward == recomputed[::-1]
    assert torch.equal(first["default generator"], second["default generator"])


def test_random_draws_go_by_what_modules_hold():
    model = Classifier().encoder.train()
    assert not draws(model)
    model.blocks[1].drop_path = 0.1
    assert draws(model)
    model.eval()
    assert not draws(model)
    model.blocks[2].dropout.p = 0.1
    model.blocks[2].train()
    assert draws(model)
    assert draws(Classifier(dropout=0.5).encoder.train())


def test_a_model_stays_what_it_is_and_comes_back():
    features, grid_xy, mask, _ = slides()
    model = Classifier()
    with torch.no_grad():
        wanted = model(features, grid_xy, mask)
    for found in run_ranks(given_back, 2):
        assert found["types"] == [type(module) for module in model.modules()]
        assert found["keys"] == list(model.state_dict())
        torch.testing.assert_close(found["shared"], wanted, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(found["copied"], found["shared"], atol=0, rtol=0)
        assert torch.equal(found["released"], wanted)

"""What is done where settings are left open, today and in runs of older versions."""

import json

import pytest

from slidenet.pipelines.fitting.defaults import FitLength, fit_length
from slidenet.pipelines.fitting.plan import TrainingPlan
from slidenet.pipelines.fitting.trainer import TrainerFactory

OPEN = {"max_epochs": None, "max_steps": -1, "patience": "auto"}


@pytest.mark.parametrize(
    ("steps", "given", "wanted"),
    [
        (4, {}, FitLength(75, 38, 37)),  # 40 slides: 300 steps
        (8, {}, FitLength(38, 19, 18)),
        (20, {}, FitLength(20, 8, 7)),  # 200 slides: no fewer than 20 epochs
        (400, {}, FitLength(20, 5, 1)),  # 4,000 slides
        (4, {"max_epochs": 10}, FitLength(10, 38, 5)),  # what is given wins
        (4, {"patience": 7}, FitLength(75, 7, 37)),
        (4, {"patience": None}, FitLength(75, None, 37)),
        (4, {"max_steps": 40}, FitLength(None, 38, 5)),
        (4, {"max_epochs": 1}, FitLength(1, 38, 1)),
        (4, {"max_epochs": -1}, FitLength(-1, 38, 37)),
    ],
)
def test_a_fit_lasts_steps_and_not_only_epochs(steps, given, wanted):
    assert fit_length(steps, **{**OPEN, **given}, defaults=2) == wanted


@pytest.mark.parametrize("given", [{}, {"max_epochs": 10, "patience": 3}])
def test_a_run_of_an_older_version_lasts_as_long_as_it_did(given):
    found = fit_length(4, **{**OPEN, **given}, defaults=1)
    assert found == FitLength(given.get("max_epochs", 50), given.get("patience", 20), 1)


def test_settings_left_open_mean_what_they_meant_when_the_run_was_begun(tmp_path):
    plan = TrainingPlan({"network": "abmil", "learning_rate": None}, TrainerFactory({}))
    file = tmp_path / "plan.json"
    assert plan.as_begun(file).defaults == 2
    assert plan.as_begun(file).model_settings({})["learning_rate"] is None  # the network's
    file.write_text(json.dumps({"patience": 20}))
    old = plan.as_begun(file)
    assert old.model_settings({})["learning_rate"] == 2e-4
    assert old.model_settings({})["feature_scaling"] == "none"
    assert old.model_settings({"learning_rate": 0.1})["learning_rate"] == 0.1
    assert old.model_settings({})["network_settings"] == {"dropout": 0.0}
    given = {"network_settings": {"dropout": 0.1, "gated": False}}
    assert old.model_settings(given)["network_settings"] == given["network_settings"]
    assert "network_settings" not in plan.model_settings({})
    file.write_text(json.dumps({"defaults": 2}))
    assert plan.as_begun(file).defaults == 2

import numpy as np
import pytest
from scipy.stats import binom

from slidenet.core.errors import ConfigError
from slidenet.evaluation.conformal import (
    class_scores,
    conformal_quantile,
    fit_conformal,
    split_conformal,
)
from slidenet.evaluation.predictions.record import Predictions
from slidenet.tasks import MulticlassTask, PredictionArrays

NAMES = ("a", "b", "c", "d")


def simulated(count, rng, sharpness=1.5, bags_per_patient=1):
    """Cases of four classes of unequal size from a model that is wrong and too sure."""
    targets = rng.choice(4, count, p=[0.5, 0.3, 0.15, 0.05])
    logits = sharpness * (1.5 * np.eye(4)[targets] + rng.normal(size=(count, 4)))
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return Predictions(
        MulticlassTask(("y",), NAMES),
        tuple(f"b{i}" for i in range(count)),
        tuple(f"p{i // bags_per_patient}" for i in range(count)),
        targets,
        PredictionArrays(probabilities),
    )


def within_binomial(hits, count, expected, level=0.999):
    low, high = binom.interval(level, count, expected)
    return low <= hits <= high


@pytest.mark.parametrize("method", ["lac", "aps"])
@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.2])
def test_coverage_on_2000_cases_is_within_its_binomial_interval(method, alpha):
    # Given its calibration bags, coverage of new bags is itself random (a Beta law), with less
    # spread the more of them there are; 50,000 leave the binomial of the 2,000 judged.
    rng = np.random.default_rng(7)
    calibration, test = simulated(50_000, rng), simulated(2_000, rng)
    predictor = fit_conformal(
        calibration.probabilities, calibration.targets, rng.random(50_000),
        alpha=alpha, method=method,
    )  # fmt: skip
    sets = predictor.predict_sets(test.probabilities, rng.random(2_000))
    hits = int(sets[np.arange(2_000), test.targets].sum())
    assert within_binomial(hits, 2_000, 1 - alpha, level=0.95)


@pytest.mark.parametrize("method", ["lac", "aps"])
def test_coverage_is_exact_on_average_even_with_few_calibration_bags(method):
    # n = 19 and alpha = 0.1: the 18th of 19 scores, coverage 18/20 exactly for continuous scores.
    rng, hits = np.random.default_rng(3), 0
    for _ in range(2_000):
        cases, uniform = simulated(20, rng), rng.random(20)
        predictor = fit_conformal(
            cases.probabilities[:19], cases.targets[:19], uniform[:19], method=method
        )
        sets = predictor.predict_sets(cases.probabilities[19:], uniform[19:])
        hits += bool(sets[0, cases.targets[19]])
    assert within_binomial(hits, 2_000, 0.9, level=0.95)


def test_class_conditional_covers_the_rare_class_too():
    rng = np.random.default_rng(5)
    calibration, test = simulated(40_000, rng), simulated(40_000, rng)
    uniform = rng.random(40_000)
    coverage = {}
    for conditional in (False, True):
        predictor = fit_conformal(
            calibration.probabilities, calibration.targets, uniform, class_conditional=conditional
        )
        sets = predictor.predict_sets(test.probabilities, uniform)
        held = sets[np.arange(len(test)), test.targets]
        coverage[conditional] = [held[test.targets == k].mean() for k in range(4)]
    np.testing.assert_allclose(coverage[True], 0.9, atol=0.02)


def test_split_by_patient_states_its_coverage():
    predictions = simulated(4_000, np.random.default_rng(0), bags_per_patient=2)
    found = split_conformal(predictions, alpha=0.1, seed=1)
    assert (found.num_calibration, found.num_calibration_patients) == (2_000, 1_000)
    assert len(found.rows) == 2_000
    judged = set(predictions.patients[found.rows])
    assert not judged & set(np.delete(predictions.patients, found.rows))
    held = found.sets[np.arange(2_000), predictions.targets[found.rows]]
    assert found.coverage.value == held.mean()
    assert found.coverage.low < 0.9 < found.coverage.high
    assert len(found.class_coverage) == 4
    assert found.sizes.tolist() == [int(row.sum()) for row in found.sets]
    again = split_conformal(predictions, alpha=0.1, seed=1)
    np.testing.assert_array_equal(found.sets, again.sets)


def test_the_quantile_is_that_of_a_finite_sample():
    scores = np.arange(1.0, 20.0)  # 19 scores
    assert conformal_quantile(scores, 0.1) == 18  # ceil(20 * 0.9)
    assert conformal_quantile(scores, 0.05) == 19
    assert conformal_quantile(scores, 0.049) == np.inf
    assert conformal_quantile(np.array([]), 0.1) == np.inf


def test_scores_by_hand():
    probabilities = np.array([[0.2, 0.5, 0.3]])
    np.testing.assert_allclose(class_scores(probabilities, np.zeros(1), "lac"), [[0.8, 0.5, 0.7]])
    half = class_scores(probabilities, np.array([0.5]), "aps")
    np.testing.assert_allclose(half, [[0.9, 0.25, 0.65]])


def test_too_few_bags_promise_nothing_less_than_the_full_set():
    predictions = simulated(8, np.random.default_rng(0))
    assert split_conformal(predictions, alpha=0.05).sets.all()


def test_bad_settings_are_refused(simulate):
    with pytest.raises(ConfigError, match=r"alpha is 1\.5"):
        split_conformal(simulate("binary"), alpha=1.5)
    with pytest.raises(ConfigError, match="calibration_fraction is 1"):
        split_conformal(simulate("binary"), calibration_fraction=1.0)
    with pytest.raises(ConfigError, match="prediction sets for a multilabel task"):
        split_conformal(simulate("multilabel"))

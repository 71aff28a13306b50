import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss as sklearn_log_loss

from slidenet.evaluation.calibration import (
    apply_temperature,
    cross_fitted_temperature,
    fit_temperature,
    held_out_groups,
    log_loss,
    reliability_curve,
    temperature_of_validation,
)
from slidenet.evaluation.predictions.record import Predictions
from slidenet.tasks import TASKS, BinaryTask, PredictionArrays


def overconfident(count=4000, factor=3.0, seed=0):
    """Logits that are right and `factor` times too large."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(0, 1.5, count)
    targets = (rng.random(count) < 1 / (1 + np.exp(-logit))).astype(np.int64)
    positive = 1 / (1 + np.exp(-factor * logit))
    return Predictions(
        BinaryTask(("y",), ("no", "yes")), tuple(map(str, range(count))), (None,) * count,
        targets, PredictionArrays(np.stack([1 - positive, positive], axis=1)),
    )  # fmt: skip


def test_the_temperature_found_is_the_one_put_in():
    predictions = overconfident()
    found = fit_temperature(predictions.task, predictions.probabilities, predictions.targets)
    assert found == pytest.approx(3.0, rel=0.1)


@pytest.mark.parametrize(("right", "least", "most"), [(6, 0.3, 1.0), (3, 1.0, 3.0)])
def test_a_handful_of_bags_does_not_drive_the_temperature_to_an_end(right, least, most):
    task = BinaryTask(("y",), ("no", "yes"))
    positive = np.array([0.2, 0.3, 0.35, 0.6, 0.7, 0.8])
    truth = positive > 0.5
    truth[right:] = ~truth[right:]  # none wrong, or as good as drawn by lot
    probabilities = np.stack([1 - positive, positive], axis=1)
    few = fit_temperature(task, probabilities, truth.astype(np.int64))
    assert least < few < most
    many = fit_temperature(
        task, np.tile(probabilities, (200, 1)), np.tile(truth, 200).astype(np.int64)
    )
    assert few > 2 * many if right == 6 else 2 * few < many


def test_scaling_is_that_of_the_logits(simulate):
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (20, 3))
    for kind, names in (("multiclass", ("a", "b", "c")), ("multilabel", ())):
        columns = ("y",) if names else ("a", "b", "c")
        task = TASKS[kind](columns, names)
        if kind == "multilabel":
            before, after = (1 / (1 + np.exp(-logits / t)) for t in (1, 2.5))
        else:
            before, after = (
                np.exp(logits / t) / np.exp(logits / t).sum(1, keepdims=True) for t in (1, 2.5)
            )
        np.testing.assert_allclose(apply_temperature(task, before, 2.5), after, atol=1e-6)


@pytest.mark.parametrize("kind", ["binary", "multiclass"])
def test_log_loss_is_that_of_scikit_learn(kind, simulate):
    predictions = simulate(kind)
    ours = log_loss(predictions.task, predictions.probabilities, predictions.targets)
    exact = predictions.probabilities / predictions.probabilities.sum(axis=1, keepdims=True)
    assert ours == pytest.approx(sklearn_log_loss(predictions.targets, exact), rel=1e-5)


def test_cross_fitting_repairs_calibration_and_keeps_the_order_within_folds():
    predictions = overconfident()
    before = predictions.task.compute_metrics(predictions.predicted, predictions.targets)
    scaled = cross_fitted_temperature(predictions)
    after = predictions.task.compute_metrics(scaled.predictions.predicted, predictions.targets)
    assert before["ece"] > 0.1
    assert after["ece"] < 0.04
    assert len(scaled.temperatures) == 5
    groups, _ = held_out_groups(predictions)
    for group, temperature in enumerate(scaled.temperatures):
        inside = groups == group
        others = fit_temperature(
            predictions.task, predictions.probabilities[~inside], predictions.targets[~inside]
        )
        assert temperature == others
        for p in (predictions, scaled.predictions):
            np.testing.assert_array_equal(
                np.argsort(p.probabilities[inside, 1], kind="stable"),
                np.argsort(predictions.probabilities[inside, 1], kind="stable"),
            )


def test_validation_bags_give_one_temperature():
    predictions, validation = overconfident(500), overconfident(500, seed=1)
    scaled = temperature_of_validation(predictions, validation)
    found = fit_temperature(validation.task, validation.probabilities, validation.targets)
    assert scaled.temperatures == (found,)
    assert scaled.fitted_on == "500 validation bags"
    np.testing.assert_array_equal(
        scaled.predictions.probabilities,
        apply_temperature(predictions.task, predictions.probabilities, found),
    )


def test_missing_labels_do_not_move_the_temperature(simulate):
    predictions = simulate("multilabel", 100)
    known = np.isfinite(predictions.targets).all(axis=1)
    task, targets = predictions.task, predictions.targets.copy()
    targets[~known] = np.nan
    assert fit_temperature(task, predictions.probabilities, targets) == pytest.approx(
        fit_temperature(task, predictions.probabilities[known], targets[known]), rel=1e-6
    )


@pytest.mark.parametrize("kind", ["binary", "multiclass", "ordinal"])
def test_the_curve_has_the_error_of_the_metric(kind, simulate):
    predictions = simulate(kind, 300)
    curve = reliability_curve(predictions)
    gap = np.sum(curve.count * np.abs(curve.frequency - curve.confidence)) / len(predictions)
    metrics = predictions.task.compute_metrics(predictions.predicted, predictions.targets)
    assert gap == pytest.approx(metrics["ece"], abs=1e-9)
    assert curve.count.sum() == 300
    assert ((curve.low <= curve.frequency) & (curve.frequency <= curve.high)).all()


def test_the_curve_is_that_of_scikit_learn(simulate):
    predictions = simulate("binary", 300)
    curve = reliability_curve(predictions)
    frequency, confidence = calibration_curve(
        predictions.targets, predictions.probabilities[:, 1], n_bins=15
    )
    np.testing.assert_allclose(curve.frequency, frequency)
    np.testing.assert_allclose(curve.confidence, confidence)


def test_groups_never_split_a_patient_and_are_the_folds_where_they_can(simulate):
    predictions = simulate("binary", 60, bags_per_patient=3)
    groups, words = held_out_groups(predictions)
    assert words == "5 groups of patients"
    for patient in np.unique(predictions.patients):
        assert len(np.unique(groups[predictions.patients == patient])) == 1
    folded = simulate("binary", 60, bags_per_patient=3, folds=4)
    groups, words = held_out_groups(folded)
    assert words == "folds"
    np.testing.assert_array_equal(groups, folded.folds)
    repeated = Predictions(
        folded.task,
        folded.bag_ids * 2,
        folded.patient_ids * 2,
        np.tile(folded.targets, 2),
        folded.predicted.take(np.tile(np.arange(60), 2)),
        np.concatenate([folded.folds, (folded.folds + 1) % 4 + 4]),
    )
    assert held_out_groups(repeated)[1] == "5 groups of patients"

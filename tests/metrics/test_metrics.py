"""Every metric against scikit-learn, SciPy, scikit-survival or lifelines, ties included."""

import lifelines.utils
import numpy as np
import pytest
import sksurv.metrics
import sksurv.nonparametric
import torch
from scipy.stats import spearmanr
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve
from torchmetrics.classification import (
    BinaryCalibrationError,
    MulticlassAUROC,
    MulticlassAveragePrecision,
    MulticlassCalibrationError,
)

from slidenet.metrics import (
    auroc,
    average_precision,
    balanced_accuracy,
    brier_curve,
    brier_score,
    c_index,
    censoring_survival,
    confusion_matrix,
    expected_calibration_error,
    f1_macro,
    integrated_brier,
    mean_absolute_error,
    quadratic_kappa,
    r2,
    spearman,
)
from slidenet.tasks import (
    TASKS,
    BinaryTask,
    CoxTask,
    DiscreteTimeTask,
    MulticlassTask,
    MultilabelTask,
    PredictionArrays,
)

SEEDS = range(8)
NAN = float("nan")


def scores(seed, n=200, ties=True):
    """Scores in [0, 1], most of them tied, and a target that follows them loosely."""
    rng = np.random.default_rng(seed)
    score = rng.uniform(size=n)
    positive = rng.uniform(size=n) < 0.2 + 0.5 * score
    return (np.round(score, 1) if ties else score), positive


def classes(seed, n=150, k=4):
    rng = np.random.default_rng(seed)
    probabilities = rng.multinomial(10, rng.dirichlet(np.ones(k), size=n)) / 10
    return probabilities, rng.integers(k, size=n)


def times(seed, n=120, ties=True):
    """(time, event) targets with about half censored, risks and survival curves at five times."""
    rng = np.random.default_rng(seed)
    risk = rng.normal(size=n)
    died, lost = rng.exponential(np.exp(-risk) * 10), rng.exponential(12, size=n)
    time = np.minimum(died, lost) + 0.5
    if ties:
        time, risk = np.ceil(time), np.round(risk)
    target = np.stack([time, died <= lost], axis=1)
    at = np.quantile(time, [0.1, 0.3, 0.5, 0.7, 0.9])
    at = np.unique(at) + np.arange(len(np.unique(at))) * 1e-3 * (not ties)
    survival = np.exp(-np.exp(risk / 2)[:, None] * at / 10)
    return target, risk, survival, at


def structured(target):
    return np.array([(bool(e), t) for t, e in target], dtype=[("event", bool), ("time", float)])


@pytest.mark.parametrize("ties", [True, False])
@pytest.mark.parametrize("seed", SEEDS)
def test_auroc(seed, ties):
    score, positive = scores(seed, ties=ties)
    assert auroc(score, positive) == pytest.approx(sk.roc_auc_score(positive, score), abs=1e-12)


@pytest.mark.parametrize("ties", [True, False])
@pytest.mark.parametrize("seed", SEEDS)
def test_average_precision(seed, ties):
    score, positive = scores(seed, ties=ties)
    wanted = sk.average_precision_score(positive, score)
    assert average_precision(score, positive) == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_confusion_matrix(seed):
    probabilities, target = classes(seed)
    predicted = probabilities.argmax(1)
    found = confusion_matrix(target, predicted, 4)
    np.testing.assert_array_equal(found, sk.confusion_matrix(target, predicted, labels=range(4)))


@pytest.mark.parametrize("absent", [None, 2])
@pytest.mark.parametrize("seed", SEEDS)
def test_balanced_accuracy(seed, absent):
    probabilities, target = classes(seed)
    target[target == absent] = 0
    predicted = np.where(probabilities.argmax(1) == absent, 1, probabilities.argmax(1))
    found = balanced_accuracy(confusion_matrix(target, predicted, 4))
    assert found == pytest.approx(sk.balanced_accuracy_score(target, predicted), abs=1e-12)


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
def test_balanced_accuracy_of_a_class_that_is_only_predicted():
    target, predicted = np.array([0, 0, 1, 1]), np.array([0, 2, 1, 2])
    wanted = sk.balanced_accuracy_score(target, predicted)
    assert balanced_accuracy(confusion_matrix(target, predicted, 4)) == wanted == 0.5


@pytest.mark.parametrize("absent", [None, 2])
@pytest.mark.parametrize("seed", SEEDS)
def test_f1_macro(seed, absent):
    probabilities, target = classes(seed)
    target[target == absent] = 0
    predicted = np.where(probabilities.argmax(1) == absent, 1, probabilities.argmax(1))
    wanted = sk.f1_score(target, predicted, average="macro")
    assert f1_macro(confusion_matrix(target, predicted, 4)) == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("absent", [None, 1, 3])
@pytest.mark.parametrize("seed", SEEDS)
def test_quadratic_kappa(seed, absent):
    probabilities, target = classes(seed)
    target[target == absent] = 0
    predicted = np.where(probabilities.argmax(1) == absent, 2, probabilities.argmax(1))
    wanted = sk.cohen_kappa_score(target, predicted, weights="quadratic", labels=range(4))
    found = quadratic_kappa(confusion_matrix(target, predicted, 4))
    assert found == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_brier_score(seed):
    score, positive = scores(seed)
    wanted = sk.brier_score_loss(positive, score)
    assert brier_score(score, positive) == pytest.approx(wanted, abs=1e-12)
    probabilities, target = classes(seed)
    wanted = sk.brier_score_loss(target, probabilities, labels=range(4), scale_by_half=False)
    assert brier_score(probabilities, target) == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("ties", [True, False])
@pytest.mark.parametrize("seed", SEEDS)
def test_expected_calibration_error(seed, ties):
    score, positive = scores(seed, ties=ties)
    frequency, confidence = calibration_curve(positive, score, n_bins=15)
    bins = np.searchsorted(np.linspace(0, 1, 16)[1:-1], score)
    share = np.unique(bins, return_counts=True)[1] / len(score)
    wanted = np.sum(share * np.abs(frequency - confidence))
    assert expected_calibration_error(score, positive) == pytest.approx(wanted, abs=1e-12)
    if not ties:  # torchmetrics puts a score that lies on an edge into the bin above
        theirs = BinaryCalibrationError(n_bins=15)(torch.tensor(score), torch.tensor(positive) * 1)
        assert expected_calibration_error(score, positive) == pytest.approx(float(theirs), abs=1e-6)


@pytest.mark.parametrize("seed", SEEDS)
def test_mean_absolute_error(seed):
    target, value, *_ = times(seed)
    wanted = sk.mean_absolute_error(target[:, 0], value)
    assert mean_absolute_error(value, target[:, 0]) == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_r2(seed):
    target, value, *_ = times(seed)
    assert r2(value, target[:, 0]) == pytest.approx(sk.r2_score(target[:, 0], value), abs=1e-12)


@pytest.mark.parametrize("ties", [True, False])
@pytest.mark.parametrize("seed", SEEDS)
def test_spearman(seed, ties):
    target, value, *_ = times(seed, ties=ties)
    wanted = spearmanr(value, target[:, 0]).statistic
    assert spearman(value, target[:, 0]) == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("ties", [True, False])
@pytest.mark.parametrize("seed", SEEDS)
def test_c_index(seed, ties):
    target, risk, *_ = times(seed, ties=ties)
    event, time = target[:, 1] > 0, target[:, 0]
    wanted = sksurv.metrics.concordance_index_censored(event, time, risk)[0]
    assert c_index(risk, target) == pytest.approx(wanted, abs=1e-12)
    if not ties:
        other = lifelines.utils.concordance_index(time, -risk, event)
        assert c_index(risk, target) == pytest.approx(other, abs=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_censoring_survival(seed):
    target, _, _, at = times(seed)
    reference = sksurv.nonparametric.CensoringDistributionEstimator().fit(structured(target))
    np.testing.assert_allclose(censoring_survival(target, at), reference.predict_proba(at))


@pytest.mark.parametrize("ties", [True, False])
@pytest.mark.parametrize("seed", SEEDS)
def test_integrated_brier(seed, ties):
    target, _, survival, at = times(seed, ties=ties)
    others = times(seed + 100, n=300, ties=ties)[0]
    others[np.argmax(others[:, 0]), 0] = 1000.0
    for reference in (target, others):
        wanted = sksurv.metrics.integrated_brier_score(
            structured(reference), structured(target), survival, at
        )
        curve = sksurv.metrics.brier_score(structured(reference), structured(target), survival, at)
        np.testing.assert_allclose(brier_curve(survival, at, target, reference), curve[1])
        assert integrated_brier(survival, at, target, reference) == pytest.approx(wanted)


def test_integrated_brier_leaves_out_times_outside_the_follow_up():
    target, _, survival, at = times(0)
    wider = np.concatenate([[0.0], at, [target[:, 0].max(), 999.0]])
    padded = np.pad(survival, ((0, 0), (1, 2)), constant_values=0.5)
    assert integrated_brier(padded, wider, target) == integrated_brier(survival, at, target)
    assert np.isnan(integrated_brier(survival[:, :1], at[:1], target))


def test_times_in_float32_lie_on_edges_in_float64():
    target = np.array([[12.3, 1], [12.3, 0], [45.6, 1], [45.6, 0], [80.1, 1]])
    survival = np.tile([0.8, 0.4], (5, 1))
    wanted = integrated_brier(survival, (12.3, 45.6), target)
    assert integrated_brier(survival, (12.3, 45.6), target.astype(np.float32)) == pytest.approx(
        wanted, abs=1e-6
    )


def test_c_index_of_large_cohorts_goes_in_chunks(monkeypatch):
    target, risk, *_ = times(3)
    whole = c_index(risk, target)
    monkeypatch.setattr("slidenet.metrics.survival._PAIRS_AT_ONCE", 500)
    assert c_index(risk, target) == whole


@pytest.mark.parametrize(
    "value",
    [
        auroc(np.array([0.1, 0.9]), np.array([True, True])),
        auroc(np.array([0.1, 0.9]), np.array([False, False])),
        average_precision(np.array([0.1, 0.9]), np.array([False, False])),
        average_precision(np.array([0.1, 0.9]), np.array([True, True])),
        balanced_accuracy(np.zeros((2, 2), dtype=np.int64)),
        f1_macro(np.zeros((2, 2), dtype=np.int64)),
        quadratic_kappa(np.array([[5, 0], [0, 0]])),
        brier_score(np.array([]), np.array([])),
        expected_calibration_error(np.array([]), np.array([])),
        mean_absolute_error(np.array([]), np.array([])),
        r2(np.array([1.0, 2.0]), np.array([3.0, 3.0])),
        r2(np.array([1.0]), np.array([3.0])),
        spearman(np.array([1.0, 1.0]), np.array([3.0, 4.0])),
        c_index(np.array([1.0, 2.0]), np.array([[3.0, 0.0], [4.0, 0.0]])),
        integrated_brier(np.zeros((0, 2)), (1.0, 2.0), np.zeros((0, 2))),
    ],
)
def test_what_is_not_defined_is_nan_and_never_zero(value):
    assert np.isnan(value)


BINARY = BinaryTask(("tumour",), ("no", "yes"))
GRADE = MulticlassTask(("grade",), ("g1", "g2", "g3", "g4"))
LABELS = MultilabelTask(("kras", "egfr", "alk"))


@pytest.mark.parametrize("seed", SEEDS)
def test_binary_task_equals_scikit_learn(seed):
    score, positive = scores(seed)
    prediction = PredictionArrays(np.stack([1 - score, score], 1))
    found = BINARY.compute_metrics(prediction, positive.astype(int))
    called = score >= 0.5
    assert found == pytest.approx(
        {
            "auroc": sk.roc_auc_score(positive, score),
            "average_precision": sk.average_precision_score(positive, score),
            "balanced_accuracy": sk.balanced_accuracy_score(positive, called),
            "f1_macro": sk.f1_score(positive, called, average="macro"),
            "brier": sk.brier_score_loss(positive, score),
            "ece": expected_calibration_error(score, positive),
        },
        abs=1e-12,
    )


def test_threshold_moves_what_is_called_positive():
    score, positive = scores(1)
    prediction = PredictionArrays(np.stack([1 - score, score], 1))
    found = BINARY.compute_metrics(prediction, positive * 1, threshold=0.3)
    wanted = sk.balanced_accuracy_score(positive, score >= 0.3)
    assert found["balanced_accuracy"] == pytest.approx(wanted)


@pytest.mark.parametrize("kind", ["multiclass", "ordinal"])
@pytest.mark.parametrize("seed", SEEDS)
def test_multiclass_task_equals_scikit_learn_and_torchmetrics(seed, kind):
    task = TASKS[kind](GRADE.label_columns, GRADE.class_names)
    probabilities, target = classes(seed)
    found = task.compute_metrics(PredictionArrays(probabilities), target)
    one_hot = np.eye(4)[target]
    assert found["auroc"] == pytest.approx(sk.roc_auc_score(one_hot, probabilities))
    assert found["average_precision"] == pytest.approx(
        sk.average_precision_score(one_hot, probabilities)
    )
    for k, name in enumerate(GRADE.class_names):
        wanted = sk.roc_auc_score(target == k, probabilities[:, k])
        assert found[f"auroc_{name}"] == pytest.approx(wanted)
        wanted = sk.average_precision_score(target == k, probabilities[:, k])
        assert found[f"average_precision_{name}"] == pytest.approx(wanted)
    as_tensors = torch.tensor(probabilities), torch.tensor(target)
    assert found["auroc"] == pytest.approx(float(MulticlassAUROC(4)(*as_tensors)), abs=1e-6)
    theirs = MulticlassAveragePrecision(4)(*as_tensors)
    assert found["average_precision"] == pytest.approx(float(theirs), abs=1e-6)
    assert set(found) == set(task.metric_names())


@pytest.mark.parametrize("seed", SEEDS)
def test_calibration_of_the_predicted_class_equals_torchmetrics(seed):
    probabilities = np.random.default_rng(seed).dirichlet(np.ones(4), size=300)
    target = classes(seed, n=300)[1]
    found = GRADE.compute_metrics(PredictionArrays(probabilities), target)["ece"]
    theirs = MulticlassCalibrationError(4, n_bins=15)(
        torch.tensor(probabilities), torch.tensor(target)
    )
    assert found == pytest.approx(float(theirs), abs=1e-6)


@pytest.mark.parametrize("seed", SEEDS)
def test_multilabel_task_leaves_missing_labels_out(seed):
    rng = np.random.default_rng(seed)
    probabilities = np.round(rng.uniform(size=(100, 3)), 1)
    target = (rng.uniform(size=(100, 3)) < 0.4).astype(float)
    target[rng.uniform(size=(100, 3)) < 0.3] = NAN
    found = LABELS.compute_metrics(PredictionArrays(probabilities), target)
    wanted = {name: [] for name in ("auroc", "average_precision", "f1_macro", "balanced_accuracy")}
    for k, name in enumerate(LABELS.class_names):
        known = ~np.isnan(target[:, k])
        truth, score = target[known, k], probabilities[known, k]
        wanted["auroc"].append(sk.roc_auc_score(truth, score))
        wanted["average_precision"].append(sk.average_precision_score(truth, score))
        wanted["f1_macro"].append(sk.f1_score(truth, score >= 0.5))
        wanted["balanced_accuracy"].append(sk.balanced_accuracy_score(truth, score >= 0.5))
        assert found[f"auroc_{name}"] == pytest.approx(wanted["auroc"][-1])
    for name, values in wanted.items():
        assert found[name] == pytest.approx(np.mean(values))
    assert set(found) == set(LABELS.metric_names())


def test_a_class_without_bags_is_nan_and_so_is_its_mean():
    probabilities, target = classes(0)
    target[target == 2] = 1
    found = GRADE.compute_metrics(PredictionArrays(probabilities), target)
    assert np.isnan(found["auroc_g3"])
    assert np.isnan(found["auroc"])
    assert np.isnan(found["average_precision_g3"])
    assert 0 < found["auroc_g1"] < 1
    assert 0 < found["balanced_accuracy"] < 1


def test_survival_tasks():
    target, risk, survival, at = times(0)
    cox = CoxTask(("time", "event"))
    assert cox.compute_metrics(PredictionArrays(risk=risk), target) == {
        "c_index": c_index(risk, target)
    }
    curves = PredictionArrays(risk=risk, survival=survival, survival_times=tuple(at))
    wanted = {
        "c_index": c_index(risk, target),
        "integrated_brier": integrated_brier(survival, at, target),
    }
    assert cox.compute_metrics(curves, target) == wanted
    bins = DiscreteTimeTask(("time", "event"), time_edges=tuple(at))
    assert bins.compute_metrics(curves, target) == wanted
    assert set(bins.metric_names()) == set(wanted)


def test_predictions_that_are_not_finite_have_no_metrics():
    probabilities, target = classes(0)
    probabilities[3, 1] = NAN
    found = GRADE.compute_metrics(PredictionArrays(probabilities), target)
    assert set(found) == set(GRADE.metric_names())
    assert all(np.isnan(v) for v in found.values())


def test_take_resamples_every_array():
    _, risk, survival, at = times(0)
    whole = PredictionArrays(risk=risk, survival=survival, survival_times=tuple(at))
    index = np.array([3, 3, 7])
    part = whole.take(index)
    np.testing.assert_array_equal(part.risk, risk[index])
    np.testing.assert_array_equal(part.survival, survival[index])
    assert part.survival_times == tuple(at)
    assert part.probabilities is None

import time

import numpy as np
import pytest

from slidenet.core.errors import ConfigError, PredictionsError
from slidenet.evaluation.predictions.record import Predictions
from slidenet.evaluation.statistics.bootstrap import (
    Bootstrap,
    bootstrap,
    bootstrap_metrics,
    paired_bootstrap,
)
from slidenet.tasks import BinaryTask, PredictionArrays

KINDS = ("binary", "multiclass", "ordinal", "multilabel", "regression", "cox", "discrete_time")


@pytest.mark.parametrize("kind", KINDS)
def test_every_metric_of_every_task_has_an_interval_around_it(kind, simulate):
    predictions = simulate(kind, 80, bags_per_patient=2, signal=2.0)
    found = bootstrap_metrics(predictions, num_resamples=200)
    expected = predictions.task.compute_metrics(predictions.predicted, predictions.targets)
    assert found.values == expected
    assert found.num_patients == 40
    for name, interval in found.intervals().items():
        assert interval.low <= interval.high
        assert np.isfinite([interval.low, interval.high]).all()
        if name != "ece":  # biased upwards by resampling
            assert interval.low <= interval.value <= interval.high


def test_patients_are_drawn_whole():
    patients = np.array([0, 0, 1, 2, 2, 2])
    draws = []

    def statistic(rows):
        draws.append(np.bincount(rows, minlength=6))
        return {"count": float(len(rows))}

    bootstrap(statistic, patients, num_resamples=50)
    for times in draws[1:]:
        assert times[0] == times[1]
        assert times[3] == times[4] == times[5]
        assert times[0] + times[2] + times[3] == 3


def test_percentiles_of_a_mean_are_those_of_the_sampling_distribution():
    values = np.random.default_rng(0).normal(size=400)
    found = bootstrap(
        lambda rows: {"mean": float(values[rows].mean())}, np.arange(400), num_resamples=4000
    ).interval("mean")
    half = 1.96 * values.std() / 20
    assert found.low == pytest.approx(values.mean() - half, abs=0.01)
    assert found.high == pytest.approx(values.mean() + half, abs=0.01)


def test_predicting_the_same_patients_again_narrows_nothing(simulate):
    predictions = simulate("binary", 50, signal=1.0)
    copied = _repeated(predictions, 4)
    by_patient = bootstrap_metrics(copied, num_resamples=500).interval("auroc")
    single = bootstrap_metrics(predictions, num_resamples=500).interval("auroc")
    assert by_patient.high - by_patient.low == pytest.approx(single.high - single.low, rel=0.1)


def _repeated(predictions, times):
    """Each bag predicted alike by several models, as in repeated cross-validation."""
    rows = np.repeat(np.arange(len(predictions)), times)
    return Predictions(
        predictions.task,
        tuple(predictions.bag_ids[i] for i in rows),
        tuple(predictions.patient_ids[i] for i in rows),
        predictions.targets[rows],
        predictions.predicted.take(rows),
        np.tile(np.arange(times), len(predictions)),
    )


def test_resamples_without_a_class_are_drawn_again_and_counted():
    score = np.linspace(0, 1, 20)
    predictions = Predictions(
        BinaryTask(("y",), ("no", "yes")),
        tuple(map(str, range(20))),
        (None,) * 20,
        np.array([1] + [0] * 19),
        PredictionArrays(np.stack([1 - score, score], axis=1)),
    )
    found = bootstrap_metrics(predictions, num_resamples=500)
    # A resample lacks the one positive with chance (1 - 1/20)^20 = 0.358.
    share = found.num_redrawn / (found.num_redrawn + 500)
    assert share == pytest.approx(0.358, abs=0.06)
    assert np.isfinite(found.samples["auroc"]).all()
    assert found.num_resamples == 500


def test_a_class_that_is_nearly_never_drawn_is_an_error_and_not_a_hang():
    calls = iter(range(10**6))
    with pytest.raises(PredictionsError, match="0 of 100 resamples of 3 patients have every class"):
        bootstrap(
            lambda rows: {"m": 0.0 if next(calls) == 0 else np.nan}, np.arange(3), num_resamples=2
        )
    with pytest.raises(ConfigError, match="1 bootstrap resamples"):
        bootstrap(lambda rows: {"m": 0.0}, np.arange(3), num_resamples=1)


def test_an_undefined_metric_stays_undefined():
    found = bootstrap(lambda rows: {"m": np.nan, "k": 1.0}, np.arange(3), num_resamples=5)
    assert np.isnan(found.interval("m").low)
    assert np.isnan(found.p_value("m"))
    assert found.num_redrawn == 0


def test_the_seed_decides(simulate):
    predictions = simulate("cox", 40)
    one, same, other = (
        bootstrap_metrics(predictions, num_resamples=20, seed=seed).samples["c_index"]
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_paired_differences_are_narrower_than_unpaired_ones(simulate):
    first = simulate("binary", 100, signal=1.0)
    nudged = first.probabilities + np.random.default_rng(1).normal(0, 0.02, (100, 1)) * [1, -1]
    nudged = np.clip(nudged, 0, 1)
    second = Predictions(
        first.task, first.bag_ids, first.patient_ids, first.targets, PredictionArrays(nudged)
    )
    paired = paired_bootstrap(first, second, num_resamples=300)
    single = bootstrap_metrics(first, num_resamples=300)
    assert np.std(paired.differences.samples["auroc"]) < 0.5 * np.std(single.samples["auroc"])
    assert paired.differences.values["auroc"] == pytest.approx(
        single.values["auroc"] - paired.second.values["auroc"]
    )
    alone = bootstrap_metrics(second, num_resamples=300)
    assert paired.second.intervals() == alone.intervals()


def test_p_values_count_the_resamples_beyond_zero():
    samples = {"m": np.array([-1.0, 1, 2, 3, 4, 5, 6, 7, 8]), "same": np.zeros(9)}
    found = Bootstrap({"m": 4.0, "same": 0.0}, samples, 9, 0)
    assert found.p_value("m") == 2 * 2 / 10
    assert found.p_value("same") == 1


def test_a_thousand_resamples_take_seconds(simulate):
    predictions = simulate("binary", 500, bags_per_patient=2)
    start = time.perf_counter()
    bootstrap_metrics(predictions, num_resamples=1000)
    assert time.perf_counter() - start < 10

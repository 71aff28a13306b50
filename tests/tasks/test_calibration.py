"""Breslow's baseline against scikit-survival and the Nelson-Aalen estimator, with ties."""

import numpy as np
import pytest
import torch
from sksurv.linear_model import CoxPHSurvivalAnalysis
from sksurv.nonparametric import nelson_aalen_estimator

from slidenet.core.errors import LabelError
from slidenet.tasks import Calibration, CoxTask
from slidenet.tasks.calibration import event_time_quantiles, fit_breslow, survival_report_times

COX = CoxTask(("time", "event"))


def cohort(seed, n=80):
    rng = np.random.default_rng(seed)
    covariate = rng.normal(size=n)
    died, lost = rng.exponential(np.exp(-covariate) * 8), rng.exponential(10, size=n)
    target = np.stack([np.ceil(np.minimum(died, lost)), died <= lost], axis=1)
    return covariate, target


@pytest.mark.parametrize("seed", range(5))
def test_survival_equals_scikit_survival(seed):
    covariate, target = cohort(seed)
    y = np.array([(bool(e), t) for t, e in target], dtype=[("event", bool), ("time", float)])
    fitted = CoxPHSurvivalAnalysis(ties="breslow").fit(covariate[:, None], y)
    risk = covariate * fitted.coef_[0]
    baseline = fit_breslow(risk, target)
    at = np.arange(1.0, target[:, 0].max())
    wanted = [f(at) for f in fitted.predict_survival_function(covariate[:, None])]
    found = baseline.survival(torch.tensor(risk), at)
    np.testing.assert_allclose(found.numpy(), np.array(wanted), rtol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_equal_risks_give_the_nelson_aalen_hazard(seed):
    _, target = cohort(seed)
    baseline = fit_breslow(np.zeros(len(target)), target)
    times, hazard = nelson_aalen_estimator(target[:, 1] > 0, target[:, 0])
    wanted = hazard[np.isin(times, baseline.times)]
    np.testing.assert_allclose(baseline.cumulative_hazard, wanted)


def test_with_a_baseline_a_cox_model_predicts_survival():
    covariate, target = cohort(0)
    baseline = fit_breslow(covariate, target, report_times=(2, 5, 9))
    assert baseline.report_times == (2.0, 5.0, 9.0)
    logits = torch.tensor(covariate)[:, None]
    prediction = COX.predict(logits, Calibration(baseline=baseline))
    assert prediction.survival.shape == (80, 3)
    assert (np.diff(prediction.survival, axis=1) <= 0).all()
    assert prediction.survival_times == (2.0, 5.0, 9.0)
    metrics = COX.compute_metrics(prediction, target)
    assert 0 < metrics["integrated_brier"] < 0.25
    assert metrics["c_index"] > 0.6


def test_report_times_are_the_quartiles_of_events_by_default():
    target = np.array([[1.0, 1], [2.0, 1], [3.0, 1], [4.0, 1], [5.0, 1], [99.0, 0]])
    assert fit_breslow(np.zeros(6), target).report_times == (2.0, 3.0, 4.0)


def test_report_times_at_an_event_are_written_as_the_event_is():
    times = np.array([4.87, 4.87, 4.87], dtype=np.float32)
    target = np.stack([times, np.ones(3, np.float32)], axis=1)
    assert survival_report_times(target) == (4.87,)


def test_before_the_first_event_everybody_lives():
    target = np.array([[3.0, 1], [5.0, 0]])
    survival = fit_breslow(np.zeros(2), target).survival(torch.zeros(1), (1.0, 2.99, 3.0))
    torch.testing.assert_close(survival, torch.tensor([[1.0, 1.0, float(np.exp(-0.5))]]))


def test_training_bags_without_an_event_are_refused():
    with pytest.raises(LabelError, match="no event"):
        fit_breslow(np.zeros(2), np.array([[3.0, 0], [5.0, 0]]))


def test_quantiles_are_different_ascending_and_written_as_the_times_are():
    times = np.array([4.87, 4.87, 9.3, 12.0], dtype=np.float32)
    assert event_time_quantiles(times, (0.0, 0.25, 1.0)) == (4.87, 12.0)
    assert event_time_quantiles(times.astype(np.float64), (2 / 3,)) == (9.3,)

import lifelines
import numpy as np
import pandas as pd
import pytest
from scipy.optimize import check_grad
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from slidenet.evaluation.probes.cox_regression import CoxRegression, RiskSets


def censored(seed, count=120, dim=4, ties=True):
    rng = np.random.default_rng(seed)
    columns = rng.normal(size=(count, dim))
    columns = (columns - columns.mean(0)) / columns.std(0, ddof=1)  # as lifelines scales them
    time = rng.exponential(8 * np.exp(-columns[:, 0] + 0.5 * columns[:, 1])) + 0.1
    time = np.ceil(time) if ties else time
    return columns, np.stack([time, rng.random(count) < 0.7], axis=1).astype(float)


@pytest.mark.parametrize("ties", [True, False])
@pytest.mark.parametrize("alpha", [0.0, 0.1, 1.0])
def test_coefficients_are_those_of_lifelines(alpha, ties):
    columns, target = censored(0, ties=ties)
    frame = pd.DataFrame(columns).assign(time=target[:, 0], event=target[:, 1])
    theirs = lifelines.CoxPHFitter(penalizer=alpha).fit(
        frame, "time", "event", fit_options={"precision": 1e-10}
    )
    ours = CoxRegression(alpha).fit(columns, target)
    np.testing.assert_allclose(ours.coef_, theirs.params_, atol=1e-4)
    risk = theirs.predict_log_partial_hazard(frame)
    np.testing.assert_allclose(ours.predict(columns), risk, atol=1e-3)


def test_breslow_is_efron_without_ties_and_differs_with_them():
    for ties, same in ((False, True), (True, False)):
        columns, target = censored(1, ties=ties)
        efron, breslow = (
            CoxRegression(0.1, ties=t).fit(columns, target).coef_ for t in ("efron", "breslow")
        )
        assert np.allclose(efron, breslow, atol=1e-6) == same


@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_the_slope_is_that_of_the_loss(ties):
    _, target = censored(2, count=30)
    sets = RiskSets(target, ties)
    risk = np.random.default_rng(0).normal(size=30)
    assert check_grad(lambda r: sets.loss(r)[0], lambda r: sets.loss(r)[1], risk) < 1e-4


def test_the_loss_by_hand():
    # Events at 1 (one of three) and twice at 2 (two left), all risks 0.
    target = np.array([[1.0, 1], [2, 1], [2, 1]])
    zeros = np.zeros(3)
    assert RiskSets(target, "breslow").loss(zeros)[0] == pytest.approx(np.log(3 * 2 * 2))
    assert RiskSets(target, "efron").loss(zeros)[0] == pytest.approx(np.log(3 * 2 * 1))


def test_large_risks_do_not_overflow():
    columns, target = censored(3)
    loss, slope = RiskSets(target, "efron").loss(1000 * columns[:, 0])
    assert np.isfinite(loss)
    assert np.isfinite(slope).all()


def test_it_is_a_scikit_learn_estimator():
    model = CoxRegression(0.3, ties="breslow")
    assert clone(model).get_params() == {"alpha": 0.3, "ties": "breslow", "max_iter": 1000}


def test_stopping_early_is_said():
    with pytest.warns(ConvergenceWarning, match="stopped after 1 iterations"):
        CoxRegression(0.0, max_iter=1).fit(*censored(4))

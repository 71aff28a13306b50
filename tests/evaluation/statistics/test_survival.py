import numpy as np
import pytest
from lifelines import KaplanMeierFitter
from lifelines.statistics import multivariate_logrank_test

from slidenet.core.errors import PredictionsError
from slidenet.evaluation.predictions.record import Predictions
from slidenet.evaluation.statistics.survival import kaplan_meier, log_rank, risk_groups
from slidenet.tasks import CoxTask, PredictionArrays


def censored(seed, count=80, ties=True):
    rng = np.random.default_rng(seed)
    time = rng.exponential(10, count)
    time = np.ceil(time) if ties else time
    return time, (rng.random(count) < 0.6).astype(float), rng.integers(0, 3, count)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("ties", [True, False])
def test_curve_and_interval_are_those_of_lifelines(seed, ties):
    time, event, _ = censored(seed, ties=ties)
    ours = kaplan_meier(time, event)
    theirs = KaplanMeierFitter().fit(time, event)
    np.testing.assert_allclose(ours.times, theirs.survival_function_.index)
    np.testing.assert_allclose(ours.survival, theirs.survival_function_.iloc[:, 0], atol=1e-12)
    alive = ours.survival > 0
    interval = theirs.confidence_interval_.to_numpy()
    np.testing.assert_allclose(ours.low[alive], interval[alive, 0], atol=1e-9)
    np.testing.assert_allclose(ours.high[alive], interval[alive, 1], atol=1e-9)
    np.testing.assert_array_equal(ours.at_risk[1:], theirs.event_table["at_risk"].iloc[1:])
    np.testing.assert_array_equal(ours.events, theirs.event_table["observed"])
    assert ours.median == theirs.median_survival_time_


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("ties", [True, False])
def test_log_rank_is_that_of_lifelines(seed, ties):
    time, event, group = censored(seed, ties=ties)
    group = np.minimum(group, 1)
    ours, theirs = log_rank(time, event, group), multivariate_logrank_test(time, group, event)
    assert ours.statistic == pytest.approx(theirs.test_statistic, rel=1e-9)
    assert ours.p == pytest.approx(theirs.p_value, rel=1e-9)
    assert ours.degrees == 1


def test_the_curve_of_the_textbook():
    # Leukaemia remission under 6-MP (Freireich et al. 1963; Collett, table 1.4).
    time = [6, 6, 6, 7, 10, 13, 16, 22, 23, 6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35]
    event = [1] * 9 + [0] * 12
    curve = kaplan_meier(np.array(time, dtype=float), np.array(event))
    steps = curve.survival[curve.events > 0]
    np.testing.assert_allclose(steps, [0.857, 0.807, 0.753, 0.690, 0.627, 0.538, 0.448], atol=5e-4)
    assert curve.median == 23
    assert curve.num_at_risk(np.array([0, 6, 6.5, 35, 36])).tolist() == [21, 21, 17, 1, 0]


def survival(risk, folds=None):
    count = len(risk)
    targets = np.stack([np.arange(1.0, count + 1), np.ones(count)], axis=1)
    return Predictions(
        CoxTask(("time", "event")), tuple(map(str, range(count))), (None,) * count, targets,
        PredictionArrays(risk=np.array(risk, dtype=float)), folds,
    )  # fmt: skip


def test_groups_are_cut_at_the_median_of_each_fold():
    groups = risk_groups(survival([1, 2, 3, 4]))
    assert groups.high.tolist() == [False, False, True, True]
    assert groups.cut == "the median risk, 2.5"
    groups = risk_groups(survival([1, 2, 30, 40], np.array([0, 0, 1, 1])))
    assert groups.high.tolist() == [False, True, False, True]
    assert groups.cut == "the median risk of each fold"
    with pytest.raises(PredictionsError, match="every bag has the same predicted risk"):
        risk_groups(survival([1, 1, 1]))


def test_no_bags_and_one_group_are_refused():
    with pytest.raises(PredictionsError, match="a survival curve of no bags"):
        kaplan_meier(np.array([]), np.array([]))
    with pytest.raises(PredictionsError, match="1 group for a log-rank test"):
        log_rank(np.array([1.0, 2.0]), np.array([1, 1]), np.array([0, 0]))
    with pytest.raises(PredictionsError, match="3 groups for a log-rank test; expected two"):
        log_rank(np.array([1.0, 2.0, 3.0]), np.array([1, 1, 1]), np.array([0, 1, 2]))


@pytest.mark.parametrize("events", [[1, 1, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1]])
def test_ends_of_the_curve_have_no_interval_beyond_them(events):
    curve = kaplan_meier(np.arange(1.0, 5.0), np.array(events))
    sure = (curve.survival == 1) | (curve.survival == 0)
    np.testing.assert_array_equal(curve.low[sure], curve.survival[sure])
    np.testing.assert_array_equal(curve.high[sure], curve.survival[sure])
    assert (curve.low <= curve.survival).all()
    assert (curve.survival <= curve.high).all()


def test_a_half_met_exactly_is_the_median():
    curve = kaplan_meier(np.arange(1.0, 11.0), np.ones(10))
    assert curve.median == 5
    curve = kaplan_meier(np.array([1, 2, 3, 4, 5, 6, 7.0]), np.array([0, 1, 1, 1, 0, 0, 0]))
    assert curve.median == 4


@pytest.mark.parametrize("events", [[0, 0, 0, 0], [0, 0, 1, 1]])
def test_no_event_while_both_groups_were_followed_is_no_difference(events):
    test = log_rank(np.arange(1.0, 5.0), np.array(events), np.array([0, 0, 1, 1]))
    assert (test.statistic, test.p) == (0, 1)

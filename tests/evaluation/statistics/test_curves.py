import numpy as np
import pytest
from scipy.integrate import trapezoid
from sklearn.metrics import average_precision_score, roc_auc_score

from slidenet.evaluation import discrimination_curve, one_against_rest


@pytest.mark.parametrize("ties", [False, True])
def test_the_areas_are_those_of_scikit_learn(simulate, ties):
    predictions = simulate("binary", 80)
    ((name, score, positive, patients),) = one_against_rest(predictions)
    score = np.round(score, 1) if ties else score
    assert name == "yes"
    roc = discrimination_curve("roc", score, positive, patients, num_resamples=0)
    area = float(trapezoid(roc.y, roc.x))
    assert area == pytest.approx(roc_auc_score(positive, score))
    steps = discrimination_curve("precision_recall", score, positive, patients, num_resamples=0)
    area = float(np.sum(np.diff(steps.x) * steps.y[1:]))
    assert area == pytest.approx(average_precision_score(positive, score))
    assert len(roc.band_x) == len(steps.low) == 0


@pytest.mark.parametrize("kind", ["roc", "precision_recall"])
def test_bands_hold_the_curve_and_follow_the_seed(simulate, kind):
    (_, *arrays), *_ = one_against_rest(simulate("binary", 120, bags_per_patient=2))
    curve = discrimination_curve(kind, *arrays, num_resamples=200, seed=1)
    assert (curve.low <= curve.high).all()
    assert (curve.low >= 0).all()
    assert (curve.high <= 1).all()
    inside = np.interp(curve.band_x, curve.x, curve.y)
    assert ((inside >= curve.low - 1e-9) & (inside <= curve.high + 1e-9)).mean() > 0.95
    same = discrimination_curve(kind, *arrays, num_resamples=200, seed=1)
    np.testing.assert_array_equal(same.low, curve.low)
    other = discrimination_curve(kind, *arrays, num_resamples=200, seed=2)
    assert not np.array_equal(other.low, curve.low)


def test_one_curve_per_class_that_has_both_answers(simulate):
    predictions = simulate("multilabel", 60)
    curves = one_against_rest(predictions)
    assert [name for name, *_ in curves] == ["tp53", "kras"]
    for number, (_, score, truth, patients) in enumerate(curves):
        known = ~np.isnan(predictions.targets[:, number])
        assert len(score) == len(truth) == len(patients) == known.sum()
    some = predictions.take(predictions.targets[:, 0] == 1)
    assert [name for name, *_ in one_against_rest(some)] == ["kras"]

import itertools

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from slidenet.core.errors import PredictionsError
from slidenet.evaluation.statistics.delong import delong_covariance, delong_interval, delong_test


def direct(positive, scores):
    """DeLong, DeLong and Clarke-Pearson 1988, equations 2 to 6, pair by pair."""
    psi = [[[(a > b) + 0.5 * (a == b) for b in s[~positive]] for a in s[positive]] for s in scores]
    psi = np.array(psi, dtype=float)
    auroc, by_positive, by_negative = psi.mean((1, 2)), psi.mean(2), psi.mean(1)
    models = range(len(scores))
    covariance = np.zeros((len(scores), len(scores)))
    for i, j in itertools.product(models, models):
        for part in (by_positive, by_negative):
            deviations = (part[i] - auroc[i]) * (part[j] - auroc[j])
            covariance[i, j] += deviations.sum() / (part.shape[1] - 1) / part.shape[1]
    return auroc, covariance


@pytest.mark.parametrize("levels", [3, 10, 10**6])
@pytest.mark.parametrize("seed", range(5))
def test_fast_and_direct_agree_with_ties(levels, seed):
    rng = np.random.default_rng(seed)
    positive = rng.random(60) < 0.4
    scores = np.round(rng.random((3, 60)) * levels) + positive * levels / 4
    auroc, covariance = delong_covariance(positive, scores)
    expected_auroc, expected_covariance = direct(positive, scores)
    np.testing.assert_allclose(auroc, expected_auroc, atol=1e-12)
    np.testing.assert_allclose(covariance, expected_covariance, atol=1e-12)
    np.testing.assert_allclose(auroc, [roc_auc_score(positive, s) for s in scores], atol=1e-12)


def test_values_worked_out_by_hand():
    positive = np.array([True, True, False, False])
    score = np.array([3.0, 2.0, 1.0, 2.0])
    auroc, covariance = delong_covariance(positive, score[None])
    # Each positive beats (1, 3/4) of the negatives, each negative is beaten by (1, 3/4).
    assert auroc[0] == 0.875
    assert covariance[0, 0] == 0.03125 / 2 + 0.03125 / 2
    interval = delong_interval(positive, score)
    assert interval.low == pytest.approx(0.875 - 1.959964 * 0.03125**0.5)
    assert interval.high == 1.0


def test_the_test_keeps_its_level_and_has_power():
    rng = np.random.default_rng(0)
    positive = np.arange(120) < 50
    same = different = 0
    for _ in range(400):
        signal, noise = rng.normal(size=120) + positive, rng.normal(size=(2, 120))
        same += delong_test(positive, signal + noise[0], signal + noise[1]).p < 0.05
        different += delong_test(positive, signal, noise[0]).p < 0.05
    assert 0.02 < same / 400 < 0.085
    assert different / 400 > 0.9


def test_equal_models_do_not_differ():
    positive = np.arange(10) < 5
    score = np.linspace(1, 0, 10) + 0.3 * (np.arange(10) % 3)
    result = delong_test(positive, score, np.exp(score))
    assert (result.z, result.p, result.difference.value) == (0, 1, 0)
    assert result.difference.low == result.difference.high == 0


def test_signs_and_perfect_models():
    positive = np.arange(8) < 4
    perfect, reverse = -np.arange(8.0), np.arange(8.0)
    result = delong_test(positive, perfect, reverse)
    assert result.difference.value == 1
    assert (result.z, result.p) == (np.inf, 0)
    assert delong_test(positive, reverse, perfect).z == -np.inf


def test_one_positive_has_no_variance():
    with pytest.raises(PredictionsError, match="1 positive and 5 negative bags"):
        delong_interval(np.arange(6) == 0, np.arange(6.0))

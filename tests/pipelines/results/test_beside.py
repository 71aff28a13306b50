from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from slidenet.core.errors import PredictionsError
from slidenet.evaluation import Predictions
from slidenet.pipelines.results.beside import Rival, compare
from slidenet.tasks import BinaryTask, PredictionArrays, RegressionTask

COUNT = 60
TRUTH = np.arange(COUNT) % 2
FOLDS = np.arange(COUNT) // 20


def scored(noise, seed, *, shift=0.0, folds=FOLDS):
    """Predictions whose logit is the truth among noise, each fold shifted by `shift` more."""
    rng = np.random.default_rng(seed)
    logit = 2.0 * TRUTH - 1 + noise * rng.normal(size=COUNT) + shift * FOLDS
    share = 1 / (1 + np.exp(-logit))
    return Predictions(
        BinaryTask(("label",), ("no", "yes")),
        [f"b{i}" for i in range(COUNT)],
        [f"p{i // 2}" for i in range(COUNT)],
        TRUTH,
        PredictionArrays(np.stack([1 - share, share], axis=1)),
        folds,
    )


def test_a_network_that_does_not_beat_a_rival_is_told_so():
    good, same, poor = scored(0.3, 0), scored(0.5, 1), scored(9.0, 2)
    rivals = [Rival("p", "probe P", same), Rival("q", "probe Q", poor)]
    found = compare(good, rivals, name="abmil", num_resamples=100)
    assert found.lines[0] == (
        "abmil does not beat probe P: the 95 % interval of the difference includes 0."
    )
    assert found.lines[1] == "abmil beats probe Q."
    assert found.header == ("model", "AUROC", "abmil minus it", "low", "high")
    low, high = map(float, found.rows[2][3:])
    assert 0 < low < float(found.rows[2][2]) < high
    found = compare(poor, [Rival("p", "probe P", good)], name="abmil", num_resamples=100)
    assert found.lines[0] == "abmil does not beat probe P: it does worse."


def test_folds_whose_scores_are_on_different_scales_are_not_mixed():
    model, rival = scored(1.0, 0, shift=9.0), scored(1.0, 0)
    section = compare(model, [Rival("p", "probe P", rival)], num_resamples=20)
    each = [
        roc_auc_score(TRUTH[rows], model.probabilities[rows, 1])
        for rows in np.arange(COUNT).reshape(3, 20)
    ]
    assert section.rows[0][1] == f"{np.mean(each):.3f}"
    assert section.rows[1][2:] == ("+0.000", "+0.000", "+0.000")


def test_bags_are_matched_by_name_and_must_be_the_same():
    model = scored(1.0, 0, folds=None)
    turned = model.take(np.arange(COUNT)[::-1])
    assert compare(model, [Rival("p", "probe P", turned)], num_resamples=5).rows[1][2] == "+0.000"
    with pytest.raises(PredictionsError, match="predicted by one of the two models only"):
        compare(model, [Rival("p", "probe P", model.take(TRUTH == 0))])


def test_where_the_metric_is_not_defined_it_is_said():
    model = scored(1.0, 0, folds=None).take(TRUTH == 1)
    section = compare(model, [Rival("p", "probe P", model)])
    assert section.lines == ("The AUROC is not defined on these bags.",)
    assert section.rows[1] == ("p", "not defined", "", "", "")


def test_values_are_pooled_over_folds():
    truth = np.linspace(0, 1, COUNT)
    arrays = PredictionArrays(value=truth + 0.1)
    model = replace(scored(1.0, 0), task=RegressionTask(("age",)), targets=truth, predicted=arrays)
    section = compare(model, [Rival("p", "probe P", model)], num_resamples=5)
    assert section.rows[0][1] == f"{1 - 0.01 / truth.var():.3f}"
    assert "of the bags of all folds together" in section.lines[-1]

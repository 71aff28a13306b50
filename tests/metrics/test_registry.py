"""Records of metrics: names in the order of files, words, direction, and one of your own."""

from typing import get_args

import numpy as np
import pytest

from slidenet.core.errors import UnknownNameError
from slidenet.metrics import (
    METRICS,
    BinaryCases,
    ClassCases,
    LabelCases,
    Metric,
    RiskCases,
    SurvivalCases,
    TargetType,
    ValueCases,
    compute_metrics,
    metric_names,
    metric_of,
    metric_words,
)

CLASS_NAMES = ("a", "b")
CURVES = ("auroc", "average_precision")
PLAIN = (*CURVES, "balanced_accuracy", "f1_macro", "brier", "ece")
EACH = ("auroc_a", "auroc_b", "average_precision_a", "average_precision_b")
NAMES = {
    "binary": PLAIN,
    "multiclass": (*PLAIN, "quadratic_kappa", *EACH),
    "multilabel": (*PLAIN, *EACH),
    "continuous": ("mae", "r2", "spearman"),
    "censored": ("c_index",),
    "censored, with curves": ("c_index", "integrated_brier"),
}


def binary():
    return BinaryCases(np.array([0.2, 0.7, 0.6, 0.1]), np.array([False, True, False, True]))


def cases():
    """Four bags of every type of target."""
    times = np.array([[1.0, 1], [2, 0], [3, 1], [4, 1]])
    values = np.arange(4.0)
    curves = np.linspace(0.9, 0.1, 12).reshape(4, 3)
    return [
        binary(),
        ClassCases(
            np.array([[0.2, 0.8], [0.7, 0.3], [0.6, 0.4], [0.1, 0.9]]), np.array([0, 1, 0, 1])
        ),
        LabelCases([binary(), binary()]),
        ValueCases(values, values[::-1]),
        RiskCases(values, times),
        SurvivalCases(values, times, curves, (1.5, 2.5, 3.5)),
    ]


@pytest.mark.parametrize("found", cases(), ids=lambda found: found.target_type)
def test_names_in_the_order_of_files(found):
    names = NAMES[found.target_type]
    assert metric_names(found.target_type, CLASS_NAMES) == names
    assert tuple(compute_metrics(found, CLASS_NAMES)) == names


def test_every_type_of_target_has_cases():
    assert {found.target_type for found in cases()} == set(get_args(TargetType)) == set(NAMES)


def test_words_and_classes_of_reported_names():
    assert metric_words("auroc_b", CLASS_NAMES) == "AUROC of b"
    assert metric_words("ece") == "expected calibration error"
    assert metric_of("average_precision_a", CLASS_NAMES) == (METRICS["average_precision"], "a")
    with pytest.raises(UnknownNameError, match="unknown metric 'auroc_c'"):
        metric_of("auroc_c", CLASS_NAMES)


def test_errors_are_better_when_lower():
    lower = {name for name, metric in METRICS.items() if metric.lower_is_better}
    assert lower == {"brier", "ece", "mae", "integrated_brier"}


def test_a_metric_of_your_own_is_a_function_and_a_record():
    def share_above_half(probabilities, target):
        return float(np.mean(probabilities[target] > 0.5))

    metric = Metric(
        "above_half",
        "share above a half",
        share_above_half,
        ("probabilities", "target"),
        ("binary", "multiclass", "multilabel"),
        by_class=True,
    )
    one, several, labels, *_ = cases()
    assert one.measure(metric) == (0.5, [])
    assert several.measure(metric) == (0.5, [0.5, 0.5])
    assert labels.measure(metric) == (0.5, [0.5, 0.5])

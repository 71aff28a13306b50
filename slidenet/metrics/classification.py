"""Metrics of classes, as plain functions of arrays.

Each equals scikit-learn's, ties included. NaN means "not defined on these bags" and nothing else;
no metric is quietly 0. Written out in numpy because a bootstrap calls them thousands of times:
scikit-learn's checks of its arguments alone would take most of the time.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from slidenet.core.arrays import BoolArray, FloatArray, IntArray
from slidenet.metrics.metric import Metric, TargetType

NUM_BINS = 15
"""Bins of the expected calibration error (Guo et al. 2017)."""


def auroc(score: FloatArray, positive: BoolArray) -> float:
    """Area under the ROC curve (`roc_auc_score`); NaN where all or no bags are positive."""
    num_positive = int(positive.sum())
    num_negative = len(positive) - num_positive
    if num_positive == 0 or num_negative == 0:
        return float("nan")
    # Mann-Whitney: for each positive, the negatives below it, and half of those it ties with.
    negatives = np.sort(score[~positive])
    hits = score[positive]
    below = np.searchsorted(negatives, hits, side="left").sum()
    not_above = np.searchsorted(negatives, hits, side="right").sum()
    return float((below + not_above) / (2 * num_positive * num_negative))


def average_precision(score: FloatArray, positive: BoolArray) -> float:
    """Step-wise area under the precision-recall curve (`average_precision_score`).

    NaN where no bag is positive (scikit-learn says 0 and warns) or all are (it says 1, whatever the
    scores).
    """
    if not positive.any() or positive.all():
        return float("nan")
    order = np.argsort(-score, kind="stable")
    ordered, hits = score[order], np.cumsum(positive[order])
    last_of_tie = np.append(ordered[1:] != ordered[:-1], True)
    hits, called = hits[last_of_tie], np.flatnonzero(last_of_tie) + 1
    return float(np.sum(np.diff(hits, prepend=0) * hits / called) / hits[-1])


def balanced_accuracy(confusion: IntArray) -> float:
    """Mean recall of the classes that occur (`balanced_accuracy_score`)."""
    count = confusion.sum(1)
    present = count > 0
    if not present.any():
        return float("nan")
    return float(np.mean(np.diag(confusion)[present] / count[present]))


def f1_macro(confusion: IntArray) -> float:
    """Mean F1 of the classes that occur or are predicted (`f1_score(average="macro")`)."""
    doubled = confusion.sum(0) + confusion.sum(1)
    present = doubled > 0
    if not present.any():
        return float("nan")
    return float(np.mean(2 * np.diag(confusion)[present] / doubled[present]))


def f1_positive(confusion: IntArray) -> float:
    """F1 of the second of two classes; NaN where it neither occurs nor is predicted.

    scikit-learn's `f1_score` says 0 there.
    """
    doubled = int(confusion[1].sum()) + int(confusion[:, 1].sum())
    return 2 * int(confusion[1, 1]) / doubled if doubled else float("nan")


def quadratic_kappa(confusion: IntArray) -> float:
    """Quadratic weighted kappa over all classes of the task, in their order.

    `cohen_kappa_score(weights="quadratic", labels=range(K))`. NaN where target and prediction are
    the same single class: agreement by chance is then perfect too.
    """
    steps = np.arange(len(confusion))
    penalty = (steps[:, None] - steps) ** 2
    total = confusion.sum()
    by_chance = np.outer(confusion.sum(1), confusion.sum(0)) / max(total, 1)
    expected = np.sum(penalty * by_chance)
    if expected == 0:
        return float("nan")
    return float(1 - np.sum(penalty * confusion) / expected)


def brier_score(probabilities: FloatArray, target: npt.NDArray[Any]) -> float:
    """Mean squared error of probabilities (`brier_score_loss`).

    Args:
        probabilities: (N,) of class 1, a score in [0, 1]; or (N, K), summed over classes as Brier
            (1950) did, in [0, 2].
        target: (N,) class.
    """
    if len(target) == 0:
        return float("nan")
    if probabilities.ndim == 1:
        return float(np.mean((probabilities - target) ** 2))
    truth = target.astype(np.int64)[:, None] == np.arange(probabilities.shape[1])
    return float(np.mean(np.sum((probabilities - truth) ** 2, axis=1)))


def expected_calibration_error(
    confidence: FloatArray, correct: npt.NDArray[Any], num_bins: int = NUM_BINS
) -> float:
    """Mean gap between confidence and frequency over equal-width bins, weighted by their bags.

    Guo et al. 2017, eq. 3; bin i holds i / n < confidence <= (i + 1) / n, as scikit-learn's
    `calibration_curve` cuts them. Fewer bags than a few per bin bias it upwards.

    Args:
        confidence: (N,) in [0, 1]: P(class 1) of a two-sided question, or the probability of the
            predicted class.
        correct: (N,) bool or 0/1: whether class 1 is true, or the predicted class.
        num_bins: Number of bins.
    """
    if len(confidence) == 0:
        return float("nan")
    edges = np.linspace(0, 1, num_bins + 1)
    bins = np.searchsorted(edges[1:-1], confidence)
    gap = confidence - correct
    return float(np.sum(np.abs(np.bincount(bins, weights=gap))) / len(confidence))


_ALL: tuple[TargetType, ...] = ("binary", "multiclass", "multilabel")

CLASSIFICATION = (
    Metric(
        "auroc", "AUROC", auroc, ("probabilities", "target"), _ALL, of_order=True, by_class=True
    ),
    Metric(
        "average_precision",
        "average precision",
        average_precision,
        ("probabilities", "target"),
        _ALL,
        of_order=True,
        by_class=True,
    ),
    Metric("balanced_accuracy", "balanced accuracy", balanced_accuracy, ("confusion",), _ALL),
    Metric("f1_macro", "macro F1", f1_macro, ("confusion",), _ALL, label_function=f1_positive),
    Metric(
        "brier",
        "Brier score",
        brier_score,
        ("probabilities", "target"),
        _ALL,
        lower_is_better=True,
    ),
    Metric(
        "ece",
        "expected calibration error",
        expected_calibration_error,
        ("confidence", "correct"),
        _ALL,
        lower_is_better=True,
    ),
    Metric(
        "quadratic_kappa",
        "quadratic weighted kappa",
        quadratic_kappa,
        ("confusion",),
        ("multiclass",),
    ),
)
"""In the order of tables and files."""

"""Metrics of a value, as plain functions of arrays; NaN where not defined."""

import numpy as np

from slidenet.core.arrays import FloatArray
from slidenet.metrics.metric import Metric


def mean_absolute_error(value: FloatArray, target: FloatArray) -> float:
    """`sklearn.metrics.mean_absolute_error`."""
    return float(np.mean(np.abs(value - target))) if len(target) else float("nan")


def r2(value: FloatArray, target: FloatArray) -> float:
    """Coefficient of determination (`r2_score`).

    NaN where the target is constant (scikit-learn says 0 or 1) or has fewer than two bags.
    """
    spread = float(np.sum((target - np.mean(target)) ** 2)) if len(target) > 1 else 0.0
    if spread == 0:
        return float("nan")
    return 1 - float(np.sum((target - value) ** 2)) / spread


def spearman(value: FloatArray, target: FloatArray) -> float:
    """Rank correlation, ties at their mean rank (`scipy.stats.spearmanr`); NaN for a constant."""
    from scipy.stats import rankdata  # here: 0.8 s that only this metric needs

    if len(target) < 2:
        return float("nan")
    a, b = rankdata(value), rankdata(target)
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt(np.sum(a**2) * np.sum(b**2)))
    return float(np.sum(a * b)) / scale if scale > 0 else float("nan")


REGRESSION = (
    Metric(
        "mae",
        "mean absolute error",
        mean_absolute_error,
        ("value", "target"),
        ("continuous",),
        lower_is_better=True,
    ),
    Metric("r2", "R²", r2, ("value", "target"), ("continuous",)),
    Metric(
        "spearman",
        "Spearman correlation",
        spearman,
        ("value", "target"),
        ("continuous",),
        of_order=True,
    ),
)
"""In the order of tables and files."""

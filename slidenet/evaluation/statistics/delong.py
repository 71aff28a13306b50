"""Variance of AUROC and the paired test of two AUROCs (DeLong, DeLong and Clarke-Pearson 1988).

Computed from midranks in O(N log N), exact with ties (Sun and Xu 2014). Rows must be independent:
one bag per patient. Where patients have several bags use `paired_bootstrap`.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, rankdata

from slidenet.core.arrays import BoolArray, Float64Array, FloatArray
from slidenet.core.errors import PredictionsError
from slidenet.evaluation.statistics.bootstrap import LEVEL, Interval


@dataclass(frozen=True, slots=True)
class DeLongTest:
    """Two AUROCs on the same bags.

    Attributes:
        first: AUROC of the first model, with its interval.
        second: AUROC of the second.
        difference: First minus second.
        z: Difference over its standard error; 0 where both are exactly equal.
        p: Two-sided.
    """

    first: Interval
    second: Interval
    difference: Interval
    z: float
    p: float


def delong_covariance(positive: BoolArray, scores: FloatArray) -> tuple[Float64Array, Float64Array]:
    """AUROCs of M models and their covariance.

    Args:
        positive: bool (N,).
        scores: (M, N), higher = more likely positive.

    Returns:
        AUROCs (M,) and covariance (M, M).

    Raises:
        PredictionsError: Fewer than two bags of a class.
    """
    num_positive, num_negative = int(positive.sum()), int((~positive).sum())
    if min(num_positive, num_negative) < 2:
        raise PredictionsError(
            f"{num_positive} positive and {num_negative} negative bags",
            expected="at least 2 of each, for a variance",
        )
    among_all = rankdata(scores, axis=1)
    among_positive = rankdata(scores[:, positive], axis=1)
    among_negative = rankdata(scores[:, ~positive], axis=1)
    # Share of negatives below each positive, and of positives above each negative.
    beaten = (among_all[:, positive] - among_positive) / num_negative
    above = 1 - (among_all[:, ~positive] - among_negative) / num_positive
    covariance = np.atleast_2d(np.cov(beaten)) / num_positive
    covariance = covariance + np.atleast_2d(np.cov(above)) / num_negative
    return beaten.mean(axis=1), covariance


def delong_interval(positive: BoolArray, score: FloatArray, level: float = LEVEL) -> Interval:
    """AUROC with its interval, normal on the scale of AUROC and cut at 0 and 1."""
    auroc, covariance = delong_covariance(positive, score[None])
    return _interval(float(auroc[0]), float(covariance[0, 0]), level, 0.0, 1.0)


def delong_test(
    positive: BoolArray, first: FloatArray, second: FloatArray, level: float = LEVEL
) -> DeLongTest:
    """Whether two models differ in AUROC on the same bags.

    Args:
        positive: bool (N,).
        first: (N,) scores of one model.
        second: (N,) scores of the other.
        level: Of the intervals.

    Raises:
        PredictionsError: Fewer than two bags of a class.
    """
    auroc, covariance = delong_covariance(positive, np.stack([first, second]))
    difference = float(auroc[0] - auroc[1])
    variance = max(0.0, float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]))
    # Models that rank alike give a variance of rounding errors, not of data.
    if variance <= 1e-14:
        z = 0.0 if abs(difference) <= 1e-12 else float(np.copysign(np.inf, difference))
    else:
        z = difference / variance**0.5
    return DeLongTest(
        _interval(float(auroc[0]), float(covariance[0, 0]), level, 0.0, 1.0),
        _interval(float(auroc[1]), float(covariance[1, 1]), level, 0.0, 1.0),
        _interval(difference, variance, level, -1.0, 1.0),
        z,
        float(2 * norm.sf(abs(z))),
    )


def _interval(value: float, variance: float, level: float, least: float, most: float) -> Interval:
    half = float(norm.ppf((1 + level) / 2)) * max(0.0, variance) ** 0.5
    return Interval(value, max(least, value - half), min(most, value + half))

"""Shares of bags (sensitivity, coverage) with an interval that knows about patients."""

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from slidenet.core.arrays import IntArray
from slidenet.evaluation.statistics.bootstrap import LEVEL, Interval


def wilson(share: float, count: float, level: float = LEVEL) -> tuple[float, float]:
    """Wilson's (1927) interval of a share of `count` independent bags; (0, 1) of none."""
    if count <= 0:
        return 0.0, 1.0
    z = float(norm.ppf((1 + level) / 2))
    centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * (share * (1 - share) / count + z**2 / (4 * count**2)) ** 0.5
    return max(0.0, centre - half), min(1.0, centre + half)


def proportion_interval(
    success: npt.NDArray[np.bool_], patients: IntArray, level: float = LEVEL
) -> Interval:
    """Share of successes, with Wilson's interval at the effective number of bags.

    Bags of one patient are alike, so they count for less than independent ones: the variance of the
    share between patients (a ratio estimator, Cochran 1977, section 11.8) says for how many. Where
    all or no bags succeed there is no variance to see, and patients are counted.

    Args:
        success: bool (N,).
        patients: int64 (N,).
        level: Of the interval.

    Returns:
        NaN with the interval (0, 1) for no bags.
    """
    count = len(success)
    if count == 0:
        return Interval(float("nan"), 0.0, 1.0)
    share = float(success.mean())
    return Interval(share, *wilson(share, effective_count(success, patients), level))


def effective_count(success: npt.NDArray[np.bool_], patients: IntArray) -> float:
    """How many independent bags would tell as much about the share of successes, at most N."""
    count, share = len(success), float(success.mean())
    numbers = np.unique(patients, return_inverse=True)[1]
    num_patients = int(numbers.max()) + 1
    if num_patients == count:
        return count
    if share in (0.0, 1.0) or num_patients == 1:
        return num_patients
    excess = np.bincount(numbers, weights=success - share)
    variance = num_patients / (num_patients - 1) * float((excess**2).sum()) / count**2
    return count if variance == 0 else min(float(count), share * (1 - share) / variance)

"""Survival of groups of patients: Kaplan-Meier curves and the log-rank test, both by SciPy."""

import warnings
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from scipy.stats import CensoredData, ecdf, logrank

from slidenet.core.arrays import BoolArray, Float64Array, FloatArray, IntArray
from slidenet.core.errors import PredictionsError
from slidenet.core.text import count_of
from slidenet.evaluation.predictions.record import Predictions
from slidenet.evaluation.statistics.bootstrap import LEVEL


@dataclass(frozen=True, eq=False)
class KaplanMeier:
    """Estimated survival of one group, a step function.

    Attributes:
        times: (T,) 0 and then every time of the group, ascending.
        survival: (T,) P(time > times[t]) (Kaplan and Meier 1958).
        low: (T,) lower end of the interval: Greenwood's variance on the scale of log(-log S), which
            keeps it in [0, 1] (Kalbfleisch and Prentice 1980).
        high: (T,) upper end.
        at_risk: int64 (T,) bags at risk just before each time.
        events: int64 (T,) events at each time.
    """

    times: Float64Array
    survival: Float64Array
    low: Float64Array
    high: Float64Array
    at_risk: IntArray
    events: IntArray

    @property
    def median(self) -> float:
        """The first time at which survival is at most a half; infinite if it never is."""
        # A half is often met exactly, but for the rounding of the product.
        reached = np.flatnonzero(self.survival <= 0.5 + 1e-12)
        return float(self.times[reached[0]]) if len(reached) else float("inf")

    def num_at_risk(self, at: FloatArray) -> IntArray:
        """Bags still followed at given times, for the table below a plot."""
        position = np.searchsorted(self.times, at, side="left")
        return np.append(self.at_risk, 0)[position]


@dataclass(frozen=True, slots=True)
class LogRank:
    """The log-rank test between two groups (Mantel 1966; Peto and Peto 1972).

    Attributes:
        statistic: Chi-squared.
        p: Its upper tail.
        degrees: Of freedom: groups minus one.
    """

    statistic: float
    p: float
    degrees: ClassVar[int] = 1


@dataclass(frozen=True, eq=False)
class RiskGroups:
    """Bags divided in two by predicted risk.

    Attributes:
        high: bool (N,), risk above the cut.
        cut: How the cut was made, for a report.
    """

    high: BoolArray
    cut: str


@dataclass(frozen=True, eq=False)
class SurvivalGroups:
    """Kaplan-Meier curves of two groups of patients.

    Attributes:
        low: Curve of the patients with low risk.
        high: Of those with high risk.
        test: The log-rank test between them.
        cut: How the groups were cut, for a report.
    """

    low: KaplanMeier
    high: KaplanMeier
    test: LogRank
    cut: str


def kaplan_meier(time: FloatArray, event: FloatArray, level: float = LEVEL) -> KaplanMeier:
    """Estimates survival.

    Args:
        time: (N,) positive.
        event: (N,), true where it happened; otherwise censored at that time.
        level: Of the interval.

    Raises:
        PredictionsError: No bags.
    """
    if len(time) == 0:
        raise PredictionsError("a survival curve of no bags", expected="at least one")
    estimate = ecdf(_censored(time, event)).sf
    times, survival = estimate.quantiles, estimate.probabilities
    with warnings.catch_warnings():
        # NaN before the first event, where nothing varies, and once nobody is left to vary.
        warnings.simplefilter("ignore", RuntimeWarning)
        interval = estimate.confidence_interval(level, method="log-log")
    fixed = (survival == 1) | (survival == 0)
    low, high = (
        np.where(fixed, survival, end.probabilities) for end in (interval.low, interval.high)
    )
    at_risk = len(time) - np.searchsorted(np.sort(time), times, side="left")
    events = np.bincount(np.searchsorted(times, time[event > 0]), minlength=len(times))
    return KaplanMeier(
        np.append(0.0, times),
        np.append(1.0, survival),
        np.append(1.0, low),
        np.append(1.0, high),
        np.append(len(time), at_risk),
        np.append(0, events),
    )


def log_rank(time: FloatArray, event: FloatArray, group: npt.NDArray[np.generic]) -> LogRank:
    """Whether two groups differ in survival.

    Args:
        time: (N,) positive.
        event: (N,), true where it happened.
        group: (N,), of two values.

    Raises:
        PredictionsError: Fewer than two groups, or more.
    """
    values = np.unique(group)
    if len(values) != 2:
        raise PredictionsError(
            f"{count_of('group', len(values))} for a log-rank test",
            expected="two",
            remedy="check that the predicted risks differ between bags",
        )
    first = group == values[0]
    with np.errstate(invalid="ignore"):
        found = logrank(
            _censored(time[first], event[first]), _censored(time[~first], event[~first])
        )
    if np.isnan(found.statistic):  # no event while both groups were followed: nothing differs
        return LogRank(0.0, 1.0)
    return LogRank(float(found.statistic) ** 2, float(found.pvalue))


def risk_groups(predictions: Predictions) -> RiskGroups:
    """High and low risk by the median; within each fold, as folds are different models.

    Raises:
        PredictionsError: All risks of every fold are equal.
    """
    risk, folds = predictions.risk, predictions.folds
    cut, how = np.full(len(risk), np.median(risk)), f"the median risk, {np.median(risk):.3g}"
    if folds is not None and len(np.unique(folds)) > 1:
        how = "the median risk of each fold"
        for fold in np.unique(folds):
            cut[folds == fold] = np.median(risk[folds == fold])
    high = risk > cut
    if not high.any():
        raise PredictionsError(
            "every bag has the same predicted risk", expected="risks that differ between bags"
        )
    return RiskGroups(high, how)


def survival_groups(predictions: Predictions) -> SurvivalGroups:
    """Divides patients by predicted risk; each patient counts once.

    A patient with several rows is in the high group where more than half of them are; their times
    must agree.

    Raises:
        PredictionsError: All risks are equal, a group is empty, or rows of a patient disagree.
    """
    groups = risk_groups(predictions)
    first, patients = np.unique(predictions.patients, return_index=True, return_inverse=True)[1:]
    targets = predictions.labels[first]
    same = (predictions.labels == targets[patients]).all(axis=1)
    if not same.all():
        row = int(np.flatnonzero(~same)[0])
        raise PredictionsError(
            f"patient {predictions.patient_ids[row]!r} has bags with different times or events",
            expected="one time and event per patient",
        )
    high = np.bincount(patients, weights=groups.high) > np.bincount(patients) / 2
    if high.all() or not high.any():
        raise PredictionsError("all patients are in one risk group", expected="two groups")
    time, event = targets[:, 0].astype(np.float64), targets[:, 1]
    return SurvivalGroups(
        kaplan_meier(time[~high], event[~high]),
        kaplan_meier(time[high], event[high]),
        log_rank(time, event, high),
        groups.cut,
    )


def _censored(time: FloatArray, event: FloatArray) -> CensoredData:
    """Times of bags as SciPy takes them."""
    return CensoredData.right_censored(np.asarray(time, dtype=np.float64), event <= 0)

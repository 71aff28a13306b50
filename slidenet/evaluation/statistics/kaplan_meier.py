"""Survival of groups of patients: Kaplan-Meier curves, and the log-rank test between them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import chi2, norm

from slidenet.core.arrays import FloatArray, IntArray
from slidenet.core.errors import PredictionsError
from slidenet.evaluation.predictions.record import Predictions
from slidenet.evaluation.statistics.bootstrap import LEVEL

Float64Array = npt.NDArray[np.float64]


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
        reached = np.flatnonzero(self.survival <= 0.5)
        return float(self.times[reached[0]]) if len(reached) else float("inf")

    def num_at_risk(self, at: FloatArray) -> IntArray:
        """Bags still followed at given times, for the table below a plot."""
        position = np.searchsorted(self.times, at, side="left")
        return np.append(self.at_risk, 0)[position]


@dataclass(frozen=True, slots=True)
class LogRank:
    """The log-rank test (Mantel 1966; Peto and Peto 1972).

    Attributes:
        statistic: Chi-squared.
        degrees: Groups minus one.
        p: Its upper tail.
    """

    statistic: float
    degrees: int
    p: float


@dataclass(frozen=True, eq=False)
class RiskGroups:
    """Bags split in two by predicted risk.

    Attributes:
        high: bool (N,), risk above the cut.
        cut: How the cut was made, in words.
    """

    high: npt.NDArray[np.bool_]
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
    times, at_risk, events = _risk_table(time, event)
    survival = np.cumprod(1 - events / at_risk)
    with np.errstate(divide="ignore", invalid="ignore"):
        greenwood = np.cumsum(events / (at_risk * (at_risk - events)))
        z = float(norm.ppf((1 + level) / 2))
        half = z * np.sqrt(greenwood) / np.log(survival)
        low, high = survival ** np.exp(-half), survival ** np.exp(half)
    # Before the first event nothing varies; once nobody is left there is nothing to vary.
    fixed = (survival == 1) | (survival == 0)
    low, high = np.where(fixed, survival, low), np.where(fixed, survival, high)
    return KaplanMeier(
        np.append(0.0, times),
        np.append(1.0, survival),
        np.append(1.0, low),
        np.append(1.0, high),
        np.append(len(time), at_risk),
        np.append(0, events),
    )


def log_rank(time: FloatArray, event: FloatArray, group: npt.NDArray[np.generic]) -> LogRank:
    """Whether groups differ in survival.

    Args:
        time: (N,) positive.
        event: (N,), true where it happened.
        group: (N,), of two values or more.

    Raises:
        PredictionsError: Fewer than two groups.
    """
    values = np.unique(group)
    if len(values) < 2:
        raise PredictionsError(
            f"{len(values)} group for a log-rank test",
            expected="two at least",
            remedy="check that the predicted risks differ between bags",
        )
    times, at_risk, events = _risk_table(time, event)
    tables = [_risk_table(time[group == v], event[group == v], times) for v in values]
    group_at_risk = np.stack([table[1] for table in tables])  # (G, T)
    observed = np.array([table[2].sum() for table in tables])
    share = group_at_risk / at_risk
    # Variance of the hypergeometric number of events in each group, summed over times.
    spread = events * (at_risk - events) / np.maximum(at_risk - 1, 1)
    covariance = np.diag((spread * share).sum(axis=1)) - (spread * share) @ share.T
    excess = (observed - (events * share).sum(axis=1))[:-1]
    statistic = float(excess @ np.linalg.pinv(covariance[:-1, :-1]) @ excess)
    degrees = len(values) - 1
    return LogRank(statistic, degrees, float(chi2.sf(statistic, degrees)))


def risk_groups(predictions: Predictions) -> RiskGroups:
    """High and low risk by the median; within each fold, as folds are different models.

    Raises:
        PredictionsError: All risks of every fold are equal.
    """
    risk, folds = predictions.risk, predictions.folds
    cut = np.full(len(risk), np.median(risk))
    words = f"the median risk, {np.median(risk):.3g}"
    if folds is not None and len(np.unique(folds)) > 1:
        for fold in np.unique(folds):
            cut[folds == fold] = np.median(risk[folds == fold])
        words = "the median risk of each fold"
    high = risk > cut
    if not high.any():
        raise PredictionsError(
            "every bag has the same predicted risk", expected="risks that differ between bags"
        )
    return RiskGroups(high, words)


def _risk_table(
    time: FloatArray, event: FloatArray, times: Float64Array | None = None
) -> tuple[Float64Array, IntArray, IntArray]:
    """Distinct times (or those given), bags at risk just before each, and events at each."""
    if times is None:
        times = np.unique(time).astype(np.float64)
    ordered = np.sort(time)
    at_risk = len(time) - np.searchsorted(ordered, times, side="left")
    ended = np.searchsorted(times, time[event > 0])
    return times, at_risk.astype(np.int64), np.bincount(ended, minlength=len(times))

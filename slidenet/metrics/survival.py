"""Metrics of censored times, as plain functions of arrays; NaN where not defined.

Targets are (N, 2), (time, event); a bag without event is right-censored at its time.
"""

from collections.abc import Sequence

import numpy as np

from slidenet.core.arrays import Float64Array, FloatArray
from slidenet.metrics.metric import Metric

_PAIRS_AT_ONCE = 4_000_000


def c_index(risk: FloatArray, target: FloatArray) -> float:
    """Harrell's concordance (`sksurv.metrics.concordance_index_censored`).

    Among pairs where the bag with the shorter time had its event (a bag censored at the very time
    of an event counts as longer), the share where it has the higher risk; equal risks count half.

    Args:
        risk: (N,), higher = earlier event.
        target: (N, 2), (time, event).

    Returns:
        In [0, 1]; NaN where no pair can be compared.
    """
    time, event = target[:, 0], target[:, 1] > 0
    cases = np.flatnonzero(event)
    step = max(1, _PAIRS_AT_ONCE // max(1, len(time)))
    concordant = tied = comparable = 0
    for start in range(0, len(cases), step):
        case = cases[start : start + step, None]
        longer = (time > time[case]) | ((time == time[case]) & ~event)
        comparable += int(longer.sum())
        concordant += int((longer & (risk < risk[case])).sum())
        tied += int((longer & (risk == risk[case])).sum())
    return (concordant + tied / 2) / comparable if comparable else float("nan")


def censoring_survival(target: FloatArray, at: FloatArray) -> FloatArray:
    """Kaplan-Meier estimate G(t) of not being censored up to and including t.

    At a time with events and censorings, events come first (they leave the risk set before).

    Args:
        target: (N, 2), (time, event), from which G is estimated.
        at: Times asked for.

    Returns:
        G at each of them, float64.
    """
    time, event = target[:, 0], target[:, 1] > 0
    times, group = np.unique(time, return_inverse=True)
    events = np.bincount(group, weights=event, minlength=len(times))
    censored = np.bincount(group, weights=~event, minlength=len(times))
    leaving = events + censored
    at_risk = len(time) - np.cumsum(leaving) + leaving - events
    share = np.divide(censored, at_risk, out=np.zeros_like(censored), where=censored > 0)
    curve = np.concatenate([[1.0], np.cumprod(1 - share)])
    found: FloatArray = curve[np.searchsorted(times, at, side="right")]
    return found


def brier_curve(
    survival: FloatArray,
    times: FloatArray,
    target: FloatArray,
    censoring_target: FloatArray | None = None,
) -> FloatArray:
    """Brier score at each time, weighted for censoring (Graf et al. 1999; `sksurv` `brier_score`).

    Args:
        survival: (N, T), P(time > times[t]).
        times: (T,).
        target: (N, 2), (time, event).
        censoring_target: The bags whose censoring weights the others; `target` by default.

    Returns:
        (T,) float64.
    """
    time, event = target[:, 0], target[:, 1] > 0
    reference = target if censoring_target is None else censoring_target
    weight_at_event = _inverse(censoring_survival(reference, time))
    weight_at_times = _inverse(censoring_survival(reference, times))
    died = (time[:, None] <= times) & event[:, None]
    alive = time[:, None] > times
    error = survival**2 * died * weight_at_event[:, None]
    error = error + (1 - survival) ** 2 * alive * weight_at_times
    curve: FloatArray = np.mean(error, axis=0)
    return curve


def integrated_brier(
    survival: FloatArray,
    times: Sequence[float],
    target: FloatArray,
    censoring_target: FloatArray | None = None,
) -> float:
    """Brier score over time by the trapezoid rule (`sksurv` `integrated_brier_score`).

    Times outside the follow-up [min, max) of `target` are left out, as nothing is known there.

    Args:
        survival: (N, T), P(time > times[t]).
        times: T ascending times.
        target: (N, 2), (time, event).
        censoring_target: The bags whose censoring weights the others; `target` by default.

    Returns:
        The mean score between the first and the last time kept; NaN with fewer than two.
    """
    from scipy.integrate import trapezoid  # here: only this metric needs it

    if len(target) == 0:
        return float("nan")
    # Edges in the precision of the times they are compared with.
    grid = np.asarray(times, dtype=np.result_type(target.dtype, np.float32))
    inside = (grid >= target[:, 0].min()) & (grid < target[:, 0].max())
    if inside.sum() < 2:
        return float("nan")
    grid = grid[inside]
    scores = brier_curve(survival[:, inside], grid, target, censoring_target)
    return float(trapezoid(scores, grid) / (grid[-1] - grid[0]))


def _inverse(probability: FloatArray) -> Float64Array:
    """1 / p, and 0 where p is 0: what nobody was observed at weighs nothing."""
    return np.divide(1.0, probability, out=np.zeros(len(probability)), where=probability > 0)


SURVIVAL = (
    Metric(
        "c_index",
        "c-index",
        c_index,
        ("risk", "target"),
        ("censored", "censored, with curves"),
        of_order=True,
    ),
    Metric(
        "integrated_brier",
        "integrated Brier score",
        integrated_brier,
        ("survival", "times", "target"),
        ("censored, with curves",),
        lower_is_better=True,
    ),
)
"""In the order of tables and files."""

"""Cox regression with an l2 penalty, as a scikit-learn estimator."""

import warnings
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning

from slidenet.core.arrays import Float64Array

Ties = Literal["efron", "breslow"]


class CoxRegression(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Proportional hazards (Cox 1972), fitted by L-BFGS on the penalised partial likelihood.

    Minimises `-log partial likelihood / N + alpha / 2 * |coefficients|^2`; columns should be on one
    scale, so put a `StandardScaler` in front.

    Args:
        alpha: Strength of the penalty, at least 0.
        ties: How events at the same time are counted (Efron 1977, or Breslow 1974).
        max_iter: Iterations at most.

    Attributes:
        coef_: float64 (D,), log hazard ratio per unit of each column.
        n_features_in_: D.
    """

    def __init__(self, alpha: float = 0.1, *, ties: Ties = "efron", max_iter: int = 1000) -> None:
        self.alpha = alpha
        self.ties = ties
        self.max_iter = max_iter

    def fit(self, X: npt.NDArray[Any], y: npt.NDArray[Any]) -> "CoxRegression":
        """Fits to X (N, D) and y (N, 2), (time, event), with at least one event."""
        columns = np.asarray(X, dtype=np.float64)
        centred = columns - columns.mean(axis=0)
        risk_sets = RiskSets(np.asarray(y, dtype=np.float64), self.ties)

        def objective(coef: Float64Array) -> tuple[float, Float64Array]:
            loss, slope = risk_sets.loss(centred @ coef)
            count = len(columns)
            value = loss / count + self.alpha / 2 * float(coef @ coef)
            return value, centred.T @ slope / count + self.alpha * coef

        found = minimize(
            objective,
            np.zeros(columns.shape[1]),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": self.max_iter, "ftol": 1e-13, "gtol": 1e-8},
        )
        if found.status == 1:
            warnings.warn(
                f"Cox regression stopped after {found.nit} iterations; raise max_iter or alpha",
                ConvergenceWarning,
                stacklevel=2,
            )
        self.coef_: Float64Array = found.x
        self.mean_: Float64Array = columns.mean(axis=0)
        self.n_features_in_ = columns.shape[1]
        return self

    def predict(self, X: npt.NDArray[Any]) -> Float64Array:
        """Log hazard ratio of each row of X (N, D) to the mean training row."""
        risk: Float64Array = (np.asarray(X, dtype=np.float64) - self.mean_) @ self.coef_
        return risk


class RiskSets:
    """Who was still followed when, worked out once for all iterations.

    Args:
        target: (N, 2), (time, event).
        ties: "efron" or "breslow".
    """

    def __init__(self, target: Float64Array, ties: Ties) -> None:
        self.event = target[:, 1] > 0
        self.order = np.argsort(target[:, 0], kind="stable")
        times, self.first = np.unique(target[self.order, 0], return_index=True)
        self.when = np.searchsorted(times, target[:, 0])
        events = np.bincount(self.when[self.event], minlength=len(times))
        # One term of the likelihood per event: its time, and how much of the tied events has gone.
        self.term = np.repeat(np.arange(len(times)), events)
        number = np.arange(len(self.term)) - np.repeat(np.cumsum(events) - events, events)
        share = number / np.repeat(np.maximum(events, 1), events)
        self.gone = share if ties == "efron" else np.zeros(len(share))

    def loss(self, risk: Float64Array) -> tuple[float, Float64Array]:
        """Minus the log partial likelihood of risks (N,), and its slope in each of them.

        Sums of hazards are kept as logarithms: the last of them may be tiny beside the first.
        """
        at_risk = np.logaddexp.accumulate(risk[self.order][::-1])[::-1][self.first]
        tied = self._sums(self.when[self.event], risk[self.event])
        left = self.gone * np.exp((tied - at_risk)[self.term])
        total = at_risk[self.term] + np.log1p(-left)
        loss = float(total.sum() - risk[self.event].sum())
        until = np.logaddexp.accumulate(self._sums(self.term, -total))
        with np.errstate(divide="ignore"):
            back = self._sums(self.term, np.log(self.gone) - total)
        slope = np.exp(risk + until[self.when]) - self.event
        return loss, slope - self.event * np.exp(risk + back[self.when])

    def _sums(self, when: npt.NDArray[np.intp], logarithms: Float64Array) -> Float64Array:
        """Logarithm of the sum at each time."""
        sums = np.full(len(self.first), -np.inf)
        np.logaddexp.at(sums, when, logarithms)
        return sums

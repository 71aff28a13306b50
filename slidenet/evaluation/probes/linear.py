"""Linear probes: logistic, ridge and Cox regression along the directions bags differ in.

Each kind of probe has the same face: the settings to try, the scores of some rows by a model of
others, and the numbers of the model of all rows, as `slidenet.mil.probe.ProbeModel` takes them.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import sklearn
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge

from slidenet.core.arrays import Float64Array, IntArray
from slidenet.evaluation.probes.columns import Columns
from slidenet.evaluation.probes.cox_regression import CoxRegression

Setting = Mapping[str, float]
Numbers = dict[str, Float64Array]

PENALTIES = tuple(float(p) for p in np.logspace(-4, 2, 7))
"""Per bag, where columns have the deviation 1."""
MANY_BAGS = 1000
"""From so many on a weak penalty takes minutes and a strong one is as good."""


@dataclass(frozen=True, eq=False)
class Problem:
    """What one probe learns, of N bags.

    Attributes:
        target: (N,) classes or values, or (N, 2) times and events.
        num_classes: 0 for a value or a time.
        num_scores: 1 for two classes, a value or a time; else one per class.
    """

    target: npt.NDArray[Any]
    num_classes: int

    @property
    def num_scores(self) -> int:
        """Length of the scores."""
        return self.num_classes if self.num_classes > 2 else 1


class Fitter(Protocol):
    """One kind of probe on the rows of one problem."""

    def settings(self) -> Sequence[Setting]:
        """What to try, the simplest first."""

    def scores(self, setting: Setting, train: IntArray, test: IntArray) -> Float64Array:
        """(len(test), S), by a model of the rows `train`."""

    def numbers(self, setting: Setting) -> Numbers:
        """The model of all rows."""


@dataclass(frozen=True, eq=False)
class LinearFitter:
    """Base of the linear ones; `model` makes the estimator."""

    columns: Columns
    rows: IntArray
    problem: Problem

    def settings(self) -> Sequence[Setting]:
        """See `Fitter`; penalties, the strongest first."""
        few = PENALTIES[1:-1] if len(self.rows) > MANY_BAGS else PENALTIES
        return [self.setting(penalty) for penalty in reversed(few)]

    def setting(self, penalty: float) -> Setting:
        """The setting that stands for a penalty per bag."""
        raise NotImplementedError

    def model(self, setting: Setting, *, exact: bool) -> Any:
        """The estimator; `exact` for the one that is kept."""
        raise NotImplementedError

    def coefficients(self, model: Any) -> tuple[Float64Array, Float64Array]:
        """(r, S) and (S,) of a fitted estimator."""
        raise NotImplementedError

    def scores(self, setting: Setting, train: IntArray, test: IntArray) -> Float64Array:
        """See `Fitter`."""
        reduced = self.columns.reduced[self.rows]
        weight, bias = self._fitted(
            setting, reduced[train], self.problem.target[train], exact=False
        )
        scores: Float64Array = reduced[test] @ weight + bias
        return scores

    def numbers(self, setting: Setting) -> Numbers:
        """See `Fitter`."""
        reduced = self.columns.reduced[self.rows]
        weight, bias = self._fitted(setting, reduced, self.problem.target, exact=True)
        return {"weight": self.columns.basis @ weight, "bias": bias}

    def _fitted(
        self, setting: Setting, rows: Float64Array, target: npt.NDArray[Any], *, exact: bool
    ) -> tuple[Float64Array, Float64Array]:
        # What is checked of arrays takes longer than fitting few bags.
        quick = sklearn.config_context(assume_finite=True, skip_parameter_validation=True)
        with warnings.catch_warnings(), quick:
            # A weak penalty among those tried may not converge; it is then not the one chosen.
            warnings.simplefilter("ignore", ConvergenceWarning)
            return self.coefficients(self.model(setting, exact=exact).fit(rows, target))


class LogisticFitter(LinearFitter):
    """Logistic regression; multinomial where there are more than two classes."""

    def setting(self, penalty: float) -> Setting:
        """C is the inverse of a penalty on the sum over bags."""
        return {"C": 1 / (penalty * len(self.rows))}

    def model(self, setting: Setting, *, exact: bool) -> LogisticRegression:
        """See `LinearFitter`."""
        limits: dict[str, Any] = {"max_iter": 10_000, "tol": 1e-9} if exact else {"max_iter": 1000}
        return LogisticRegression(C=setting["C"], **limits)

    def coefficients(self, model: LogisticRegression) -> tuple[Float64Array, Float64Array]:
        """See `LinearFitter`."""
        return model.coef_.T, model.intercept_


class RidgeFitter(LinearFitter):
    """Linear regression with an l2 penalty."""

    def setting(self, penalty: float) -> Setting:
        """Alpha is on the sum over bags."""
        return {"alpha": penalty * len(self.rows)}

    def model(self, setting: Setting, *, exact: bool) -> Ridge:
        """See `LinearFitter`."""
        return Ridge(alpha=setting["alpha"])

    def coefficients(self, model: Ridge) -> tuple[Float64Array, Float64Array]:
        """See `LinearFitter`."""
        return np.reshape(model.coef_, (-1, 1)), np.reshape(model.intercept_, (1,))


class CoxFitter(LinearFitter):
    """Proportional hazards with an l2 penalty."""

    def setting(self, penalty: float) -> Setting:
        """Alpha is per bag."""
        return {"alpha": penalty}

    def model(self, setting: Setting, *, exact: bool) -> CoxRegression:
        """See `LinearFitter`."""
        return CoxRegression(setting["alpha"])

    def coefficients(self, model: CoxRegression) -> tuple[Float64Array, Float64Array]:
        """See `LinearFitter`; a risk of 0 is that of the mean training bag."""
        return model.coef_[:, None], -(model.mean_ @ model.coef_)[None]

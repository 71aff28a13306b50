"""Prediction sets of an ensemble of cross-validation: CV+, which needs no bags kept apart.

A class is in the set of a new bag unless too many bags of the cohort fitted their true class
better: bag i of the cohort was scored by the model that had not seen its patient, and is compared
with what that same model says of the new bag (Barber, Candes, Ramdas and Tibshirani 2021 for
intervals; Romano, Sesia and Candes 2020 for classes). What is drawn anew are patients, not slides:
each patient counts once, divided among its bags, which covers a bag of a new patient (Lee, Barber
and Willett 2023). The score is one minus the probability of the class, or the distance from the
value.

What is promised, of new patients drawn as those of the cohort were: a set holds the truth with a
chance of at least 1 - 2 alpha, less a little where folds are few or large (`guarantee`). About
1 - alpha is what is usually seen, but only the former is certain.

B new bags, M models, K classes, P patients.
"""

from dataclasses import dataclass

import numpy as np

from slidenet.core.arrays import BoolArray, Float64Array, FloatArray, IntArray
from slidenet.core.checks import check_share

ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class CrossConformal:
    """The bags of a cohort as they calibrate sets.

    Attributes:
        member: int64 (N,), which model scored bag i.
        scores: float64 (N,), how badly bag i fits its own truth.
        weights: float64 (N,), one over the number of bags of its patient.
        num_patients: P; the weights add up to it.
    """

    member: IntArray
    scores: Float64Array
    weights: Float64Array
    num_patients: int

    @property
    def num_folds(self) -> int:
        """Models that scored a part of the cohort each."""
        return len(np.unique(self.member))

    def guarantee(self, alpha: float) -> float:
        """The least chance that a set holds the truth, for folds of about one size.

        Args:
            alpha: As for `sets`.
        """
        folds, count = self.num_folds, self.num_patients
        slack = min(2 * (1 - 1 / folds) / (count / folds + 1), (1 - folds / count) / (folds + 1))
        return max(0.0, 1 - 2 * alpha - max(0.0, slack))

    def sets(self, probabilities: FloatArray, alpha: float) -> BoolArray:
        """Which classes are in the set of each bag; all of them where the patients are too few.

        Args:
            probabilities: (M, B, K), of all models, also of those that scored nothing.
            alpha: See the top of this file.

        Returns:
            bool (B, K).

        Raises:
            ConfigError: `alpha` is not between 0 and 1.
        """
        check_share(above_zero=True, below_one=True, alpha=alpha)
        better = np.zeros(probabilities.shape[1:])
        for member in np.unique(self.member):
            scores, cumulated = self._cumulated(member)
            new = 1 - probabilities[member].astype(np.float64)
            better += cumulated[np.searchsorted(scores, new, side="left")]
        inside: BoolArray = better < self._most(alpha) - ROUNDING
        return inside

    def intervals(self, values: FloatArray, alpha: float) -> Float64Array:
        """Lower and upper end for each bag; infinite where the patients are too few.

        Args:
            values: (M, B) predicted by all models.
            alpha: See the top of this file.

        Returns:
            (B, 2).

        Raises:
            ConfigError: `alpha` is not between 0 and 1.
        """
        check_share(above_zero=True, below_one=True, alpha=alpha)
        centre = values[self.member].astype(np.float64)  # (N, B)
        ends = [
            sign * self._reached(sign * centre + self.scores[:, None], self._most(alpha))
            for sign in (-1, 1)
        ]
        return np.stack(ends, axis=1)

    def _most(self, alpha: float) -> float:
        return (1 - alpha) * (self.num_patients + 1)

    def _cumulated(self, member: int) -> tuple[Float64Array, Float64Array]:
        """The scores of a model, ascending, and the weight below each position among them."""
        inside = self.member == member
        order = np.argsort(self.scores[inside], kind="stable")
        weights = self.weights[inside][order]
        return self.scores[inside][order], np.concatenate([[0.0], np.cumsum(weights)])

    def _reached(self, ends: Float64Array, weight: float) -> Float64Array:
        """The smallest end of each column at which the weight is reached; infinite where never."""
        order = np.argsort(ends, axis=0, kind="stable")
        cumulated = np.cumsum(self.weights[order], axis=0)
        reached = cumulated >= weight - ROUNDING
        first = reached.argmax(axis=0)
        found = np.take_along_axis(np.take_along_axis(ends, order, axis=0), first[None], axis=0)[0]
        return np.asarray(np.where(reached.any(axis=0), found, np.inf))


def cross_conformal(
    member: IntArray, patient: IntArray, target: FloatArray | IntArray, predicted: FloatArray
) -> CrossConformal | None:
    """Calibrates on out-of-fold predictions.

    Of repeated cross-validation the first repeat is taken: its folds test each patient once.

    Args:
        member: int64 (N,), which model predicted bag i, without having seen its patient.
        patient: int64 (N,).
        target: (N,) class or value.
        predicted: (N, K) probabilities, or (N,) values.

    Returns:
        None where fewer than two models tested patients of their own.
    """
    seen: set[int] = set()
    taken: list[int] = []
    for number in np.unique(member).tolist():
        patients = set(patient[member == number].tolist())
        if patients & seen:
            break
        seen |= patients
        taken.append(number)
    if len(taken) < 2:
        return None
    chosen = np.isin(member, taken)
    member, patient, target, predicted = (
        member[chosen], patient[chosen], target[chosen], predicted[chosen]
    )  # fmt: skip
    numbers, counts = np.unique(patient, return_inverse=True, return_counts=True)[1:]
    if predicted.ndim == 2:
        scores = 1 - predicted[np.arange(len(target)), target.astype(np.int64)].astype(np.float64)
    else:
        scores = np.abs(target.astype(np.float64) - predicted)
    return CrossConformal(member, scores, 1 / counts[numbers], len(counts))

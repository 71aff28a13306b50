"""Probes by likeness: support vector machines with a Gaussian kernel, and nearest neighbours."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.svm import SVC

from slidenet.core.arrays import BoolArray, Float64Array, IntArray
from slidenet.evaluation.probes.columns import Columns
from slidenet.evaluation.probes.linear import Numbers, Problem, Setting
from slidenet.mil.probe import LEAST_SHARE, UNKNOWN

NEIGHBOURS = (50, 20, 10, 5, 3, 1)
COSTS = (0.1, 1.0, 10.0, 100.0)
WIDTHS = (0.25, 1.0, 4.0)
"""Of the kernel: gamma times the number of columns that vary."""
LEAST_SLOPE = 1e-3


@dataclass(frozen=True, eq=False)
class KernelFitter:
    """Support vector machine, one class against the rest; its scores are decisions.

    Decisions are turned into probabilities by `platt`, on rows the machine has not seen.
    """

    columns: Columns
    rows: IntArray
    problem: Problem

    def settings(self) -> Sequence[Setting]:
        """See `Fitter`."""
        varying = max(self.columns.num_varying, 1)
        return [{"C": c, "gamma": w / varying} for c, w in itertools.product(COSTS, WIDTHS)]

    def scores(self, setting: Setting, train: IntArray, test: IntArray) -> Float64Array:
        """See `Fitter`."""
        dual, bias = self._fitted(setting, train)
        apart = self.columns.distances[np.ix_(self.rows[test], self.rows[train])]
        scores: Float64Array = np.exp(-setting["gamma"] * apart) @ dual + bias
        return scores

    def numbers(self, setting: Setting) -> Numbers:
        """See `Fitter`; without the calibration."""
        dual, bias = self._fitted(setting, np.arange(len(self.rows)))
        values = np.zeros((len(self.columns.z), self.problem.num_scores))
        values[self.rows] = dual
        gamma = np.full(self.problem.num_scores, setting["gamma"])
        return {"rows": self.columns.z, "values": values, "bias": bias, "gamma": gamma}

    def truths(self) -> list[BoolArray]:
        """Per score, bool (N,): what it stands for."""
        if self.problem.num_scores == 1:
            return [self.problem.target == 1]
        return [self.problem.target == k for k in range(self.problem.num_scores)]

    def _fitted(self, setting: Setting, train: IntArray) -> tuple[Float64Array, Float64Array]:
        """Coefficients of the rows (len(train), S), and (S,)."""
        places = self.rows[train]
        kernel = np.exp(-setting["gamma"] * self.columns.distances[np.ix_(places, places)])
        dual = np.zeros((len(train), self.problem.num_scores))
        bias = np.zeros(self.problem.num_scores)
        for score, truth in enumerate(self.truths()):
            machine = SVC(C=setting["C"], kernel="precomputed").fit(kernel, truth[train])
            dual[machine.support_, score] = machine.dual_coef_[0]
            bias[score] = machine.intercept_[0]
        return dual, bias


@dataclass(frozen=True, eq=False)
class NeighbourFitter:
    """Nearest training bags by cosine, weighted by the inverse of their distance."""

    columns: Columns
    rows: IntArray
    problem: Problem

    def settings(self) -> Sequence[Setting]:
        """See `Fitter`; at most half of the bags, most of which an inner fold has."""
        most = max(len(self.rows) // 2, 1)
        return [{"n_neighbors": float(k)} for k in NEIGHBOURS if k <= most]

    def scores(self, setting: Setting, train: IntArray, test: IntArray) -> Float64Array:
        """See `Fitter`."""
        likeness = self._likeness[np.ix_(self.rows[test], self.rows[train])]
        count = min(int(setting["n_neighbors"]), len(train))
        nearest = np.argpartition(-likeness, count - 1, axis=1)[:, :count]
        apart = np.maximum(1 - np.take_along_axis(likeness, nearest, axis=1), 1e-9)
        each = self._values()[train][nearest] / apart[..., None]
        mean = each.sum(axis=1) / (1 / apart).sum(axis=1)[:, None]
        if not self.problem.num_classes:
            return np.asarray(mean)
        share = np.clip(mean, LEAST_SHARE, 1 - LEAST_SHARE)
        return np.asarray(np.log(share / (1 - share) if mean.shape[1] == 1 else share))

    def numbers(self, setting: Setting) -> Numbers:
        """See `Fitter`."""
        values = np.full((len(self.columns.z), self.problem.num_scores), UNKNOWN)
        values[self.rows] = self._values()
        neighbours = np.full(self.problem.num_scores, setting["n_neighbors"])
        return {"rows": self.columns.z, "values": values, "neighbours": neighbours}

    @property
    def _likeness(self) -> Float64Array:
        sizes = np.sqrt(np.diag(self.columns.products))
        inverse = np.divide(1, sizes, out=np.zeros_like(sizes), where=sizes > 0)
        return self.columns.products * inverse[:, None] * inverse

    def _values(self) -> Float64Array:
        """(N, S) what neighbours vote with."""
        target = self.problem.target
        if self.problem.num_scores > 1:
            return np.asarray(np.eye(self.problem.num_scores)[target])
        return target.astype(np.float64)[:, None]


def platt(decision: Float64Array, truth: BoolArray) -> tuple[float, float]:
    """Slope and offset that turn decisions into logits (Platt 1999; Lin, Lin and Weng 2007).

    Maximum likelihood of targets drawn in by one bag of each kind, so that decisions without an
    error do not become certain. A slope that would turn the order round, as decisions without
    signal give it, is nearly 0 instead.

    Args:
        decision: (N,), of bags the machine has not seen.
        truth: bool (N,).
    """
    size = max(float(np.abs(decision).max(initial=0)), 1e-12)
    x = decision / size
    positive, negative = int(truth.sum()), int((~truth).sum())
    goal = np.where(truth, (positive + 1) / (positive + 2), 1 / (negative + 2))
    slope, offset = 0.0, float(np.log((positive + 1) / (negative + 1)))
    for _ in range(50):
        share = 1 / (1 + np.exp(-np.clip(slope * x + offset, -50, 50)))
        error, weight = share - goal, np.maximum(share * (1 - share), 1e-12)
        # A ridge so weak that it only steadies the step.
        gradient = np.array([error @ x + 1e-4 * slope, error.sum()])
        across = float(weight @ x)
        curvature = np.array([[weight @ x**2 + 1e-4, across], [across, weight.sum()]])
        step = np.linalg.solve(curvature, gradient)
        step *= min(1.0, 5 / max(float(np.abs(step).max()), 1e-12))
        slope, offset = slope - step[0], offset - step[1]
        if np.abs(step).max() < 1e-10:
            break
    if slope < LEAST_SLOPE:
        slope, offset = LEAST_SLOPE, float(np.log((positive + 1) / (negative + 1)))
    return float(slope / size), float(offset)

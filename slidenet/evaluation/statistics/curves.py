"""ROC and precision-recall curves, with the band the bootstrap by patient gives them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from sklearn.metrics import precision_recall_curve, roc_curve

from slidenet.core.arrays import BoolArray, Float64Array, FloatArray, IntArray
from slidenet.evaluation.predictions.record import Predictions
from slidenet.evaluation.statistics.bootstrap import LEVEL
from slidenet.tasks import ClassTask

CurveKind = Literal["roc", "precision_recall"]

GRID = np.linspace(0, 1, 201)


@dataclass(frozen=True, eq=False)
class Curve:
    """A curve with a pointwise band.

    Attributes:
        x: (P,) false positive rate, or recall.
        y: (P,) true positive rate, or precision.
        band_x: (G,) where the band is known; empty without a band.
        low: (G,) lower edge.
        high: (G,) upper edge.
    """

    x: Float64Array
    y: Float64Array
    band_x: Float64Array
    low: Float64Array
    high: Float64Array


def one_against_rest(predictions: Predictions) -> list[tuple[str, FloatArray, BoolArray, IntArray]]:
    """For each curve of a task its name, scores, truth and patients.

    One curve for "binary", else one per class or label, on the bags whose label is known; none for
    a class that has no bag or every bag.
    """
    task, probabilities = predictions.task, predictions.probabilities
    assert isinstance(task, ClassTask), f"a {task.kind} task has no classes"
    questions = [
        (q.class_name, probabilities[q.rows, q.column], q.truth, predictions.patients[q.rows])
        for q in task.questions(predictions.labels)
    ]
    return [q for q in questions if task.has_positive_class or 0 < int(q[2].sum()) < len(q[2])]


def discrimination_curve(
    kind: CurveKind,
    score: FloatArray,
    positive: BoolArray,
    patients: IntArray,
    *,
    num_resamples: int = 1000,
    seed: int = 0,
) -> Curve:
    """How well scores tell positive bags from negative ones, at every cut-off.

    The band of "roc" is of the true positive rate at each false positive rate. "precision_recall"
    is the steps whose area is the average precision, its band of the precision at each recall.

    Args:
        kind: "roc" or "precision_recall".
        score: (N,) higher = more likely positive.
        positive: bool (N,), of both classes.
        patients: int64 (N,).
        num_resamples: Resamples of the band; 0 for none.
        seed: Seed of the draws.
    """
    grid = GRID if kind == "roc" else GRID[1:]
    if kind == "roc":
        x, y, _ = roc_curve(positive, score, drop_intermediate=False)
    else:
        precision, recall, _ = precision_recall_curve(positive, score)
        x, y = recall[::-1], precision[::-1]
    samples: list[FloatArray] = []
    for hits, false_alarms in _resampled_counts(score, positive, patients, num_resamples, seed):
        if kind == "roc":
            samples.append(np.interp(grid, false_alarms / false_alarms[-1], hits / hits[-1]))
        else:
            # The step at a recall belongs to the first point that reaches it.
            reached = np.searchsorted(hits / hits[-1], grid, side="left")
            samples.append(hits[reached] / (hits[reached] + false_alarms[reached]))
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if not samples:
        return Curve(x, y, *(np.empty(0) for _ in range(3)))
    tails = [100 * (1 - LEVEL) / 2, 100 * (1 + LEVEL) / 2]
    low, high = np.percentile(np.stack(samples), tails, axis=0)
    return Curve(x, y, grid, low, high)


def _resampled_counts(
    score: FloatArray, positive: BoolArray, patients: IntArray, num_resamples: int, seed: int
) -> Iterator[tuple[Float64Array, Float64Array]]:
    """Positives and negatives called positive as the cut-off falls, from none to all.

    One pair for each resample of patients that holds both classes. Rows are sorted once; a resample
    only changes how often each counts.
    """
    order = np.argsort(-score, kind="stable")
    last_of_tie = np.append(np.diff(score[order]) != 0, True)
    truth = positive[order]
    numbers = np.unique(patients, return_inverse=True)[1][order]
    count = int(numbers.max()) + 1
    rng = np.random.default_rng(seed)
    for _ in range(num_resamples):
        times = np.bincount(rng.integers(0, count, count), minlength=count)[numbers]
        hits, false_alarms = (
            np.append(0.0, np.cumsum(times * which)[last_of_tie]) for which in (truth, ~truth)
        )
        if hits[-1] and false_alarms[-1]:
            yield hits, false_alarms

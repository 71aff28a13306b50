"""Split-conformal prediction sets: sets of classes that hold the true one with a stated chance.

Two scores: LAC, one minus the probability of the class (Sadinle, Lei and Wasserman 2019), which
gives the smallest sets; and APS, the probability gathered from the most likely class down to the
class in question (Romano, Sesia and Candes 2020), which covers hard bags more evenly. With
`class_conditional` every class has its own threshold, so that each class is covered, not only the
average bag (Vovk 2012). The guarantee is for new bags drawn as the calibration bags were.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from slidenet.core.arrays import BoolArray, Float64Array, FloatArray, IntArray
from slidenet.core.checks import check_share
from slidenet.core.errors import ConfigError, PredictionsError
from slidenet.evaluation.predictions.record import Predictions
from slidenet.evaluation.statistics.bootstrap import Interval
from slidenet.evaluation.statistics.proportions import proportion_interval

ConformalMethod = Literal["lac", "aps"]


@dataclass(frozen=True, eq=False)
class ConformalPredictor:
    """Calibrated thresholds.

    Attributes:
        method: "lac" or "aps".
        alpha: Share of bags whose set may miss the true class.
        thresholds: (K,); a class is in the set where its score is at most this. Infinite where the
            calibration bags are too few to promise anything less than the full set.
    """

    method: ConformalMethod
    alpha: float
    thresholds: Float64Array

    def predict_sets(self, probabilities: FloatArray, uniform: FloatArray) -> BoolArray:
        """Which classes are in the set of each bag.

        Args:
            probabilities: (N, K).
            uniform: (N,) numbers drawn uniformly from [0, 1), used by "aps" only.

        Returns:
            bool (N, K).
        """
        inside: BoolArray = class_scores(probabilities, uniform, self.method) <= self.thresholds
        return inside


@dataclass(frozen=True, eq=False)
class ConformalSets:
    """Prediction sets of the bags that did not calibrate them.

    Attributes:
        predictor: The thresholds they follow from.
        rows: int64 (M,), which rows of the predictions.
        sets: bool (M, K).
        coverage: Share of sets that hold the true class, with its interval.
        class_coverage: The same for the bags of each class.
        num_calibration: Bags that calibrated.
        num_calibration_patients: Their patients.
    """

    predictor: ConformalPredictor
    rows: IntArray
    sets: BoolArray
    coverage: Interval
    class_coverage: tuple[Interval, ...]
    num_calibration: int
    num_calibration_patients: int

    @property
    def sizes(self) -> IntArray:
        """Classes in each set."""
        sizes: IntArray = self.sets.sum(axis=1)
        return sizes


def conformal_quantile(scores: FloatArray, alpha: float) -> float:
    """The ceil((n + 1)(1 - alpha))-th smallest score; infinite where n is too small for it."""
    rank = int(np.ceil((len(scores) + 1) * (1 - alpha) - 1e-9))
    return float(np.sort(scores)[rank - 1]) if rank <= len(scores) else float("inf")


def class_scores(
    probabilities: FloatArray, uniform: FloatArray, method: ConformalMethod
) -> Float64Array:
    """How badly each class fits each bag, (N, K); small fits.

    Args:
        probabilities: (N, K).
        uniform: (N,) in [0, 1): the share of a class's own probability that "aps" counts, which
            makes its coverage exact instead of too high.
        method: "lac" or "aps".
    """
    if method == "lac":
        return np.asarray(1 - probabilities, dtype=np.float64)
    order = np.argsort(-probabilities, axis=1, kind="stable")
    ordered = np.take_along_axis(probabilities, order, axis=1)
    before = np.cumsum(ordered, axis=1) - ordered
    scores = np.empty(probabilities.shape)
    np.put_along_axis(scores, order, before + uniform[:, None] * ordered, axis=1)
    return scores


def fit_conformal(
    probabilities: FloatArray,
    targets: IntArray,
    uniform: FloatArray,
    *,
    alpha: float = 0.1,
    method: ConformalMethod = "lac",
    class_conditional: bool = False,
) -> ConformalPredictor:
    """Calibrates on bags the model was not trained on.

    Args:
        probabilities: (N, K).
        targets: int64 (N,).
        uniform: (N,) in [0, 1), used by "aps" only.
        alpha: Share of bags whose set may miss the true class.
        method: "lac" or "aps".
        class_conditional: One threshold per class, from the bags of that class.

    Raises:
        ConfigError: `alpha` is not between 0 and 1.
    """
    check_share(above_zero=True, below_one=True, alpha=alpha)
    num_classes = probabilities.shape[1]
    scores = class_scores(probabilities, uniform, method)[np.arange(len(targets)), targets]
    if class_conditional:
        each = [conformal_quantile(scores[targets == k], alpha) for k in range(num_classes)]
    else:
        each = [conformal_quantile(scores, alpha)] * num_classes
    return ConformalPredictor(method, alpha, np.array(each))


def split_conformal(
    predictions: Predictions,
    *,
    alpha: float = 0.1,
    method: ConformalMethod = "lac",
    class_conditional: bool = False,
    calibration_fraction: float = 0.5,
    seed: int = 0,
) -> ConformalSets:
    """Calibrates on some patients and makes the sets of the others.

    Args:
        predictions: Labelled predictions the model was not trained on, of exclusive classes.
        alpha: Share of bags whose set may miss the true class.
        method: "lac" or "aps".
        class_conditional: One threshold per class.
        calibration_fraction: Share of the patients used to calibrate.
        seed: Decides which patients, and the draws of "aps".

    Raises:
        ConfigError: `alpha` or the fraction is not between 0 and 1, or classes do not exclude each
            other.
        PredictionsError: Fewer than two patients.
    """
    task, targets = predictions.task, predictions.labels
    if not task.exclusive_classes:
        raise ConfigError(
            f"prediction sets for a {task.kind} task",
            expected="a task whose classes exclude each other",
        )
    check_share(above_zero=True, below_one=True, calibration_fraction=calibration_fraction)
    rng = np.random.default_rng(seed)
    numbers = np.unique(predictions.patients, return_inverse=True)[1]
    count = int(numbers.max()) + 1
    if count < 2:
        raise PredictionsError(f"{count} patient", expected="two at least, to calibrate on one")
    num_calibration = min(count - 1, max(1, round(calibration_fraction * count)))
    chosen = np.zeros(count, dtype=np.bool_)
    chosen[rng.permutation(count)[:num_calibration]] = True
    calibrating = chosen[numbers]
    uniform = rng.random(len(predictions))
    predictor = fit_conformal(
        predictions.probabilities[calibrating],
        targets[calibrating],
        uniform[calibrating],
        alpha=alpha,
        method=method,
        class_conditional=class_conditional,
    )
    rows = np.flatnonzero(~calibrating)
    sets = predictor.predict_sets(predictions.probabilities[rows], uniform[rows])
    held, truth = sets[np.arange(len(rows)), targets[rows]], targets[rows]
    patients = predictions.patients[rows]
    return ConformalSets(
        predictor,
        rows,
        sets,
        proportion_interval(held, patients),
        tuple(
            proportion_interval(held[truth == k], patients[truth == k])
            for k in range(task.num_classes)
        ),
        int(calibrating.sum()),
        num_calibration,
    )

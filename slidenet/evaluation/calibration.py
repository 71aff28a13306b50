"""Are probabilities what they say? Reliability curves, and temperature scaling (Guo et al. 2017).

A temperature is fitted on bags the model was not trained on, and judged on bags it was not fitted
on: each fold's on the other folds.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from slidenet.core.arrays import Float64Array, FloatArray, IntArray
from slidenet.core.errors import PredictionsError
from slidenet.evaluation.predictions.record import Predictions
from slidenet.evaluation.statistics.proportions import proportion_interval
from slidenet.metrics.classification import NUM_BINS
from slidenet.tasks import ClassTask, Task
from slidenet.tasks.classes import Forecasts

LEAST_PROBABILITY = 1e-7
"""Below this a float32 probability says no more than that it is small."""

TEMPERATURE_RANGE = (0.05, 20.0)
NUM_GROUPS = 5


@dataclass(frozen=True, eq=False)
class ReliabilityCurve:
    """Confidence against frequency, for each bin that holds a bag.

    Attributes:
        confidence: (B,) mean confidence.
        frequency: (B,) share of bags for which it was right.
        low: (B,) lower end of the interval of `frequency`.
        high: (B,) upper end.
        count: int64 (B,) bags.
        what: What the confidence is of, for the axis.
    """

    confidence: Float64Array
    frequency: Float64Array
    low: Float64Array
    high: Float64Array
    count: IntArray
    what: str


@dataclass(frozen=True, eq=False)
class TemperatureScaling:
    """Predictions after temperature scaling, never fitted on the bags they are about.

    Attributes:
        predictions: With the scaled probabilities.
        temperatures: One, or one per group of bags; above 1 the model was too sure.
        fitted_on: Which bags, for a report.
    """

    predictions: Predictions
    temperatures: tuple[float, ...]
    fitted_on: str


def reliability_curve(predictions: Predictions, num_bins: int = NUM_BINS) -> ReliabilityCurve:
    """The curve whose mean distance from the diagonal is the metric `ece`.

    Args:
        predictions: Labelled predictions of a classification task.
        num_bins: Equal-width bins of [0, 1], as in `expected_calibration_error`.
    """
    forecasts = forecasts_of(predictions)
    confidence, right = forecasts.confidence, forecasts.outcome
    patients = predictions.patients[forecasts.rows]
    bins = np.searchsorted(np.linspace(0, 1, num_bins + 1)[1:-1], confidence)
    present = np.unique(bins)
    members = [bins == number for number in present]
    shares = [proportion_interval(right[m], patients[m]) for m in members]
    return ReliabilityCurve(
        np.array([confidence[m].mean() for m in members]),
        np.array([share.value for share in shares]),
        np.array([share.low for share in shares]),
        np.array([share.high for share in shares]),
        np.array([m.sum() for m in members], dtype=np.int64),
        forecasts.words,
    )


def forecasts_of(predictions: Predictions) -> Forecasts:
    """How sure the model was of each bag, and whether it was right.

    Args:
        predictions: Labelled predictions of a classification task.
    """
    task = predictions.task
    assert isinstance(task, ClassTask), f"a {task.kind} task has no classes to be sure of"
    return task.forecasts(predictions.predicted, predictions.labels)


def apply_temperature(task: Task, probabilities: FloatArray, temperature: float) -> FloatArray:
    """Probabilities of the same logits divided by `temperature`.

    Args:
        task: Says whether classes exclude each other (softmax) or not (sigmoid).
        probabilities: (N, C).
        temperature: Above 0; above 1 makes the model less sure. The order of bags does not change
            for "binary" and "multilabel".
    """
    clipped = np.clip(probabilities, LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
    power = 1 / temperature
    logits = power * np.log(clipped)
    if task.exclusive_classes:
        return np.asarray(np.exp(logits - logsumexp(logits, axis=1, keepdims=True)))
    return np.asarray(np.exp(logits - np.logaddexp(logits, power * np.log1p(-clipped))))


def log_loss(task: Task, probabilities: FloatArray, targets: npt.NDArray[Any]) -> float:
    """Mean negative log likelihood of the truth, over bags or known labels."""
    clipped = np.clip(probabilities, LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
    if not task.exclusive_classes:
        known = ~np.isnan(targets)
        truth, given = targets[known], clipped[known]
        return float(-np.mean(np.where(truth == 1, np.log(given), np.log1p(-given))))
    return float(-np.mean(np.log(clipped[np.arange(len(targets)), targets])))


def fit_temperature(task: Task, probabilities: FloatArray, targets: npt.NDArray[Any]) -> float:
    """The temperature with the least log loss, drawn towards 1 by what one bag would weigh.

    Of a handful of bags the least loss alone is often at an end: bags told apart without an error
    ask for 0, bags of no order for infinity. A standard normal prior on the logarithm holds those
    back, and is not to be seen among hundreds (maximum a posteriori; Guo et al. 2017, section 4.2,
    take the likelihood alone).

    Args:
        task: The classification task.
        probabilities: (N, C) of bags the model was not trained on.
        targets: As `Task` says.

    Returns:
        Between 0.05 and 20.

    Raises:
        PredictionsError: No bags.
    """
    if len(targets) == 0:
        raise PredictionsError("a temperature from no bags", expected="at least one")

    def loss(log_temperature: float) -> float:
        scaled = apply_temperature(task, probabilities, float(np.exp(log_temperature)))
        return log_loss(task, scaled, targets) + log_temperature**2 / (2 * known)

    known = len(targets) if task.exclusive_classes else int((~np.isnan(targets)).sum())
    bounds = np.log(TEMPERATURE_RANGE)
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))


def held_out_groups(
    predictions: Predictions, *, num_groups: int = NUM_GROUPS, seed: int = 0
) -> tuple[IntArray, str]:
    """Numbers a group for each row so that no patient is in two.

    The folds of the cross-validation where each patient is in one only; otherwise patients are
    dealt into groups, class by class.

    Args:
        predictions: Labelled predictions.
        num_groups: Groups, where they are not the folds.
        seed: Decides who is dealt where.

    Returns:
        int64 (N,) and what the groups are, for a report.

    Raises:
        PredictionsError: Fewer than two patients.
    """
    patients = np.unique(predictions.patients, return_inverse=True)[1]
    folds = predictions.folds
    if folds is not None and len(np.unique(folds)) > 1:
        pairs = np.unique(np.stack([patients, folds]), axis=1)
        if pairs.shape[1] == patients.max() + 1:
            return folds, "folds"
    count = int(patients.max()) + 1
    if count < 2:
        raise PredictionsError(f"{count} patient", expected="two at least, to choose on the others")
    num_groups = min(num_groups, count)
    stratum = np.zeros(count)
    if predictions.task.exclusive_classes:
        np.maximum.at(stratum, patients, predictions.labels)
    shuffled = np.random.default_rng(seed).permutation(count)
    dealt = shuffled[np.argsort(stratum[shuffled], kind="stable")]
    group = np.empty(count, dtype=np.int64)
    group[dealt] = np.arange(count) % num_groups
    return group[patients], f"{num_groups} groups of patients"


def cross_fitted_temperature(predictions: Predictions, *, seed: int = 0) -> TemperatureScaling:
    """Scales each group of bags by the temperature fitted on the other groups.

    Args:
        predictions: Labelled predictions of a classification task.
        seed: Deals patients into groups where the folds cannot serve.

    Raises:
        PredictionsError: Fewer than two patients.
    """
    task, targets = predictions.task, predictions.labels
    groups, group_name = held_out_groups(predictions, seed=seed)
    probabilities = predictions.probabilities
    scaled = np.empty_like(probabilities)
    temperatures = []
    for group in np.unique(groups):
        inside = groups == group
        temperature = fit_temperature(task, probabilities[~inside], targets[~inside])
        scaled[inside] = apply_temperature(task, probabilities[inside], temperature)
        temperatures.append(temperature)
    return TemperatureScaling(
        _with_probabilities(predictions, scaled), tuple(temperatures), f"the other {group_name}"
    )


def temperature_of_validation(
    predictions: Predictions, validation: Predictions
) -> TemperatureScaling:
    """Scales all bags by the temperature fitted on bags kept apart for validation."""
    task = predictions.task
    temperature = fit_temperature(task, validation.probabilities, validation.labels)
    scaled = apply_temperature(task, predictions.probabilities, temperature)
    return TemperatureScaling(
        _with_probabilities(predictions, scaled),
        (temperature,),
        f"{len(validation)} validation bags",
    )


def _with_probabilities(predictions: Predictions, probabilities: FloatArray) -> Predictions:
    predicted = replace(predictions.predicted, probabilities=probabilities)
    return replace(predictions, predicted=predicted)

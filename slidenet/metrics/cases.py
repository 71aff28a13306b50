"""Bags with prediction and truth, as the arrays that metrics take: a class per type of target.

What several metrics need (the confusion matrix, the predicted class) is computed once. N bags, K
classes or labels, T times.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from slidenet.core.arrays import BoolArray, FloatArray, IntArray
from slidenet.metrics.classification import confusion_matrix
from slidenet.metrics.metric import Metric, TargetType

DEFAULT_THRESHOLD = 0.5


class Cases:
    """Base of all types; `Metric.inputs` are names of their attributes."""

    target_type: ClassVar[TargetType]

    def measure(self, metric: Metric) -> tuple[float, list[float]]:
        """The value of a metric of this type, and its value for each class where it has one."""
        return metric(self), []


@dataclass(frozen=True, eq=False)
class BinaryCases(Cases):
    """Yes or no.

    Attributes:
        probabilities: (N,) of the positive class, float64.
        target: bool (N,), whether the bag is positive.
        threshold: From which probability on a bag is called positive.
    """

    target_type: ClassVar[TargetType] = "binary"
    probabilities: FloatArray
    target: BoolArray
    threshold: float = DEFAULT_THRESHOLD

    @property
    def confidence(self) -> FloatArray:
        """(N,), what is forecast: the probability of the positive class."""
        return self.probabilities

    @property
    def correct(self) -> BoolArray:
        """Bool (N,), whether what is forecast came true."""
        return self.target

    @cached_property
    def confusion(self) -> IntArray:
        """(2, 2) counts: rows the truth, columns what is called."""
        return confusion_matrix(self.target, self.probabilities >= self.threshold, 2)


@dataclass(frozen=True, eq=False)
class ClassCases(Cases):
    """One class of several; the one of the highest probability is predicted.

    Attributes:
        probabilities: (N, K), float64.
        target: (N,), the true class.
    """

    target_type: ClassVar[TargetType] = "multiclass"
    probabilities: FloatArray
    target: npt.NDArray[Any]

    @cached_property
    def predicted(self) -> IntArray:
        """int64 (N,), the predicted class."""
        predicted: IntArray = self.probabilities.argmax(1)
        return predicted

    @property
    def confidence(self) -> FloatArray:
        """(N,), the probability of the predicted class."""
        highest: FloatArray = self.probabilities.max(1, initial=0)
        return highest

    @property
    def correct(self) -> BoolArray:
        """Bool (N,), whether the predicted class is the true one."""
        right: BoolArray = self.predicted == self.target
        return right

    @cached_property
    def confusion(self) -> IntArray:
        """(K, K) counts: rows the true class, columns the predicted one."""
        return confusion_matrix(self.target, self.predicted, self.probabilities.shape[1])

    def measure(self, metric: Metric) -> tuple[float, list[float]]:
        """See `Cases.measure`; a metric of one class against the rest is the mean over classes."""
        if not metric.by_class:
            return metric(self), []
        columns = enumerate(self.probabilities.T)
        each = [metric(BinaryCases(column, self.target == k)) for k, column in columns]
        return float(np.mean(each)), each


@dataclass(frozen=True, eq=False)
class LabelCases(Cases):
    """Several yes or no; every metric is the mean over labels.

    Attributes:
        labels: The bags on which each label is known, K.
    """

    target_type: ClassVar[TargetType] = "multilabel"
    labels: Sequence[BinaryCases]

    def measure(self, metric: Metric) -> tuple[float, list[float]]:
        """See `Cases.measure`."""
        each = [metric.of_label(label) for label in self.labels]
        return float(np.mean(each)), each if metric.by_class else []


@dataclass(frozen=True, eq=False)
class ValueCases(Cases):
    """A number.

    Attributes:
        value: (N,) predicted, float64.
        target: (N,) true, float64.
    """

    target_type: ClassVar[TargetType] = "continuous"
    value: FloatArray
    target: FloatArray


@dataclass(frozen=True, eq=False)
class RiskCases(Cases):
    """A time that may be censored, of which a risk is predicted.

    Attributes:
        risk: (N,), higher = earlier event.
        target: (N, 2), (time, event).
    """

    target_type: ClassVar[TargetType] = "censored"
    risk: FloatArray
    target: npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class SurvivalCases(RiskCases):
    """A time that may be censored, of which a survival curve is predicted too.

    Attributes:
        survival: (N, T), P(time > times[t]).
        times: The T times, ascending.
    """

    target_type: ClassVar[TargetType] = "censored, with curves"
    survival: FloatArray
    times: tuple[float, ...]

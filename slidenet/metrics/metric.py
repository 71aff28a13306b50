"""`Metric`: a number that says how good predictions are, and the `Cases` it is computed from.

Names, words, direction, monitors and tables derive from the records. To add a metric, write its
function and its record in the file of its family, and a test.

Cases are bags with prediction and truth, as the arrays that metrics take: a class per type of
target. What several metrics need (the confusion matrix, the predicted class) is computed once. N
bags, K classes or labels, T times.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from slidenet.core.arrays import BoolArray, FloatArray, IntArray

DEFAULT_THRESHOLD = 0.5

TargetType = Literal[
    "binary", "multiclass", "multilabel", "continuous", "censored", "censored, with curves"
]
"""What is predicted of a bag: yes or no, one class of several, several yes or no, a value, a risk,
a survival curve."""


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name: In files, logs and settings.
        words: In reports.
        function: Arrays to a number. NaN means "not defined on these bags" and nothing else.
        inputs: Attributes of the `Cases` that the function takes, in order of its arguments.
        target_types: Of what it is a metric.
        lower_is_better: Whether a smaller value is better.
        of_order: Whether only the order of the bags counts, not the scale of their scores.
        by_class: Whether it is of one class against the rest: "multiclass" and "multilabel" report
            it for each class too, as `<name>_<class>`, and `name` is the mean over classes.
        label_function: Taken in place of `function` for each label of "multilabel".
    """

    name: str
    words: str
    function: Callable[..., float]
    inputs: tuple[str, ...]
    target_types: tuple[TargetType, ...]
    lower_is_better: bool = False
    of_order: bool = False
    by_class: bool = False
    label_function: Callable[..., float] | None = None

    def __call__(self, cases: "Cases", *, of_label: bool = False) -> float:
        """The value on cases of one of `target_types`, or of one label of "multilabel"."""
        function = (self.label_function if of_label else None) or self.function
        return function(*(getattr(cases, name) for name in self.inputs))


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
        each = [metric(label, of_label=True) for label in self.labels]
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


def confusion_matrix(
    target: npt.NDArray[Any], predicted: npt.NDArray[Any], num_classes: int
) -> IntArray:
    """Counts (K, K): rows the true class, columns the predicted one."""
    flat = target.astype(np.int64) * num_classes + predicted.astype(np.int64)
    return np.bincount(flat, minlength=num_classes**2).reshape(num_classes, num_classes)

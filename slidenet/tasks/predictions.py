"""`PredictionArrays`: what a model predicts of some bags, from the network to files and figures."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from slidenet.core.arrays import FloatArray

PROBABILITIES = ("probabilities", "survival")
"""The arrays whose numbers lie in [0, 1]."""

VALUE_COLUMN, RISK_COLUMN = "predicted", "risk"
PROBABILITY_PREFIX, SURVIVAL_PREFIX = "prob_", "survival_"
"""Columns of files: `prob_<class>`, `predicted`, `risk`, `survival_<time>`."""

BAG_COLUMN, PATIENT_COLUMN, FOLD_COLUMN = "bag_id", "patient_id", "fold"
CALLED_COLUMN = "called"

DISAGREEMENT_COLUMN, DISTANCE_COLUMN = "disagreement", "distance_percentile"
UNREADABLE_COLUMN = "unreadable_tiles"
INTERVAL_COLUMNS = ("interval_low", "interval_high")
SET_PREFIX = "in_set_"
"""What else `slidenet predict` says of a bag, after all the rest; see `docs/ensembles.md`."""
"""Columns that say of what the predictions are, and what is decided."""


@dataclass(frozen=True, eq=False)
class PredictionArrays:
    """Predictions of B bags; what a task does not predict is None.

    Attributes:
        probabilities: (B, K). "binary" has two columns that sum to one; "multilabel" one
            independent probability per label.
        value: (B,), for "regression".
        risk: (B,), higher = earlier event, for survival.
        survival: (B, T), P(time > survival_times[t]), for survival.
        survival_times: The T times, ascending, in the unit of the time column.
    """

    probabilities: FloatArray | None = None
    value: FloatArray | None = None
    risk: FloatArray | None = None
    survival: FloatArray | None = None
    survival_times: tuple[float, ...] = ()

    @property
    def arrays(self) -> dict[str, FloatArray]:
        """The arrays that are there, by name; their first axis is the bags."""
        found = {name: getattr(self, name) for name in ARRAYS}
        return {name: array for name, array in found.items() if array is not None}

    @property
    def is_finite(self) -> bool:
        """Whether no number is NaN or infinite."""
        return all(bool(np.isfinite(array).all()) for array in self.arrays.values())

    def apply(self, function: Callable[[FloatArray], FloatArray]) -> "PredictionArrays":
        """The same with every array passed through `function`."""
        changed: dict[str, Any] = {name: function(array) for name, array in self.arrays.items()}
        return replace(self, **changed)

    def to(self, device: object) -> "PredictionArrays":
        """Itself, as arrays are on the CPU; `Trainer.predict` calls this."""
        return self

    def take(self, index: npt.NDArray[Any]) -> "PredictionArrays":
        """The predictions of some bags, by index or bool; for resampling and folds."""
        return self.apply(lambda array: array[index])

    def columns(self, class_names: Sequence[str]) -> dict[str, FloatArray]:
        """The arrays as the columns of a file: name to (B,).

        Args:
            class_names: The K classes or labels of the probabilities.
        """
        columns: dict[str, FloatArray] = {}
        if self.probabilities is not None:
            names = [PROBABILITY_PREFIX + name for name in class_names]
            columns |= zip(names, self.probabilities.T, strict=True)
        if self.value is not None:
            columns[VALUE_COLUMN] = self.value
        if self.risk is not None:
            columns[RISK_COLUMN] = self.risk
        if self.survival is not None:
            names = [SURVIVAL_PREFIX + number_text(time) for time in self.survival_times]
            columns |= zip(names, self.survival.T, strict=True)
        return columns

    @staticmethod
    def concatenate(parts: Iterable["PredictionArrays"]) -> "PredictionArrays":
        """Predictions of several groups of bags, at least one, one after the other."""
        return PredictionArrays.combine(parts, np.concatenate)

    @staticmethod
    def combine(
        parts: Iterable["PredictionArrays"],
        function: Callable[[Sequence[FloatArray]], FloatArray],
    ) -> "PredictionArrays":
        """Each array of several predictions made one, such as their mean.

        Args:
            parts: Of one task, at least one.
            function: The arrays of one name to the array they make.
        """
        listed: Sequence[PredictionArrays] = list(parts)
        return listed[0]._combined(listed, function)

    def _combined(
        self,
        listed: Sequence["PredictionArrays"],
        function: Callable[[Sequence[FloatArray]], FloatArray],
    ) -> "PredictionArrays":
        joined: dict[str, Any] = {
            name: function([part.arrays[name] for part in listed]) for name in self.arrays
        }
        return replace(self, **joined)


ARRAYS = tuple(f.name for f in fields(PredictionArrays) if f.name != "survival_times")
"""Names of the arrays, in order."""


@dataclass(frozen=True, eq=False)
class JointPredictions(PredictionArrays):
    """Predictions of several targets of B bags (`slidenet.tasks.multitask`).

    Attributes:
        by_target: Those of each target.
    """

    by_target: Mapping[str, PredictionArrays] = field(default_factory=dict)

    @property
    def arrays(self) -> dict[str, FloatArray]:
        """The arrays of every target, as `<target>/<array>`."""
        return {
            f"{target}/{name}": array
            for target, of_target in self.by_target.items()
            for name, array in of_target.arrays.items()
        }

    def apply(self, function: Callable[[FloatArray], FloatArray]) -> "JointPredictions":
        """The same with every array passed through `function`."""
        return JointPredictions(
            by_target={name: one.apply(function) for name, one in self.by_target.items()}
        )

    def _combined(
        self,
        listed: Sequence[PredictionArrays],
        function: Callable[[Sequence[FloatArray]], FloatArray],
    ) -> "JointPredictions":
        others = [other for other in listed if isinstance(other, JointPredictions)]
        assert len(others) == len(listed), "all of several targets, or none"
        return JointPredictions(
            by_target={
                name: one._combined([other.by_target[name] for other in others], function)
                for name, one in self.by_target.items()
            }
        )


def to_array(tensor: Tensor) -> FloatArray:
    """A tensor as an array on the CPU."""
    array: FloatArray = np.asarray(tensor.detach().cpu().numpy())
    return array


def is_remark(name: str) -> bool:
    """Whether a column is one of those that `slidenet predict` adds beside its predictions."""
    known = (DISAGREEMENT_COLUMN, DISTANCE_COLUMN, UNREADABLE_COLUMN, *INTERVAL_COLUMNS)
    return name in known or name.startswith(SET_PREFIX)


def taken_column(label_columns: Iterable[str], output: str) -> str | None:
    """The first label column whose name files of predictions need for themselves.

    Args:
        label_columns: Of a task.
        output: Of its class: "probabilities", "value" or "risk".
    """
    taken = {BAG_COLUMN, PATIENT_COLUMN, FOLD_COLUMN, CALLED_COLUMN}
    taken |= {"value": {VALUE_COLUMN}, "risk": {RISK_COLUMN}}.get(output, set())
    prefix = {"probabilities": PROBABILITY_PREFIX, "risk": SURVIVAL_PREFIX}.get(output)
    for name in label_columns:
        if name in taken or is_remark(name) or (prefix is not None and name.startswith(prefix)):
            return name
    return None


def number_text(value: Any) -> str:
    """The shortest text that reads back as the same number of its precision: 0.1, 12, 1e-07."""
    return str(value).removesuffix(".0")

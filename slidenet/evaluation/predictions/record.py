"""Predictions of a model on labelled bags, as one frozen record."""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from slidenet.core.arrays import FloatArray, IntArray
from slidenet.core.errors import PredictionsError
from slidenet.evaluation.predictions.faults import find_fault, target_fault
from slidenet.tasks.prediction import PredictionArrays
from slidenet.tasks.task import Task

SUM_TOLERANCE = 0.01
"""How far probabilities may be from adding up to 1; tables of others are rounded to two digits."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a model said about N bags, with the truth where it is known.

    Attributes:
        task: The task; says what shapes the arrays have.
        bag_ids: slide_id, or patient_id where a bag is a patient. A bag may come again in another
            fold (repeated cross-validation), never twice in one.
        patient_ids: The patient of each bag; None where unknown, and then the bag counts as a
            patient of its own.
        targets: As `Task` says; None for unlabelled bags.
        predicted: Arrays of N bags: (N, C) probabilities (rows of classes that exclude each other
            sum to one), or the value, or the risk with or without survival curves.
        folds: int64 (N,), which model of a cross-validation said so; None for a single model.

    Raises:
        PredictionsError: Arrays of the wrong shape, not finite, or outside their range; a bag twice
            in one fold.
    """

    task: Task
    bag_ids: tuple[str, ...]
    patient_ids: tuple[str | None, ...]
    targets: npt.NDArray[Any] | None
    predicted: PredictionArrays
    folds: IntArray | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "bag_ids", tuple(self.bag_ids))
        object.__setattr__(self, "patient_ids", tuple(p or None for p in self.patient_ids))
        if self.folds is not None:
            object.__setattr__(self, "folds", np.asarray(self.folds, dtype=np.int64))
        self._check_shapes()
        self._check_bags()
        self._check_targets()
        self._check_numbers()
        self._check_sums()

    def __len__(self) -> int:
        return len(self.bag_ids)

    @property
    def labels(self) -> npt.NDArray[Any]:
        """The targets, of labelled bags.

        Raises:
            PredictionsError: There are none.
        """
        if self.targets is None:
            raise PredictionsError("the predictions have no labels", remedy="add their column")
        return self.targets

    @property
    def probabilities(self) -> FloatArray:
        """(N, C) float64, of a classification task."""
        assert self.predicted.probabilities is not None, f"{self.task.kind} has no probabilities"
        return self.predicted.probabilities.astype(np.float64)

    @property
    def risk(self) -> FloatArray:
        """(N,) float64, of a survival task."""
        assert self.predicted.risk is not None, f"{self.task.kind} has no risk"
        return self.predicted.risk.astype(np.float64)

    @cached_property
    def patients(self) -> IntArray:
        """int64 (N,), the same number for bags of one patient, counted by first appearance."""
        keys = [
            ("patient", patient) if patient else ("bag", bag)
            for bag, patient in zip(self.bag_ids, self.patient_ids, strict=True)
        ]
        numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
        return np.array([numbers[key] for key in keys], dtype=np.int64)

    @property
    def num_bags(self) -> int:
        """Different bags; rows of repeated cross-validation count once."""
        return len(set(self.bag_ids))

    @property
    def num_patients(self) -> int:
        """Different patients; a bag without one counts as its own."""
        return len(np.unique(self.patients))

    @property
    def one_row_per_patient(self) -> bool:
        """Whether rows are independent: one bag per patient, predicted once."""
        return self.num_patients == len(self)

    def take(self, rows: npt.NDArray[Any]) -> "Predictions":
        """The predictions of some rows, by index or bool mask, in that order."""
        index = np.arange(len(self))[rows]
        return Predictions(
            self.task,
            tuple(self.bag_ids[i] for i in index),
            tuple(self.patient_ids[i] for i in index),
            None if self.targets is None else self.targets[index],
            self.predicted.take(index),
            None if self.folds is None else self.folds[index],
        )

    def _check_shapes(self) -> None:
        count, task, given = len(self.bag_ids), self.task, self.predicted
        wide = {"multilabel": (count, task.num_classes), "cox": (count, 2)}
        wide["discrete_time"] = (count, 2)
        curves = task.kind == "discrete_time" or (task.kind == "cox" and given.survival is not None)
        times = task.time_edges if task.kind == "discrete_time" else given.survival_times
        wanted: dict[str, tuple[Any, tuple[int, ...] | None]] = {
            "patient_ids": (self.patient_ids, (count,)),
            "targets": (self.targets, wide.get(task.kind, (count,))),
            "folds": (self.folds, (count,)),
            "probabilities": (
                given.probabilities,
                (count, task.num_classes) if task.is_classification else None,
            ),
            "value": (given.value, (count,) if task.kind == "regression" else None),
            "risk": (given.risk, (count,) if task.is_survival else None),
            "survival": (given.survival, (count, len(times)) if curves else None),
        }
        for name, (array, shape) in wanted.items():
            found = None if array is None else np.shape(array)
            if found != shape and not (name in ("targets", "folds") and found is None):
                raise PredictionsError(
                    f"{name} of {count} bags: {'none' if found is None else f'shape {found}'}",
                    expected=f"{'none' if shape is None else f'shape {shape}'} "
                    f"for a {task.kind} task",
                )

    def _check_bags(self) -> None:
        folds = [0] * len(self) if self.folds is None else self.folds.tolist()
        for (bag, fold), times in Counter(zip(self.bag_ids, folds, strict=True)).items():
            if times > 1:
                where = "" if self.folds is None else f" in fold {fold}"
                raise PredictionsError(
                    f"bag {bag!r} has {times} predictions{where}", expected="one for each bag"
                )

    def _check_targets(self) -> None:
        fault = None if self.targets is None else target_fault(self.task, self.targets)
        if fault:
            raise PredictionsError(
                f"bag {self.bag_ids[fault.row]!r}: its target is {fault.found}",
                expected=fault.expected,
            )

    def _check_numbers(self) -> None:
        for name in ("probabilities", "value", "risk", "survival"):
            array = getattr(self.predicted, name)
            for column in () if array is None else array.reshape(len(self), -1).T:
                fault = find_fault(column, probability=name in ("probabilities", "survival"))
                if fault:
                    raise PredictionsError(
                        f"bag {self.bag_ids[fault.row]!r}: {name} is {fault.found}",
                        expected=fault.expected,
                    )

    def _check_sums(self) -> None:
        if not self.task.is_classification or self.task.kind == "multilabel" or not len(self):
            return
        sums = self.probabilities.sum(axis=1)
        worst = int(np.abs(sums - 1).argmax())
        if abs(sums[worst] - 1) > SUM_TOLERANCE:
            raise PredictionsError(
                f"bag {self.bag_ids[worst]!r}: its probabilities add up to {sums[worst]:.4g}",
                expected="1",
                remedy="give probabilities, not logits or scores",
            )

"""Predictions of a model on labelled bags, as one frozen record."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from slidenet.core.arrays import FloatArray, IntArray
from slidenet.core.errors import PredictionsError
from slidenet.core.extras import data_frame
from slidenet.tasks import PredictionArrays, Targets, Task
from slidenet.tasks.predictions import (
    ARRAYS,
    BAG_COLUMN,
    CALLED_COLUMN,
    FOLD_COLUMN,
    PATIENT_COLUMN,
    PROBABILITIES,
)

if TYPE_CHECKING:
    import pandas

ONE_PATIENT_PER_FOLD = (
    "Each fold tests one patient, so that bags are ordered across models. A model has seen fewer "
    "patients of the kind of the one left out, and expects it less: models that have learnt "
    "nothing order bags the wrong way round (an AUROC near 0, not 0.5). Where the signal is weak, "
    "take 5 or 10 folds."
)
"""Of leave-one-out (Parker, Guenter and Bedo 2007)."""

SUM_TOLERANCE = 0.01
"""How far probabilities may be from adding up to 1; tables of others are rounded to two digits."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a model predicts of N bags, with the truth where it is known.

    Attributes:
        task: The task; says what shapes the arrays have.
        bag_ids: slide_id, or patient_id where a bag is a patient. A bag may come again in another
            fold (repeated cross-validation), never twice in one.
        patient_ids: The patient of each bag; None where unknown, and then the bag counts as a
            patient of its own.
        targets: As `Task` says; None for unlabelled bags.
        predicted: Arrays of N bags: (N, C) probabilities (rows of classes that exclude each other
            sum to one), or the value, or the risk with or without survival curves.
        folds: int64 (N,), which model of a cross-validation predicted it; None for a single model.

    Raises:
        PredictionsError: Arrays of the wrong shape, not finite, or outside their range; a bag twice
            in one fold.
    """

    task: Task
    bag_ids: tuple[str, ...]
    patient_ids: tuple[str | None, ...]
    targets: Targets | None
    predicted: PredictionArrays
    folds: IntArray | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "bag_ids", tuple(self.bag_ids))
        object.__setattr__(self, "patient_ids", tuple(p or None for p in self.patient_ids))
        if self.folds is not None:
            object.__setattr__(self, "folds", np.asarray(self.folds, dtype=np.int64))
        self._check_shapes()
        folds = [0] * len(self) if self.folds is None else self.folds.tolist()
        for (bag, fold), times in Counter(zip(self.bag_ids, folds, strict=True)).items():
            if times > 1:
                where = "" if self.folds is None else f" in fold {fold}"
                raise PredictionsError(
                    f"bag {bag!r} has {times} predictions{where}", expected="one for each bag"
                )
        self._check_numbers()

    def __len__(self) -> int:
        return len(self.bag_ids)

    @property
    def labels(self) -> Targets:
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

    @property
    def one_patient_per_fold(self) -> bool:
        """Whether every fold tests a single patient (leave-one-out)."""
        if self.folds is None:
            return False
        pairs = np.unique(np.stack([self.folds, self.patients], axis=1), axis=0)
        return 1 < len(np.unique(self.folds)) == len(pairs)

    def columns(
        self, called: Sequence[str] | None = None
    ) -> dict[str, Sequence[Any] | npt.NDArray[Any]]:
        """Everything as columns of N cells, in the order of the file (`write_predictions`).

        Args:
            called: What is decided of each bag (`Task.decide`); the last column.

        Raises:
            PredictionsError: A label column has the name of another column.
        """
        task, targets = self.task, self.targets
        columns: list[tuple[str, Sequence[Any] | npt.NDArray[Any]]] = [
            (BAG_COLUMN, self.bag_ids),
            (PATIENT_COLUMN, self.patient_ids),
        ]
        if self.folds is not None:
            columns.append((FOLD_COLUMN, self.folds))
        if targets is not None:
            columns += task.label_cells(targets).items()
        columns += task.prediction_columns(self.predicted).items()
        if called is not None:
            columns.append((CALLED_COLUMN, called))
        names = [name for name, _ in columns]
        for name in names:
            if names.count(name) > 1:
                raise PredictionsError(
                    f"two columns of the predictions are named {name!r}",
                    remedy="rename the label column in the table of labels",
                )
        return dict(columns)

    def to_pandas(self) -> "pandas.DataFrame":
        """The columns of `write_predictions` as a pandas table, one row per bag.

        Raises:
            MissingExtraError: pandas is not installed.
            PredictionsError: As `columns`.
        """
        columns = self.columns()
        rows = zip(*columns.values(), strict=True)
        return data_frame([dict(zip(columns, row, strict=True)) for row in rows])

    def compute_metrics(self) -> dict[str, float]:
        """Every metric of the task; see `Task.compute_metrics`.

        Raises:
            PredictionsError: There are no labels.
        """
        return self.task.compute_metrics(self.predicted, self.labels)

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

    @staticmethod
    def concatenate(parts: Iterable["Predictions"]) -> "Predictions":
        """Predictions of several groups of bags of one task, at least one group, in order.

        Raises:
            PredictionsError: A bag comes twice.
        """
        listed = list(parts)
        first = listed[0]
        assert all(part.task == first.task for part in listed), "one task"
        with_targets = [part.targets for part in listed if part.targets is not None]
        with_folds = [part.folds for part in listed if part.folds is not None]
        assert {len(with_targets), len(with_folds)} <= {0, len(listed)}, "all or none"
        return Predictions(
            first.task,
            tuple(bag for part in listed for bag in part.bag_ids),
            tuple(patient for part in listed for patient in part.patient_ids),
            np.concatenate(with_targets) if with_targets else None,
            PredictionArrays.concatenate(part.predicted for part in listed),
            np.concatenate(with_folds) if with_folds else None,
        )

    def _check_shapes(self) -> None:
        count, task = len(self.bag_ids), self.task
        arrays: dict[str, Any] = {
            "patient_ids": self.patient_ids,
            "targets": self.targets,
            "folds": self.folds,
            **dict.fromkeys(ARRAYS),
            **self.predicted.arrays,
        }
        wanted: dict[str, tuple[int, ...]] = {
            "patient_ids": (count,),
            "targets": task.target_shape(count),
            "folds": (count,),
            **task.prediction_shapes(count, self.predicted),
        }
        for name, array in arrays.items():
            found = None if array is None else np.shape(array)
            shape = wanted.get(name)
            if found != shape and not (name in ("targets", "folds") and found is None):
                raise PredictionsError(
                    f"{name} of {count} bags: {'none' if found is None else f'shape {found}'}",
                    expected=f"{'none' if shape is None else f'shape {shape}'} "
                    f"for a {task.kind} task",
                )

    def _check_numbers(self) -> None:
        if self.targets is not None:
            good, expected = self.task.check_targets(self.targets)
            if not good.all():
                row = int(np.flatnonzero(~good)[0])
                raise PredictionsError(
                    f"bag {self.bag_ids[row]!r}: its target is {self.targets[row]}",
                    expected=expected,
                )
        for name, array in self.predicted.arrays.items():
            for column in array.reshape(len(self), -1).T:
                fault = find_fault(column, probability=name.rpartition("/")[2] in PROBABILITIES)
                if fault:
                    row, expected = fault
                    raise PredictionsError(
                        f"bag {self.bag_ids[row]!r}: {name} is {column[row]:g}", expected=expected
                    )
        if self.task.exclusive_classes and len(self):
            sums = self.probabilities.sum(axis=1)
            worst = int(np.abs(sums - 1).argmax())
            if abs(sums[worst] - 1) > SUM_TOLERANCE:
                raise PredictionsError(
                    f"bag {self.bag_ids[worst]!r}: its probabilities add up to {sums[worst]:.4g}",
                    expected="1",
                    remedy="give probabilities, not logits or scores",
                )


def find_fault(column: FloatArray, *, probability: bool) -> tuple[int, str] | None:
    """The first number that is not finite or, if a probability, not in [0, 1].

    Args:
        column: (N,).
        probability: Whether the numbers are probabilities.

    Returns:
        Its row, and what was expected there; None where all are good.
    """
    good = np.isfinite(column)
    if probability:
        good &= (column >= 0) & (column <= 1)
    if good.all():
        return None
    expected = "a probability from 0 to 1" if probability else "a finite number"
    return int(np.flatnonzero(~good)[0]), expected

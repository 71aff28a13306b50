"""Predictions of slides averaged to one per patient."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from slidenet.core.arrays import FloatArray
from slidenet.core.errors import PredictionsError
from slidenet.evaluation.predictions.record import Predictions


def average_by_patient(predictions: Predictions) -> Predictions:
    """One prediction per patient (and fold): the mean over the patient's bags.

    Probabilities, values, risks and survival curves are averaged as they are, each bag counting
    the same however many tiles it has. The other way to join the slides of a patient is one bag
    of all their tiles (`read_bags(bag="patient")`).

    Args:
        predictions: Of N bags. A bag without a patient stays as it is.

    Returns:
        Of P patients in order of first appearance, with the patient as bag_id.

    Raises:
        PredictionsError: No bag has a patient; the bags of a patient have different labels; a bag
            without a patient is called as some patient is.
    """
    if not any(predictions.patient_ids):
        raise PredictionsError(
            "the predictions name no patients",
            expected="a column patient_id",
            remedy="fill it, or judge bag by bag",
        )
    folds = [0] * len(predictions) if predictions.folds is None else predictions.folds.tolist()
    members: dict[tuple[int, int], list[int]] = {}
    for row, key in enumerate(zip(predictions.patients.tolist(), folds, strict=True)):
        members.setdefault(key, []).append(row)
    groups = list(members.values())
    first = [rows[0] for rows in groups]
    names = tuple(predictions.patient_ids[row] or predictions.bag_ids[row] for row in first)

    def mean(array: FloatArray) -> FloatArray:
        """In float64, given back in the type that came."""
        means = [array[rows].mean(axis=0, dtype=np.float64) for rows in groups]
        return np.stack(means).astype(array.dtype)

    targets = None
    if predictions.targets is not None:
        targets = np.stack([_common_target(predictions, rows) for rows in groups])
    return Predictions(
        predictions.task,
        names,
        tuple(predictions.patient_ids[row] for row in first),
        targets,
        predictions.predicted.apply(mean),
        None if predictions.folds is None else predictions.folds[first],
    )


def _common_target(predictions: Predictions, rows: Sequence[int]) -> npt.NDArray[Any]:
    """The label of the bags of one patient; a label missing on some bags is that of the others."""
    targets = predictions.labels[rows]
    known = targets[0]
    for row, target in zip(rows, targets, strict=True):
        both = ~(np.isnan(known) | np.isnan(target))
        if not np.array_equal(known[both], target[both]):
            first, second = predictions.bag_ids[rows[0]], predictions.bag_ids[row]
            raise PredictionsError(
                f"bags {first!r} and {second!r} of patient {predictions.patient_ids[row]!r} have "
                "different labels",
                expected="one label per patient",
                remedy="correct the table, or judge bag by bag",
            )
        known = np.where(np.isnan(known), target, known)
    return np.asarray(known, dtype=targets.dtype)

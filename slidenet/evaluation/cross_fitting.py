"""Groups of bags for choices that must not be made on the bags they are judged on."""

import numpy as np

from slidenet.core.arrays import IntArray
from slidenet.core.errors import PredictionsError
from slidenet.evaluation.predictions.record import Predictions

NUM_GROUPS = 5


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
        int64 (N,) and what the groups are, in words.

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
    if predictions.task.is_classification and predictions.task.kind != "multilabel":
        np.maximum.at(stratum, patients, predictions.labels)
    shuffled = np.random.default_rng(seed).permutation(count)
    dealt = shuffled[np.argsort(stratum[shuffled], kind="stable")]
    group = np.empty(count, dtype=np.int64)
    group[dealt] = np.arange(count) % num_groups
    return group[patients], f"{num_groups} groups of patients"

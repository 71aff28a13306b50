"""Averaging bags to patients against a plain loop, for every task."""

from dataclasses import replace

import numpy as np
import pytest

from slidenet.core.errors import PredictionsError
from slidenet.evaluation import Predictions, average_by_patient
from slidenet.tasks import BinaryTask, MultilabelTask, PredictionArrays, RegressionTask

KINDS = ("binary", "multiclass", "ordinal", "multilabel", "regression", "cox", "discrete_time")


def one_label_per_patient(predictions):
    _, first = np.unique(predictions.patients, return_index=True)
    return replace(predictions, targets=predictions.targets[first][predictions.patients])


@pytest.mark.parametrize("folds", [0, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_equals_a_plain_loop(kind, folds, simulate):
    bags = one_label_per_patient(simulate(kind, 40, bags_per_patient=3, folds=folds))
    found = average_by_patient(bags)
    patients = [f"p{i}" for i in range(14)]
    assert found.bag_ids == found.patient_ids == tuple(patients)
    for name in ("probabilities", "value", "risk", "survival"):
        array = getattr(bags.predicted, name)
        if array is None:
            assert getattr(found.predicted, name) is None
            continue
        for position, patient in enumerate(patients):
            mine = [i for i, p in enumerate(bags.patient_ids) if p == patient]
            np.testing.assert_allclose(
                getattr(found.predicted, name)[position], array[mine].mean(axis=0), rtol=1e-6
            )
            np.testing.assert_array_equal(found.targets[position], bags.targets[mine[0]])


def test_a_bag_without_a_patient_stays_and_order_is_that_of_the_file():
    bags = Predictions(
        RegressionTask(("y",)),
        ("a", "b", "c", "d"),
        ("q", None, "p", "q"),
        None,
        PredictionArrays(value=np.array([1.0, 5.0, 7.0, 2.0])),
    )
    found = average_by_patient(bags)
    assert found.bag_ids == ("q", "b", "p")
    assert found.patient_ids == ("q", None, "p")
    np.testing.assert_array_equal(found.predicted.value, [1.5, 5.0, 7.0])


def test_repeats_of_a_cross_validation_stay_apart():
    bags = Predictions(
        RegressionTask(("y",)),
        ("a", "b", "a", "b"),
        ("p",) * 4,
        np.zeros(4),
        PredictionArrays(value=np.array([1.0, 3.0, 10.0, 30.0])),
        np.array([0, 0, 1, 1]),
    )
    found = average_by_patient(bags)
    assert found.bag_ids == ("p", "p")
    np.testing.assert_array_equal(found.folds, [0, 1])
    np.testing.assert_array_equal(found.predicted.value, [2.0, 20.0])


def test_a_label_missing_on_one_slide_is_that_of_the_others():
    bags = Predictions(
        MultilabelTask(("tp53", "kras")),
        ("a", "b"),
        ("p", "p"),
        np.array([[1.0, np.nan], [np.nan, np.nan]], dtype=np.float32),
        PredictionArrays(np.array([[0.2, 0.4], [0.4, 0.8]], dtype=np.float32)),
    )
    found = average_by_patient(bags)
    np.testing.assert_array_equal(found.targets, [[1.0, np.nan]])
    np.testing.assert_allclose(found.probabilities, [[0.3, 0.6]], rtol=1e-6)


def test_different_labels_of_a_patient_are_named():
    bags = Predictions(
        BinaryTask(("status",), ("no", "yes")),
        ("a", "b"),
        ("p", "p"),
        np.array([0, 1]),
        PredictionArrays(np.array([[0.2, 0.8], [0.4, 0.6]])),
    )
    with pytest.raises(PredictionsError, match=r"'a' and 'b' of patient 'p' have different labels"):
        average_by_patient(bags)

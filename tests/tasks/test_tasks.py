"""Tasks: which columns, classes and edges fit which kind, and what each says about itself."""

from typing import get_args

import numpy as np
import pytest

from slidenet.core.errors import ConfigError, UnknownNameError
from slidenet.metrics import METRICS
from slidenet.tasks import (
    TASKS,
    BinaryTask,
    BreslowBaseline,
    Calibration,
    CoxTask,
    DiscreteTimeTask,
    MulticlassTask,
    MultilabelTask,
    OrdinalTask,
    PredictionArrays,
    RegressionTask,
    TaskKind,
    task_from_identity,
)

GOOD = [
    (BinaryTask(("label",), ("normal", "tumour")), 1),
    (MulticlassTask(("label",), ("a", "b", "c")), 3),
    (MultilabelTask(("EGFR", "KRAS")), 2),
    (OrdinalTask(("isup",), ("0", "1", "2", "3")), 3),
    (RegressionTask(("age",)), 1),
    (CoxTask(("months", "died")), 1),
    (DiscreteTimeTask(("months", "died"), time_edges=(6, 12, 24)), 3),
]


@pytest.mark.parametrize(("task", "num_outputs"), GOOD, ids=lambda x: getattr(x, "kind", ""))
def test_outputs_and_round_trip(task, num_outputs):
    assert task.num_outputs == num_outputs
    assert task_from_identity(task.identity()) == task


def test_labels_of_multilabel_are_its_columns():
    assert GOOD[2][0].class_names == ("EGFR", "KRAS")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("binary", ("label",), ("a", "b", "c")), "different names, 2"),
        (("binary", ("label",), ("a", "a")), "different names"),
        (("multiclass", ("x", "y"), ("a", "b")), "one column"),
        (("cox", ("time",)), "time and event"),
        (("regression", ("age",), ("a",)), "no classes"),
        (("discrete_time", ("t", "e"), (), (5,)), "ascending"),
        (("discrete_time", ("t", "e"), (), (5, 3)), "ascending"),
        (("cox", ("t", "e"), (), (1, 2)), "no time edges"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, word):
    with pytest.raises(ConfigError, match=word):
        TASKS[arguments[0]](*arguments[1:])


def test_an_unknown_kind_is_refused_with_the_nearest():
    with pytest.raises(UnknownNameError, match=r"binery.*did you mean binary"):
        task_from_identity({"kind": "binery"})


def test_every_kind_is_a_flag_and_has_a_headline_and_a_monitor_of_its_own():
    assert set(TASKS) == set(get_args(TaskKind)) == {task.kind for task, _ in GOOD}
    for task, _ in GOOD:
        assert task.headline in METRICS
        assert task.headline in task.metric_names()
        assert task.monitor.removeprefix("val_") in ("loss", *task.metric_names())


@pytest.mark.parametrize(
    ("monitor", "lower"),
    [
        ("val_loss", True),
        ("val_brier", True),
        ("val_ece", True),
        ("val_auroc", False),
        ("val_auroc_b", False),
        ("val_quadratic_kappa", False),
    ],
)
def test_which_way_a_monitored_value_is_better(monitor, lower):
    assert MulticlassTask(("y",), ("a", "b")).lower_is_better(monitor) is lower


@pytest.mark.parametrize("monitor", ["val_mae", "auroc", "loss", "val_auroc_c"])
def test_a_value_that_is_not_logged_cannot_be_monitored(monitor):
    with pytest.raises(ConfigError, match=r"for a multiclass task; expected one of val_loss, val_"):
        MulticlassTask(("y",), ("a", "b")).lower_is_better(monitor)


def test_tasks_in_one_clause():
    described = [task.describe() for task, _ in GOOD]
    assert described[0] == "a binary task (column label; classes normal, tumour)"
    assert described[2] == "a multilabel task (columns EGFR, KRAS)"
    assert described[3].startswith("an ordinal task (column isup; classes 0, 1")
    assert described[6] == "a discrete_time task (columns months, died; time edges 6, 12, 24)"


def predicted(*rows):
    return PredictionArrays(np.array(rows, dtype=np.float32))


def test_what_is_called_and_how_it_is_said():
    binary = BinaryTask(("label",), ("normal", "tumour"))
    given = predicted([0.6, 0.4], [0.1, 0.9])
    assert binary.decide(given) == ["normal", "tumour"]
    assert binary.decide(given, 0.3) == ["tumour", "tumour"]
    assert binary.describe_predictions(given, 0.3) == ["tumour (0.40)", "tumour (0.90)"]
    grade = OrdinalTask(("grade",), ("low", "mid", "high"))
    assert grade.describe_predictions(predicted([0.2, 0.5, 0.3])) == ["mid (0.50)"]
    genes = MultilabelTask(("EGFR", "KRAS"))
    given = predicted([0.5, 0.6], [0.1, 0.2])
    assert genes.decide(given) == ["EGFR KRAS", ""]
    assert genes.describe_predictions(given) == ["present: EGFR KRAS", "present: none"]
    age = RegressionTask(("age",))
    values = PredictionArrays(value=np.array([61.25]))
    assert age.decide(values) is None
    assert age.describe_predictions(values) == ["age 61.2"]
    risks = PredictionArrays(risk=np.array([-0.5]))
    assert CoxTask(("t", "e")).describe_predictions(risks) == ["risk -0.5"]


@pytest.mark.parametrize(
    ("task", "calibration", "word"),
    [
        (GOOD[1][0], Calibration(threshold=0.5), "threshold 0.5 for a multiclass"),
        (GOOD[2][0], Calibration(threshold=1.5), "threshold is 1.5"),
        (GOOD[4][0], Calibration(temperature=2.0), "temperature 2 for a regression"),
        (GOOD[0][0], Calibration(temperature=-1.0), "temperature is -1"),
        (
            GOOD[6][0],
            Calibration(baseline=BreslowBaseline((1.0,), (0.1,), (1.0,))),
            "a baseline hazard for a discrete_time",
        ),
    ],
)
def test_calibrations_that_do_not_fit_are_refused(task, calibration, word):
    with pytest.raises(ConfigError, match=word):
        task.check_calibration(calibration)


def test_strata_are_classes_values_of_labels_events_and_quarters():
    nan = float("nan")
    by_kind = {
        "binary": (np.array([0, 1, 1]), ["label 'normal'", "label 'tumour'"], [1, 2]),
        "multilabel": (
            np.array([[1, 0], [0, nan], [1, nan]]),
            ["EGFR", "KRAS", "not EGFR", "not KRAS"],
            [2, 0, 1, 1],
        ),
        "cox": (np.array([[3.0, 1], [4, 0], [5, 0]]), ["event", "censored"], [1, 2]),
        "regression": (
            np.arange(8.0),
            [f"quarter {i} of age" for i in (1, 2, 3, 4)],
            [2, 2, 2, 2],
        ),
    }
    for task, _ in GOOD:
        if task.kind in by_kind:
            targets, names, counts = by_kind[task.kind]
            strata = task.strata(targets)
            assert [stratum.name for stratum in strata] == names
            assert [int(stratum.members.sum()) for stratum in strata] == counts


def test_codes_are_classes_and_minus_one_where_a_label_is_missing():
    (codes,) = BinaryTask(("y",), ("a", "b")).codes(np.array([1, 0])).values()
    assert codes.tolist() == [1, 0]
    found = MultilabelTask(("p", "q")).codes(np.array([[1, float("nan")], [0, 1]]))
    assert {name: code.tolist() for name, code in found.items()} == {"p": [1, 0], "q": [-1, 1]}
    (codes,) = RegressionTask(("y",)).codes(np.array([4.0, 1, 2, 3, 9, 8, 7, 6])).values()
    assert codes.tolist() == [1, 0, 0, 1, 3, 3, 2, 2]

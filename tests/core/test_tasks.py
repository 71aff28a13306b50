"""Tasks: which columns, classes and edges fit which kind."""

import pytest

from slidenet.core.errors import ConfigError
from slidenet.tasks.task import Task

GOOD = [
    (Task("binary", ("label",), ("normal", "tumour")), 1),
    (Task("multiclass", ("label",), ("a", "b", "c")), 3),
    (Task("multilabel", ("EGFR", "KRAS")), 2),
    (Task("ordinal", ("isup",), ("0", "1", "2", "3")), 3),
    (Task("regression", ("age",)), 1),
    (Task("cox", ("months", "died")), 1),
    (Task("discrete_time", ("months", "died"), time_edges=(6, 12, 24)), 3),
]


@pytest.mark.parametrize(("task", "num_outputs"), GOOD, ids=lambda x: getattr(x, "kind", ""))
def test_outputs_and_round_trip(task, num_outputs):
    assert task.num_outputs == num_outputs
    assert Task.from_identity(task.identity()) == task


def test_labels_of_multilabel_are_its_columns():
    assert GOOD[2][0].class_names == ("EGFR", "KRAS")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("binery", ("label",)), "binery"),
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
        Task(*arguments)

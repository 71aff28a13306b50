"""What of the logits is explained, for every kind of task."""

import pytest
import torch

from slidenet.tasks import (
    TASKS,
    BinaryTask,
    CoxTask,
    DiscreteTimeTask,
    MulticlassTask,
    MultilabelTask,
    MultiTask,
    OrdinalTask,
    RegressionTask,
)

EXPECTED = [
    (BinaryTask(("y",), ("no", "yes")), {"yes": (1,)}, False),
    (
        MulticlassTask(("y",), ("a", "b", "c")),
        {"a": (1, -0.5, -0.5), "b": (-0.5, 1, -0.5), "c": (-0.5, -0.5, 1)},
        False,
    ),
    (MultilabelTask(("kras", "egfr")), {"kras": (1, 0), "egfr": (0, 1)}, False),
    (OrdinalTask(("isup",), ("0", "1", "2")), {"higher": (1, 1)}, False),
    (RegressionTask(("age",)), {"age": (1,)}, True),
    (CoxTask(("months", "died")), {"risk": (1,)}, True),
    (DiscreteTimeTask(("t", "e"), time_edges=(6, 12, 24)), {"risk": (1, 1, 1)}, True),
]


@pytest.mark.parametrize(("task", "weights", "relative"), EXPECTED, ids=lambda x: str(x)[:20])
def test_targets_of_every_kind(task, weights, relative):
    found = task.explained_targets()
    assert {one.name: one.weights for one in found} == weights
    assert {one.relative for one in found} == {relative}
    assert {type(one) for one, *_ in EXPECTED} == {TASKS[name] for name in TASKS}


def test_several_targets_are_prefixed_and_take_their_own_logits():
    task = MultiTask(
        (),
        targets={
            "msi": BinaryTask(("msi",), ("MSS", "MSI")),
            "grade": MulticlassTask(("grade",), ("1", "2", "3")),
            "os": CoxTask(("months", "died")),
        },
    )
    found = {one.name: one for one in task.explained_targets()}
    assert list(found) == ["msi_MSI", "grade_1", "grade_2", "grade_3", "os_risk"]
    assert found["grade_2"].weights == (0, -0.5, 1, -0.5, 0)
    assert [found[name].relative for name in ("msi_MSI", "os_risk")] == [False, True]
    logits = torch.tensor([[1.0, 2.0, 4.0, 8.0, 16.0]])
    assert found["grade_3"].score(logits).tolist() == [5.0]
    assert found["os_risk"].score(logits).tolist() == [16.0]

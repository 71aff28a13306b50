"""Which targets of a bag are explained."""

import numpy as np
import pytest
import torch

from slidenet.core.errors import ConfigError
from slidenet.pipelines.explaining.methods import called_targets, check_targets, settle_targets
from slidenet.tasks import (
    BinaryTask,
    Calibration,
    CoxTask,
    MulticlassTask,
    MultilabelTask,
    MultiTask,
    OrdinalTask,
    RegressionTask,
)

LABELS = MultilabelTask(("EGFR", "KRAS", "TP53"))
SEVERAL = MultiTask((), targets={"msi": MulticlassTask(("m",), ("a", "b")),
                                 "age": RegressionTask(("age",))})  # fmt: skip


@pytest.mark.parametrize(
    ("task", "logits", "called"),
    [
        (BinaryTask(("l",), ("no", "yes")), [-3.0], ["yes"]),
        (MulticlassTask(("l",), ("a", "b", "c")), [0.0, 2.0, 1.0], ["b"]),
        (LABELS, [1.0, -1.0, 3.0], ["EGFR", "TP53"]),
        (LABELS, [-3.0, -1.0, -2.0], ["KRAS"]),  # none is present: the likeliest
        (OrdinalTask(("g",), ("1", "2", "3")), [-1.0, 0.0], ["higher"]),
        (RegressionTask(("age",)), [61.0], ["age"]),
        (CoxTask(("time", "event")), [0.3], ["risk"]),
        (SEVERAL, [2.0, 0.0, 61.0], ["msi_a", "age_age"]),
    ],
)
def test_what_is_called(task, logits, called):
    predicted = task.predict(torch.tensor([logits]))
    known = [target.name for target in task.explained_targets()]
    assert list(called_targets(task, predicted, Calibration())) == called
    assert set(called) <= set(known)
    assert settle_targets(task, ("all",), predicted, Calibration()) == tuple(known)
    both = settle_targets(task, (known[-1], "called"), predicted, Calibration())
    assert both == tuple(name for name in known if name in {known[-1], *called})


def test_labels_are_called_from_the_cut_off_of_the_model():
    predicted = LABELS.predict(torch.from_numpy(np.array([[0.5, -1.0, 3.0]], np.float32)))
    assert called_targets(LABELS, predicted, Calibration(threshold=0.9)) == ("TP53",)


def test_targets_that_nobody_has():
    check_targets(SEVERAL, ("msi_b", "called"))
    with pytest.raises(ConfigError, match=r"--targets msi .* or some of msi_a, msi_b, age_age"):
        check_targets(SEVERAL, ("msi",))
    with pytest.raises(ConfigError, match="--targets without a name"):
        check_targets(SEVERAL, ())

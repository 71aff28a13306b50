"""Several targets of a bag: what is said of the whole is what is said of each on its own bags."""

import json

import numpy as np
import pytest
import torch

from slidenet.core.errors import ConfigError
from slidenet.tasks import (
    BinaryTask,
    Calibration,
    CoxTask,
    DiscreteTimeTask,
    MultilabelTask,
    MultiTask,
    OrdinalTask,
    RegressionTask,
    task_from_identity,
)
from slidenet.tasks.multitask import joint
from slidenet.tasks.predictions import PredictionArrays

TARGETS = {
    "msi": BinaryTask(("msi",), ("MSS", "MSI")),
    "grade": OrdinalTask(("grade",), ("1", "2", "3")),
    "genes": MultilabelTask(("kras", "egfr")),
    "age": RegressionTask(("age",)),
    "os": CoxTask(("months", "died")),
    "pfs": DiscreteTimeTask(("time", "event"), time_edges=(6, 12, 24)),
}
N = 12


@pytest.fixture(scope="module")
def task():
    return MultiTask((), targets=TARGETS, loss_weights=(0.5, 0.1, 0.1, 0.1, 0.1, 0.1))


@pytest.fixture(scope="module")
def known():
    """Per target the bags that have it, and its targets."""
    rng = np.random.default_rng(0)
    rows = {name: np.sort(rng.permutation(N)[: 12 - i]) for i, name in enumerate(TARGETS)}

    def survival(n):
        return np.stack([rng.uniform(1, 30, n), np.arange(n) % 2], 1).astype(np.float32)

    values = {
        "msi": lambda n: np.arange(n) % 2,
        "grade": lambda n: np.arange(n) % 3,
        "genes": lambda n: np.where(rng.random((n, 2)) < 0.2, np.nan, np.arange(2 * n).reshape(n, 2)
                                    % 3 % 2).astype(np.float32),
        "age": lambda n: rng.normal(60, 9, n).astype(np.float32),
        "os": survival,
        "pfs": survival,
    }  # fmt: skip
    return {name: (rows[name], values[name](len(rows[name]))) for name in TARGETS}


@pytest.fixture(scope="module")
def targets(task, known):
    found = np.full((N, 9), np.nan, np.float32)
    for part in task.parts:
        rows, own = known[part.name]
        found[rows, part.columns] = own.reshape(len(rows), -1)
    return found


@pytest.fixture(scope="module")
def logits(task):
    return torch.randn(N, task.num_outputs, generator=torch.Generator().manual_seed(1))


def test_outputs_columns_and_the_way_through_a_file(task):
    assert task.num_outputs == 1 + 2 + 2 + 1 + 1 + 3
    assert len(task.label_columns) == 9
    again = task_from_identity(json.loads(json.dumps(task.identity(), sort_keys=True)))
    assert again == task
    assert list(again.targets) == list(TARGETS)
    assert again.loss_weights == (1 / 6,) * 6, "weights are a setting of a training"


def test_the_loss_is_the_weighted_sum_over_the_bags_of_each(task, known, targets, logits):
    wanted = 0.0
    for part, weight in zip(task.parts, task.loss_weights, strict=True):
        rows, own = known[part.name]
        own_logits = logits[torch.from_numpy(rows)][:, part.outputs]
        wanted += weight * part.task.loss(own_logits, torch.from_numpy(own))
    target = torch.from_numpy(targets)
    torch.testing.assert_close(task.loss(logits, target), wanted)
    parts = task.target_losses(logits, target)
    assert sum(parts.values()) == pytest.approx(6 * float(wanted), rel=1e-5)


def test_a_batch_without_a_target_has_finite_gradients(task):
    logits = torch.zeros(2, task.num_outputs, requires_grad=True)
    target = torch.full((2, 9), torch.nan)
    loss = task.loss(logits, target)
    assert loss.item() == 0
    loss.backward()
    assert logits.grad.abs().sum() == 0
    assert torch.isnan(torch.tensor(task.target_losses(logits, target)["msi_loss"]))


def test_metrics_are_those_of_each_target_on_its_bags(task, known, targets, logits):
    calibration = Calibration(targets={"msi": Calibration(temperature=2.0, threshold=0.3)})
    task.check_calibration(calibration)
    predicted = task.predict(logits, calibration)
    metrics = task.compute_metrics(predicted, targets)
    assert tuple(metrics) == task.metric_names()
    for part in task.parts:
        rows, own = known[part.name]
        alone = part.task.predict(
            logits[:, part.outputs], calibration.targets.get(part.name, Calibration())
        )
        for name, array in alone.arrays.items():
            np.testing.assert_array_equal(predicted.arrays[f"{part.name}/{name}"], array)
        for name, value in part.task.compute_metrics(alone.take(rows), own).items():
            np.testing.assert_equal(metrics[f"{part.name}_{name}"], value)
    halves = [predicted.take(np.arange(5)), predicted.take(np.arange(5, N))]
    whole = PredictionArrays.concatenate(halves)
    assert joint(whole).by_target.keys() == TARGETS.keys()
    for name, array in whole.arrays.items():
        np.testing.assert_array_equal(array, predicted.arrays[name])


def test_strata_are_those_of_each_target_and_the_first_is_needed(task, known, targets):
    strata = task.strata(targets)
    members = {stratum.name: np.flatnonzero(stratum.members).tolist() for stratum in strata}
    rows, own = known["grade"]
    assert members["grade '2'"] == rows[own == 1].tolist()
    assert {stratum.name for stratum in strata if stratum.needed} == {"msi 'MSS'", "msi 'MSI'"}


def test_answers_about_tiles_know_what_is_not_known(task, known, targets):
    wanted = task.output_targets(torch.from_numpy(targets))
    assert wanted.shape == (N, task.num_outputs)
    rows, own = known["msi"]
    np.testing.assert_array_equal(wanted[rows, 0], own)
    assert wanted[:, [5, 6, 7, 8, 9]].isnan().all(), "no classes"
    assert task.instance_loss(torch.zeros(N, task.num_outputs), torch.from_numpy(targets)) > 0


@pytest.mark.parametrize(
    ("monitor", "lower"),
    [("val_loss", True), ("val_msi_loss", True), ("val_msi_auroc", False), ("val_age_mae", True)],
)
def test_which_way_a_monitored_value_is_better(task, monitor, lower):
    assert task.lower_is_better(monitor) is lower


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("msi",), "at least two"),
        (("msi", "a/b"), "letters, digits"),
        (("msi", "test"), "names of splits"),
        (("msi", "MSI"), "more than their case"),
        (("msi", "=cmd"), "letters, digits"),
    ],
)
def test_names_that_cannot_be_files_are_refused(names, words):
    with pytest.raises(ConfigError, match=words):
        MultiTask((), targets=dict.fromkeys(names, TARGETS["msi"]))


def test_what_is_of_one_target_is_refused_of_several(task):
    with pytest.raises(ConfigError, match="val_msi_auroc"):
        task.lower_is_better("val_auroc")
    with pytest.raises(ConfigError, match="one for each"):
        task.check_calibration(Calibration(threshold=0.4))
    with pytest.raises(ConfigError, match="expected one"):
        TARGETS["msi"].check_calibration(Calibration(targets={"msi": Calibration()}))
    with pytest.raises(ConfigError, match="split_predictions"):
        task.target_type()

"""Predictions of this folder's tests: made from a seed, with ties where wanted."""

import numpy as np
import pytest

from slidenet.evaluation import Predictions
from slidenet.tasks import (
    BinaryTask,
    CoxTask,
    DiscreteTimeTask,
    MulticlassTask,
    MultilabelTask,
    OrdinalTask,
    PredictionArrays,
    RegressionTask,
)

TASKS = {
    "binary": BinaryTask(("status",), ("no", "yes")),
    "multiclass": MulticlassTask(("grade",), ("a", "b", "c")),
    "ordinal": OrdinalTask(("grade",), ("0", "1", "2", "3")),
    "multilabel": MultilabelTask(("tp53", "kras")),
    "regression": RegressionTask(("score",)),
    "cox": CoxTask(("time", "event")),
    "discrete_time": DiscreteTimeTask(("time", "event"), time_edges=(5.0, 10.5, 20.0)),
}


@pytest.fixture
def simulate():
    """`simulate(kind, count)`: predictions that carry some signal; float32, as models give them."""
    return simulated


def simulated(kind, count=60, *, seed=0, signal=1.0, bags_per_patient=1, folds=0):
    rng = np.random.default_rng(seed)
    task = TASKS[kind]
    targets, arrays = _simulated(task, count, rng, signal)
    return Predictions(
        task,
        tuple(f"bag{i}" for i in range(count)),
        tuple(f"p{i // bags_per_patient}" for i in range(count)),
        targets,
        arrays,
        (np.arange(count) // bags_per_patient) % folds if folds else None,
    )


def _simulated(task, count, rng, signal):
    if task.kind == "multilabel":
        targets = rng.integers(0, 2, (count, task.num_classes)).astype(np.float32)
        logits = signal * (targets - 0.5) + rng.normal(size=targets.shape)
        targets[rng.random(targets.shape) < 0.1] = np.nan
        return targets, PredictionArrays((1 / (1 + np.exp(-logits))).astype(np.float32))
    if task.has_classes:
        targets = np.arange(count) % task.num_classes
        rng.shuffle(targets)
        logits = signal * np.eye(task.num_classes)[targets] + rng.normal(
            size=(count, task.num_classes)
        )
        probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        return targets, PredictionArrays(probabilities.astype(np.float32))
    if task.kind == "regression":
        targets = rng.normal(size=count).astype(np.float32)
        value = signal * targets + rng.normal(size=count)
        return targets, PredictionArrays(value=value.astype(np.float32))
    risk = rng.normal(size=count).astype(np.float32)
    time = rng.exponential(12 * np.exp(-signal * risk)).astype(np.float32) + np.float32(0.1)
    targets = np.stack([time, rng.random(count) < 0.7], axis=1).astype(np.float32)
    if task.kind == "cox":
        return targets, PredictionArrays(risk=risk)
    survival = np.exp(-np.exp(risk)[:, None] * np.array(task.time_edges) / 12)
    return targets, PredictionArrays(
        risk=risk, survival=survival.astype(np.float32), survival_times=task.time_edges
    )

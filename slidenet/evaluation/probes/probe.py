"""Simple models on frozen slide embeddings: what can be read off an embedding without training it.

Every probe standardises the columns and chooses its one setting (penalty, neighbours) by an inner
cross-validation that never divides a patient.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.pipeline import Pipeline

from slidenet.core.arrays import FloatArray
from slidenet.core.errors import ConfigError
from slidenet.evaluation.predictions.record import Predictions
from slidenet.evaluation.probes.search import (
    FoldRows,
    ProbeKind,
    class_probabilities,
    search_setting,
)
from slidenet.tasks import BreslowBaseline, PredictionArrays, Task, fit_breslow
from slidenet.tasks.calibration import survival_report_times
from slidenet.tasks.task import Output

KINDS: Mapping[Output, tuple[ProbeKind, ...]] = {
    "probabilities": ("logistic", "knn"),
    "value": ("ridge", "knn"),
    "risk": ("cox",),
}
"""Probes by what a task predicts (`Task.output`); the first is the default."""

NUM_INNER_FOLDS = 5


@dataclass(frozen=True, eq=False)
class Probe:
    """A fitted probe.

    Attributes:
        task: What it predicts.
        kind: Which model.
        models: One pipeline; for "multilabel" one per label.
        chosen: The setting chosen for each of them.
        baseline: Of a Cox probe: turns risks into survival.
    """

    task: Task
    kind: ProbeKind
    models: tuple[Pipeline, ...]
    chosen: tuple[Mapping[str, float], ...]
    baseline: BreslowBaseline | None = None

    def predict(self, embeddings: FloatArray) -> PredictionArrays:
        """Predictions of slides from their embeddings (N, D)."""
        _check_embeddings(embeddings)
        if self.task.partial_labels:
            columns = [class_probabilities(model, embeddings, 2)[:, 1] for model in self.models]
            return PredictionArrays(np.stack(columns, axis=1))
        model = self.models[0]
        if self.task.has_classes:
            return PredictionArrays(class_probabilities(model, embeddings, self.task.num_classes))
        if self.baseline is None:
            return PredictionArrays(value=model.predict(embeddings))
        risk, times = model.predict(embeddings), self.baseline.report_times
        survival = self.baseline.survival(torch.from_numpy(risk), times).numpy()
        return PredictionArrays(risk=risk, survival=survival, survival_times=times)


def fit_probe(
    task: Task,
    embeddings: FloatArray,
    targets: npt.NDArray[Any],
    groups: Sequence[Any] | npt.NDArray[Any],
    *,
    kind: ProbeKind | None = None,
    num_inner_folds: int = NUM_INNER_FOLDS,
    seed: int = 0,
    report_times: Sequence[float] | None = None,
) -> Probe:
    """Fits a probe, its setting chosen by grouped inner folds.

    Args:
        task: What is predicted.
        embeddings: (N, D) one row per bag.
        targets: As `Task` says; rows of "multilabel" without a label do not train its probe.
        groups: N patients; one patient is never on both sides of an inner split.
        kind: Which probe; the first of `KINDS` for the task where None.
        num_inner_folds: Inner folds, fewer where a class has fewer patients.
        seed: Deals patients into inner folds.
        report_times: Where a "cox" task reports survival; the quartiles of the event times where
            None. "discrete_time" reports at its edges.

    Raises:
        ConfigError: The probe does not fit the task, or embeddings are not finite (N, D).
        LabelError: A class has bags of fewer than two patients.
    """
    kinds = KINDS[task.output]
    if kind is not None and kind not in kinds:
        raise ConfigError(
            f"a {kind} probe for a {task.kind} task", expected=f"one of {', '.join(kinds)}"
        )
    kind = kind or kinds[0]
    _check_embeddings(embeddings)
    patients = np.unique(np.asarray(groups), return_inverse=True)[1]
    search = partial(search_setting, kind, num_folds=num_inner_folds, seed=seed)
    if task.partial_labels:
        searches = []
        for name, label in zip(task.class_names, targets.T, strict=True):
            known = ~np.isnan(label)
            searches.append(
                search(
                    embeddings[known],
                    label[known].astype(int),
                    patients[known],
                    class_names=("without it", "with it"),
                    where=f"label {name!r}",
                )
            )
    else:
        names = tuple(f"of class {name!r}" for name in task.class_names)
        where = f"column {task.label_columns[-1]!r}"
        searches = [search(embeddings, targets, patients, class_names=names, where=where)]
    models = tuple(found.best_estimator_ for found in searches)
    chosen = tuple(
        {name.split("__")[-1]: float(v) for name, v in found.best_params_.items()}
        for found in searches
    )
    baseline = None
    if task.is_survival:
        times = task.time_edges or report_times
        baseline = fit_breslow(models[0].predict(embeddings), targets, times)
    return Probe(task, kind, models, chosen, baseline)


def cross_validate_probe(
    task: Task,
    embeddings: FloatArray,
    targets: npt.NDArray[Any],
    *,
    bag_ids: Sequence[str],
    patient_ids: Sequence[str | None],
    folds: Sequence[FoldRows],
    kind: ProbeKind | None = None,
    seed: int = 0,
) -> Predictions:
    """Out-of-fold predictions of a probe.

    Args:
        task: What is predicted.
        embeddings: (N, D) one row per bag.
        targets: As `Task` says.
        bag_ids: N ids.
        patient_ids: N patients; None where unknown, and then the bag is its own patient.
        folds: For each fold the rows trained on and the rows predicted.
        kind: Which probe; the first of `KINDS` for the task where None.
        seed: Deals patients into inner folds.

    Returns:
        The predicted rows, in order of bag within fold.

    Raises:
        ConfigError: A patient is on both sides of a fold; otherwise as `fit_probe`.
        LabelError: A fold trains on too few patients of a class.
    """
    patients = [p or f"bag {b}" for b, p in zip(bag_ids, patient_ids, strict=True)]
    times = None
    if task.needs_baseline and targets[:, 1].any():
        # One grid for all folds, so that their curves can be pooled.
        times = survival_report_times(targets)
    rows, numbers, predicted = [], [], []
    for number, (train, test) in enumerate(folds):
        train, test = (np.arange(len(patients))[side] for side in (train, test))
        groups = [patients[row] for row in train]
        shared = set(groups) & {patients[row] for row in test}
        if shared:
            raise ConfigError(
                f"fold {number} trains on and predicts {len(shared)} patients, such as "
                f"{min(shared)!r}",
                expected="patients on one side only",
            )
        probe = fit_probe(
            task, embeddings[train], targets[train], groups, kind=kind, seed=seed,
            report_times=times,
        )  # fmt: skip
        predicted.append(probe.predict(embeddings[test]))
        rows.append(test)
        numbers.append(np.full(len(test), number))
    order = np.concatenate(rows)
    return Predictions(
        task,
        tuple(bag_ids[i] for i in order),
        tuple(patient_ids[i] for i in order),
        targets[order],
        PredictionArrays.concatenate(predicted),
        np.concatenate(numbers),
    )


def _check_embeddings(embeddings: FloatArray) -> None:
    if embeddings.ndim != 2 or not np.isfinite(embeddings).all():
        bad = "" if embeddings.ndim != 2 else ", not all of them finite"
        raise ConfigError(
            f"slide embeddings of shape {embeddings.shape}{bad}",
            expected="finite numbers, one row per bag",
        )

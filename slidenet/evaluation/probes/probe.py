"""Simple models of bags: what can be read off the mean of the tiles without training a network.

Every probe standardises the columns and chooses its setting by inner folds that never divide a
patient. What is fitted becomes a `ProbeModel`, which says the same in torch.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from slidenet.core.arrays import Float64Array, FloatArray
from slidenet.core.errors import ConfigError
from slidenet.evaluation.predictions.record import Predictions
from slidenet.evaluation.probes.columns import Columns
from slidenet.evaluation.probes.linear import Problem
from slidenet.evaluation.probes.search import Part, deal, search
from slidenet.mil.probe import BagColumns, Predicts, ProbeKind, ProbeModel
from slidenet.tasks import BreslowBaseline, Calibration, PredictionArrays, Task, fit_breslow
from slidenet.tasks.calibration import survival_report_times
from slidenet.tasks.task import Output

FoldRows = tuple[npt.NDArray[Any], npt.NDArray[Any]]

KINDS: Mapping[Output, tuple[ProbeKind, ...]] = {
    "probabilities": ("logistic", "svm", "knn"),
    "value": ("ridge", "knn"),
    "risk": ("cox",),
}
"""Probes by what a task predicts (`Task.output`); the first is the default."""
LINEAR_DEFAULT = 2000
"""Of more bags, probes that keep every bag are left out unless they are asked for by name."""

NUM_INNER_FOLDS = 5


@dataclass(frozen=True, eq=False)
class Probe:
    """A fitted probe.

    Attributes:
        task: What it predicts.
        kind: Which model.
        columns: How bags are described.
        model: The same in torch.
        chosen: The setting chosen; for "multilabel" one per label.
        error: Out of the inner folds: what probes of one task are chosen by.
        out_of_fold: Logits (N, K) of the bags fitted on, out of the inner folds; NaN where a bag
            was not tested, and everywhere of a Cox probe.
        baseline: Of a Cox probe: turns risks into survival.
    """

    task: Task
    kind: ProbeKind
    columns: BagColumns
    model: ProbeModel
    chosen: tuple[Mapping[str, float], ...]
    error: float
    out_of_fold: Float64Array
    baseline: BreslowBaseline | None = None

    @property
    def words(self) -> str:
        """What it is: `logistic probe of mean and deviation`."""
        described = "mean" if self.columns == "mean" else "mean and deviation"
        return f"{WORDS[self.kind]} probe of {described}"

    def predict(self, bags: FloatArray) -> PredictionArrays:
        """Predictions of bags (N, C): embeddings, or what `columns` says."""
        _check_bags(bags)
        with torch.inference_mode():
            logits = self.model.logits(torch.from_numpy(np.asarray(bags, dtype=np.float64)))
        baseline = self.baseline if self.task.needs_baseline else None
        return self.task.predict(logits, Calibration(baseline=baseline))


WORDS: Mapping[ProbeKind, str] = {
    "logistic": "logistic",
    "svm": "SVM",
    "ridge": "ridge",
    "cox": "Cox",
    "knn": "nearest-neighbour",
}


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
    kind = kind or KINDS[task.output][0]
    described: dict[BagColumns, FloatArray] = {"mean": embeddings}
    return fit_bag_probes(
        task,
        described,
        targets,
        groups,
        kinds=(kind,),
        num_inner_folds=num_inner_folds,
        seed=seed,
        report_times=report_times,
    )[kind]


def fit_bag_probes(
    task: Task,
    described: Mapping[BagColumns, FloatArray],
    targets: npt.NDArray[Any],
    groups: Sequence[Any] | npt.NDArray[Any],
    *,
    kinds: Sequence[ProbeKind] | None = None,
    num_inner_folds: int = NUM_INNER_FOLDS,
    seed: int = 0,
    report_times: Sequence[float] | None = None,
) -> dict[ProbeKind, Probe]:
    """Fits every kind of probe there is for a task, its setting and its columns chosen inside.

    Args:
        task: What is predicted.
        described: The N bags by their columns: "mean" (N, D), "mean_std" (N, 2 D), or both, among
            which is chosen.
        targets: As for `fit_probe`.
        groups: As for `fit_probe`.
        kinds: Which; default: those of the task, without those that keep all bags where there are
            more than 2,000.
        num_inner_folds: As for `fit_probe`.
        seed: As for `fit_probe`.
        report_times: As for `fit_probe`.

    Raises:
        ConfigError: A kind that does not fit the task, or columns that are not finite (N, C).
        LabelError: A class has bags of fewer than two patients.
    """
    known = KINDS[task.output]
    for kind in kinds or ():
        if kind not in known:
            raise ConfigError(
                f"a {kind} probe for a {task.kind} task", expected=f"one of {', '.join(known)}"
            )
    if kinds is None:
        kinds = known if len(targets) <= LINEAR_DEFAULT else known[:1]
    for values in described.values():
        _check_bags(values)
    parts = _parts(task, targets, np.asarray(groups), num_inner_folds, seed)
    columns = {name: Columns.of(values) for name, values in described.items()}
    probes: dict[ProbeKind, Probe] = {}
    for kind in kinds:
        found = search(kind, columns, parts)
        model = ProbeModel(
            feature_dim=columns[found.columns].z.shape[1] // (1 + (found.columns == "mean_std")),
            num_outputs=task.num_outputs,
            kind=kind,
            columns=found.columns,
            predicts=predicts(task),
            num_rows=len(targets) if "rows" in found.numbers else 0,
        )
        numbers = dict(found.numbers)
        chosen = columns[found.columns]
        rest = chosen.centre - chosen.centre.astype(np.float32).astype(np.float64)
        numbers |= {"centre": chosen.centre, "centre_rest": rest, "bending": chosen.bending}
        numbers |= {"mean": chosen.mean, "inverse_scale": chosen.inverse_scale}
        baseline = None
        if task.is_survival:
            risk = columns[found.columns].z @ numbers["weight"][:, 0] + numbers["bias"][0]
            baseline = fit_breslow(risk, targets, task.time_edges or report_times)
            if task.has_time_bins:
                numbers["increments"] = _increments(baseline)
        for name, buffer in model.named_buffers():
            buffer.copy_(torch.from_numpy(numbers[name]))
        with torch.inference_mode():
            out_of_fold = model.logits_of_scores(torch.from_numpy(found.scores)).numpy()
        probes[kind] = Probe(
            task,
            kind,
            found.columns,
            model.eval(),
            found.settings,
            found.error,
            out_of_fold,
            baseline,
        )
    return probes


def best_probe(probes: Mapping[ProbeKind, Probe]) -> Probe:
    """The one with the least error out of the inner folds; the first where several have it."""
    return min(probes.values(), key=lambda probe: probe.error)


def predicts(task: Task) -> Predicts:
    """What the scores of a probe mean for a task."""
    if task.has_classes:
        if not task.exclusive_classes or (task.num_classes == 2 and task.num_outputs == 1):
            return "labels"
        return "order" if task.ordered_classes else "classes"
    if task.is_survival:
        return "hazards" if task.has_time_bins else "risk"
    return "value"


def _parts(
    task: Task, targets: npt.NDArray[Any], groups: npt.NDArray[Any], num_folds: int, seed: int
) -> list[Part]:
    """The task as problems of one probe each, with their inner folds."""
    patients = np.unique(groups, return_inverse=True)[1]
    with warnings.catch_warnings():
        # Of classes with fewer bags than folds: how many folds there can be is counted by patient.
        warnings.simplefilter("ignore", UserWarning)
        if task.partial_labels:
            parts = []
            for name, label in zip(task.class_names, targets.T, strict=True):
                rows = np.flatnonzero(~np.isnan(label))
                truth = label[rows].astype(np.int64)
                names = {0: "without it", 1: "with it"}
                where = f"label {name!r}"
                deals = deal(
                    truth, patients[rows], names, where=where, num_folds=num_folds, seed=seed
                )
                parts.append(Part(Problem(truth, 2), rows, deals))
            return parts
        names = {k: f"of class {name!r}" for k, name in enumerate(task.class_names)}
        strata = targets
        if task.is_survival:
            strata, names = (targets[:, 1] > 0).astype(np.int64), {1: "with an event"}
        elif not task.has_classes:
            strata, names = np.zeros(len(targets), dtype=np.int64), {0: "of any value"}
        where = f"column {task.label_columns[-1]!r}"
        deals = deal(strata, patients, names, where=where, num_folds=num_folds, seed=seed)
        return [Part(Problem(targets, task.num_classes), np.arange(len(targets)), deals)]


def _increments(baseline: BreslowBaseline) -> Float64Array:
    """How much the cumulative baseline hazard grows in each bin of time."""
    step = np.searchsorted(baseline.times, baseline.report_times, side="right")
    at_edges = np.concatenate([[0.0], baseline.cumulative_hazard])[step]
    return np.diff(at_edges, prepend=0.0)


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


def _check_bags(embeddings: FloatArray) -> None:
    if embeddings.ndim != 2 or not np.isfinite(embeddings).all():
        bad = "" if embeddings.ndim != 2 else ", not all of them finite"
        raise ConfigError(
            f"slide embeddings of shape {embeddings.shape}{bad}",
            expected="finite numbers, one row per bag",
        )

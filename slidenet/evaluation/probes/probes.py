"""Simple models on frozen slide embeddings: what can be read off an embedding without training it.

Every probe standardises the columns and chooses its one setting (penalty, neighbours) by an inner
cross-validation that never splits a patient.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from slidenet.core.arrays import FloatArray, IntArray
from slidenet.core.errors import ConfigError, LabelError
from slidenet.evaluation.predictions.record import Predictions
from slidenet.evaluation.probes.cox_regression import CoxRegression
from slidenet.metrics import c_index
from slidenet.tasks import BreslowBaseline, PredictionArrays, Task, fit_breslow
from slidenet.tasks.calibration import survival_report_times
from slidenet.tasks.task import Output

ProbeKind = Literal["logistic", "ridge", "knn", "cox"]
FoldRows = tuple[npt.NDArray[Any], npt.NDArray[Any]]

KINDS: Mapping[Output, tuple[ProbeKind, ...]] = {
    "probabilities": ("logistic", "knn"),
    "value": ("ridge", "knn"),
    "risk": ("cox",),
}
"""Probes by what a task predicts (`Task.output`); the first is the default."""

PENALTIES = tuple(float(p) for p in np.logspace(-4, 2, 7))
NEIGHBOURS = (1, 3, 5, 10, 20, 50)
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
            columns = [_probabilities(model, embeddings, 2)[:, 1] for model in self.models]
            return PredictionArrays(np.stack(columns, axis=1))
        model = self.models[0]
        if self.task.has_classes:
            return PredictionArrays(_probabilities(model, embeddings, self.task.num_classes))
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
    kind = _kind(task, kind)
    _check_embeddings(embeddings)
    patients = np.unique(np.asarray(groups), return_inverse=True)[1]
    if task.partial_labels:
        searches = []
        for name, label in zip(task.class_names, targets.T, strict=True):
            known = ~np.isnan(label)
            search = _Search(
                kind, seed, num_inner_folds, ("without it", "with it"), f"label {name!r}"
            )
            searches.append(
                search.fit(embeddings[known], label[known].astype(int), patients[known])
            )
    else:
        names = tuple(f"of class {name!r}" for name in task.class_names)
        search = _Search(kind, seed, num_inner_folds, names, f"column {task.label_columns[-1]!r}")
        searches = [search.fit(embeddings, targets, patients)]
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
    owners = [p or f"bag {b}" for b, p in zip(bag_ids, patient_ids, strict=True)]
    times = None
    if task.needs_baseline and targets[:, 1].any():
        # One grid for all folds, so that their curves can be judged together.
        times = survival_report_times(targets)
    rows, numbers, parts = [], [], []
    for number, (train, test) in enumerate(folds):
        train, test = (np.arange(len(owners))[side] for side in (train, test))
        groups = [owners[row] for row in train]
        shared = set(groups) & {owners[row] for row in test}
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
        parts.append(probe.predict(embeddings[test]))
        rows.append(test)
        numbers.append(np.full(len(test), number))
    order = np.concatenate(rows)
    return Predictions(
        task,
        tuple(bag_ids[i] for i in order),
        tuple(patient_ids[i] for i in order),
        targets[order],
        PredictionArrays.concatenate(parts),
        np.concatenate(numbers),
    )


@dataclass(frozen=True)
class _Search:
    """Chooses the setting of one model by grouped inner folds.

    Attributes:
        kind: Which model.
        seed: Deals patients into folds.
        num_folds: Folds at most.
        names: The classes, "of class ..."; empty for a value or a time.
        where: What is predicted, for errors.
    """

    kind: ProbeKind
    seed: int
    num_folds: int
    names: Sequence[str]
    where: str

    def fit(
        self, embeddings: FloatArray, targets: npt.NDArray[Any], patients: IntArray
    ) -> GridSearchCV:
        """The search, refitted on all rows with the best setting."""
        splits = self._splits(targets, patients)
        smallest = min(len(train) for train, _ in splits)
        model, grid, scoring = _model(self.kind, not self.names, smallest)
        pipeline = Pipeline([("scale", StandardScaler()), ("model", model)])
        grid = {f"model__{name}": values for name, values in grid.items()}
        return GridSearchCV(pipeline, grid, scoring=scoring, cv=splits).fit(embeddings, targets)

    def _splits(self, targets: npt.NDArray[Any], patients: IntArray) -> list[FoldRows]:
        if self.kind == "cox":
            strata, needed = (targets[:, 1] > 0).astype(int), {1: "with an event"}
        elif self.names:
            strata, needed = targets, dict(enumerate(self.names))
        else:
            strata, needed = np.zeros(len(targets), dtype=int), {0: "of any value"}
        counts = {k: len(np.unique(patients[strata == k])) for k in needed}
        rarest = min(counts, key=lambda k: counts[k])
        if counts[rarest] < 2:
            raise LabelError(
                f"{self.where}: {counts[rarest]} patients {needed[rarest]} to train on",
                expected="at least 2, to choose the probe's setting",
                remedy="use fewer folds, or leave the class out",
            )
        dealer = StratifiedGroupKFold(
            min(self.num_folds, *counts.values()),
            shuffle=True,
            random_state=self.seed,
        )
        splits = list(dealer.split(np.zeros((len(strata), 1)), strata, patients))
        return [
            (train, test)
            for train, test in splits
            if set(strata[train]) == set(strata) and len(test)
        ]


def _model(kind: ProbeKind, regression: bool, num_rows: int) -> tuple[Any, dict[str, Any], Any]:
    """The estimator, the values of its setting to try, and how they are scored."""
    if kind == "logistic":
        # C is the inverse of a penalty on the sum over bags; here the penalty is per bag.
        inverse = [1 / (p * num_rows) for p in PENALTIES]
        return LogisticRegression(max_iter=5000), {"C": inverse}, _minus_brier
    if kind == "ridge":
        return Ridge(), {"alpha": [p * num_rows for p in PENALTIES]}, "neg_mean_squared_error"
    if kind == "cox":
        return CoxRegression(), {"alpha": list(PENALTIES)}, _concordance
    neighbours = {"n_neighbors": [k for k in NEIGHBOURS if k <= num_rows]}
    settings = {"metric": "cosine", "weights": "distance"}
    if regression:
        return KNeighborsRegressor(**settings), neighbours, "neg_mean_squared_error"
    return KNeighborsClassifier(**settings), neighbours, _minus_brier


def _minus_brier(model: Pipeline, embeddings: FloatArray, targets: IntArray) -> float:
    """A score of probabilities that, unlike log loss, bears a neighbour's certain error."""
    count = int(max(targets.max(), model.classes_.max())) + 1
    truth = np.eye(count)[targets]
    return -float(np.mean(np.sum((_probabilities(model, embeddings, count) - truth) ** 2, axis=1)))


def _concordance(model: Pipeline, embeddings: FloatArray, targets: FloatArray) -> float:
    """The c-index; a half where no pair of the inner fold can be compared."""
    value = c_index(model.predict(embeddings), targets)
    return 0.5 if np.isnan(value) else value


def _probabilities(model: Pipeline, embeddings: FloatArray, num_classes: int) -> FloatArray:
    """(N, num_classes), zero for a class the model never saw."""
    result = np.zeros((len(embeddings), num_classes))
    result[:, model.classes_.astype(int)] = model.predict_proba(embeddings)
    return result


def _kind(task: Task, kind: ProbeKind | None) -> ProbeKind:
    kinds = KINDS[task.output]
    if kind is not None and kind not in kinds:
        raise ConfigError(
            f"a {kind} probe for a {task.kind} task", expected=f"one of {', '.join(kinds)}"
        )
    return kind or kinds[0]


def _check_embeddings(embeddings: FloatArray) -> None:
    if embeddings.ndim != 2 or not np.isfinite(embeddings).all():
        bad = "" if embeddings.ndim != 2 else ", not all of them finite"
        raise ConfigError(
            f"slide embeddings of shape {embeddings.shape}{bad}",
            expected="finite numbers, one row per bag",
        )

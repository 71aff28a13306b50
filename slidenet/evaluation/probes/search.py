"""The setting of a probe, chosen by an inner cross-validation that never divides a patient."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from slidenet.core.arrays import FloatArray, IntArray
from slidenet.core.errors import LabelError
from slidenet.evaluation.probes.cox_regression import CoxRegression
from slidenet.metrics import c_index

ProbeKind = Literal["logistic", "ridge", "knn", "cox"]
FoldRows = tuple[npt.NDArray[Any], npt.NDArray[Any]]

PENALTIES = tuple(float(p) for p in np.logspace(-4, 2, 7))
NEIGHBOURS = (1, 3, 5, 10, 20, 50)


def search_setting(
    kind: ProbeKind,
    embeddings: FloatArray,
    targets: npt.NDArray[Any],
    patients: IntArray,
    *,
    class_names: Sequence[str],
    where: str,
    num_folds: int,
    seed: int,
) -> GridSearchCV:
    """The search, refitted on all rows with the best setting.

    Args:
        kind: Which model.
        embeddings: (N, D).
        targets: (N,) classes or values, or (N, 2) times and events.
        patients: int64 (N,).
        class_names: The classes as "of class ..."; empty for a value or a time.
        where: What is predicted, for errors.
        num_folds: Inner folds at most.
        seed: Deals patients into folds.

    Raises:
        LabelError: A class has bags of fewer than two patients.
    """
    if kind == "cox":
        strata, needed = (targets[:, 1] > 0).astype(int), {1: "with an event"}
    elif class_names:
        strata, needed = targets, dict(enumerate(class_names))
    else:
        strata, needed = np.zeros(len(targets), dtype=int), {0: "of any value"}
    counts = {k: len(np.unique(patients[strata == k])) for k in needed}
    rarest = min(counts, key=lambda k: counts[k])
    if counts[rarest] < 2:
        raise LabelError(
            f"{where}: {counts[rarest]} patients {needed[rarest]} to train on",
            expected="at least 2, to choose the probe's setting",
            remedy="use fewer folds, or leave the class out",
        )
    num_folds = min(num_folds, *counts.values())
    dealer = StratifiedGroupKFold(num_folds, shuffle=True, random_state=seed)
    folds = [
        (train, test)
        for train, test in dealer.split(np.zeros((len(strata), 1)), strata, patients)
        if set(strata[train]) == set(strata) and len(test)
    ]
    model, grid, scoring = _model(kind, not class_names, min(len(train) for train, _ in folds))
    pipeline = Pipeline([("scale", StandardScaler()), ("model", model)])
    grid = {f"model__{name}": values for name, values in grid.items()}
    return GridSearchCV(pipeline, grid, scoring=scoring, cv=folds).fit(embeddings, targets)


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
    """A score of probabilities that, unlike log loss, stays finite for certain errors."""
    count = int(max(targets.max(), model.classes_.max())) + 1
    truth = np.eye(count)[targets]
    return -float(
        np.mean(np.sum((class_probabilities(model, embeddings, count) - truth) ** 2, axis=1))
    )


def _concordance(model: Pipeline, embeddings: FloatArray, targets: FloatArray) -> float:
    """The c-index; a half where no pair of the inner fold can be compared."""
    value = c_index(model.predict(embeddings), targets)
    return 0.5 if np.isnan(value) else value


def class_probabilities(model: Pipeline, embeddings: FloatArray, num_classes: int) -> FloatArray:
    """(N, num_classes), zero for a class the model never saw."""
    result = np.zeros((len(embeddings), num_classes))
    result[:, model.classes_.astype(int)] = model.predict_proba(embeddings)
    return result

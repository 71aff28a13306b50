"""`compute_metrics`: every metric of a task from arrays, one definition for all of slidenet.

- binary: auroc, average_precision (both of class 1), balanced_accuracy, f1_macro, brier, ece
- multiclass, ordinal: the same, where auroc and average_precision are the mean of one class against
  the rest, and each class's own (auroc_<class>, average_precision_<class>); quadratic_kappa in the
  order of the classes
- multilabel: as binary, each the mean over labels of its value on the bags where the label is
  known; auroc and average_precision of each label too
- regression: mae, r2, spearman
- cox, discrete_time: c_index (Harrell); integrated_brier where survival is predicted

NaN means that a metric is not defined on these bags (a class without bags, a constant target, no
comparable pair, a prediction that is not finite); a mean over classes is NaN if one of them is.
Classes are predicted by the highest probability; "binary" and "multilabel" at 0.5 or `threshold`.
ECE: 15 bins; of P(class 1) for "binary" and each label, of the predicted class otherwise.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from slidenet.core.arrays import FloatArray
from slidenet.metrics import (
    DEFAULT_THRESHOLD,
    BinaryCases,
    Cases,
    ClassCases,
    LabelCases,
    RiskCases,
    SurvivalCases,
    TargetType,
    ValueCases,
)
from slidenet.metrics import compute_metrics as compute
from slidenet.metrics import metric_names as names_of
from slidenet.tasks.prediction import PredictionArrays
from slidenet.tasks.task import Task


def compute_metrics(
    task: Task,
    prediction: PredictionArrays,
    target: npt.NDArray[Any],
    *,
    threshold: float = DEFAULT_THRESHOLD,
    censoring_target: FloatArray | None = None,
) -> dict[str, float]:
    """Every metric of the task on N bags; names and definitions in this module's docstring.

    Args:
        task: What is predicted.
        prediction: Arrays of N bags.
        target: As `Task` says, N bags.
        threshold: From which probability on a class of "binary" or a label is predicted.
        censoring_target: (M, 2) bags whose censoring weights the Brier score; `target` by default.

    Returns:
        Metric name -> value, always the same names for one task and kind of prediction.
    """
    if not _finite(prediction):
        return dict.fromkeys(metric_names(task, survival=prediction.survival is not None), np.nan)
    return compute(_cases(task, prediction, target, threshold, censoring_target), task.class_names)


def metric_names(task: Task, *, survival: bool | None = None) -> tuple[str, ...]:
    """Names `compute_metrics` gives for a task.

    Args:
        task: What is predicted.
        survival: Whether survival curves are predicted; by default for "discrete_time" only.
    """
    curves = task.kind == "discrete_time" if survival is None else survival
    target_type: TargetType = "censored, with curves" if curves else "censored"
    match task.kind:
        case "binary":
            target_type = "binary"
        case "multiclass" | "ordinal":
            target_type = "multiclass"
        case "multilabel":
            target_type = "multilabel"
        case "regression":
            target_type = "continuous"
    return names_of(target_type, task.class_names)


def _finite(prediction: PredictionArrays) -> bool:
    arrays = (prediction.probabilities, prediction.value, prediction.risk, prediction.survival)
    return all(bool(np.isfinite(a).all()) for a in arrays if a is not None)


def _cases(
    task: Task,
    prediction: PredictionArrays,
    target: npt.NDArray[Any],
    threshold: float,
    censoring_target: FloatArray | None,
) -> Cases:
    if task.kind == "regression":
        assert prediction.value is not None
        return ValueCases(prediction.value.astype(np.float64), target.astype(np.float64))
    if task.is_survival:
        assert prediction.risk is not None
        if prediction.survival is None:
            return RiskCases(prediction.risk, target)
        times = prediction.survival_times
        return SurvivalCases(prediction.risk, target, prediction.survival, times, censoring_target)
    assert prediction.probabilities is not None
    probabilities = prediction.probabilities.astype(np.float64)
    if task.kind == "binary":
        return BinaryCases(probabilities[:, 1], target == 1, threshold)
    if task.kind != "multilabel":
        return ClassCases(probabilities, target)
    labels = []
    for score, truth in zip(probabilities.T, target.T, strict=True):
        known = ~np.isnan(truth)
        labels.append(BinaryCases(score[known], truth[known] == 1, threshold))
    return LabelCases(labels)

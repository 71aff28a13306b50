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

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from slidenet.core.arrays import FloatArray
from slidenet.metrics.classification import (
    auroc,
    average_precision,
    balanced_accuracy,
    brier_score,
    confusion_matrix,
    expected_calibration_error,
    f1_macro,
    quadratic_kappa,
)
from slidenet.metrics.regression import mean_absolute_error, r2, spearman
from slidenet.metrics.survival import c_index, integrated_brier
from slidenet.tasks.prediction import PredictionArrays
from slidenet.tasks.task import Task

DEFAULT_THRESHOLD = 0.5


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
    if task.is_classification:
        assert prediction.probabilities is not None
        probabilities = prediction.probabilities.astype(np.float64)
        if task.kind == "binary":
            return _binary(probabilities[:, 1], target, threshold)
        if task.kind == "multilabel":
            return _multilabel(task, probabilities, target, threshold)
        return _multiclass(task, probabilities, target)
    if task.kind == "regression":
        assert prediction.value is not None
        value, truth = prediction.value.astype(np.float64), target.astype(np.float64)
        return {
            "mae": mean_absolute_error(value, truth),
            "r2": r2(value, truth),
            "spearman": spearman(value, truth),
        }
    assert prediction.risk is not None
    values = {"c_index": c_index(prediction.risk, target)}
    if prediction.survival is not None:
        values["integrated_brier"] = integrated_brier(
            prediction.survival, prediction.survival_times, target, censoring_target
        )
    return values


def metric_names(task: Task, *, survival: bool | None = None) -> tuple[str, ...]:
    """Names `compute_metrics` gives for a task.

    Args:
        task: What is predicted.
        survival: Whether survival curves are predicted; by default for "discrete_time" only.
    """
    if task.kind == "regression":
        return ("mae", "r2", "spearman")
    if task.is_survival:
        curves = task.kind == "discrete_time" if survival is None else survival
        return ("c_index", "integrated_brier") if curves else ("c_index",)
    names = ["auroc", "average_precision", "balanced_accuracy", "f1_macro", "brier", "ece"]
    if task.kind in ("multiclass", "ordinal"):
        names.append("quadratic_kappa")
    if task.kind != "binary":
        names += [f"auroc_{name}" for name in task.class_names]
        names += [f"average_precision_{name}" for name in task.class_names]
    return tuple(names)


def _finite(prediction: PredictionArrays) -> bool:
    arrays = (prediction.probabilities, prediction.value, prediction.risk, prediction.survival)
    return all(bool(np.isfinite(a).all()) for a in arrays if a is not None)


def _binary(score: FloatArray, target: npt.NDArray[Any], threshold: float) -> dict[str, float]:
    positive = target == 1
    confusion = confusion_matrix(positive, score >= threshold, 2)
    return {
        "auroc": auroc(score, positive),
        "average_precision": average_precision(score, positive),
        "balanced_accuracy": balanced_accuracy(confusion),
        "f1_macro": f1_macro(confusion),
        "brier": brier_score(score, positive),
        "ece": expected_calibration_error(score, positive),
    }


def _multiclass(
    task: Task, probabilities: FloatArray, target: npt.NDArray[Any]
) -> dict[str, float]:
    predicted = probabilities.argmax(1)
    confusion = confusion_matrix(target, predicted, task.num_classes)
    each = _per_class(task, lambda f, k: f(probabilities[:, k], target == k))
    return {
        "auroc": _mean(each, "auroc_", task),
        "average_precision": _mean(each, "average_precision_", task),
        "balanced_accuracy": balanced_accuracy(confusion),
        "f1_macro": f1_macro(confusion),
        "brier": brier_score(probabilities, target),
        "ece": expected_calibration_error(probabilities.max(1, initial=0), predicted == target),
        "quadratic_kappa": quadratic_kappa(confusion),
        **each,
    }


def _multilabel(
    task: Task, probabilities: FloatArray, target: FloatArray, threshold: float
) -> dict[str, float]:
    known = ~np.isnan(target)
    labels = []
    for k in range(task.num_classes):
        score, truth = probabilities[known[:, k], k], target[known[:, k], k]
        label = _binary(score, truth, threshold)
        label["f1_macro"] = _positive_f1(score >= threshold, truth == 1)
        labels.append(label)
    means = {name: float(np.mean([label[name] for label in labels])) for name in labels[0]}
    for curve in ("auroc", "average_precision"):
        for name, label in zip(task.class_names, labels, strict=True):
            means[f"{curve}_{name}"] = label[curve]
    return means


def _positive_f1(predicted: npt.NDArray[np.bool_], positive: npt.NDArray[np.bool_]) -> float:
    """F1 of one label; NaN where it neither occurs nor is predicted (scikit-learn says 0)."""
    doubled = int(predicted.sum()) + int(positive.sum())
    return 2 * int((predicted & positive).sum()) / doubled if doubled else float("nan")


def _per_class(
    task: Task, value: Callable[[Callable[[FloatArray, npt.NDArray[np.bool_]], float], int], float]
) -> dict[str, float]:
    curves = {"auroc": auroc, "average_precision": average_precision}
    return {
        f"{curve}_{name}": value(function, k)
        for curve, function in curves.items()
        for k, name in enumerate(task.class_names)
    }


def _mean(each: dict[str, float], prefix: str, task: Task) -> float:
    return float(np.mean([each[prefix + name] for name in task.class_names]))

"""Metrics of every task: functions of arrays, and the torchmetrics objects that gather for them."""

from slidenet.training.metrics.classification import (
    auroc,
    average_precision,
    balanced_accuracy,
    brier_score,
    confusion_matrix,
    expected_calibration_error,
    f1_macro,
    quadratic_kappa,
)
from slidenet.training.metrics.compute import compute_metrics, metric_names
from slidenet.training.metrics.regression import mean_absolute_error, r2, spearman
from slidenet.training.metrics.survival import (
    brier_curve,
    c_index,
    censoring_survival,
    integrated_brier,
)
from slidenet.training.metrics.task_metrics import EpochLoss, TaskMetrics, make_metrics

__all__ = [
    "EpochLoss",
    "TaskMetrics",
    "auroc",
    "average_precision",
    "balanced_accuracy",
    "brier_curve",
    "brier_score",
    "c_index",
    "censoring_survival",
    "compute_metrics",
    "confusion_matrix",
    "expected_calibration_error",
    "f1_macro",
    "integrated_brier",
    "make_metrics",
    "mean_absolute_error",
    "metric_names",
    "quadratic_kappa",
    "r2",
    "spearman",
]

"""Metrics of every task: functions of arrays, and the torchmetrics objects that gather for them."""

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
from slidenet.metrics.survival import brier_curve, c_index, censoring_survival, integrated_brier

__all__ = [
    "auroc",
    "average_precision",
    "balanced_accuracy",
    "brier_curve",
    "brier_score",
    "c_index",
    "censoring_survival",
    "confusion_matrix",
    "expected_calibration_error",
    "f1_macro",
    "integrated_brier",
    "mean_absolute_error",
    "quadratic_kappa",
    "r2",
    "spearman",
]

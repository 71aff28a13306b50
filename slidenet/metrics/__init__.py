"""Floor 1: metrics as records and plain functions of arrays, and what is computed for a target."""

from slidenet.metrics.classification import (
    auroc,
    average_precision,
    balanced_accuracy,
    brier_score,
    expected_calibration_error,
    f1_macro,
    f1_positive,
    quadratic_kappa,
)
from slidenet.metrics.metric import (
    DEFAULT_THRESHOLD,
    BinaryCases,
    Cases,
    ClassCases,
    LabelCases,
    Metric,
    RiskCases,
    SurvivalCases,
    TargetType,
    ValueCases,
    confusion_matrix,
)
from slidenet.metrics.registry import (
    METRICS,
    compute_metrics,
    metric_names,
    metric_of,
    metric_words,
)
from slidenet.metrics.regression import mean_absolute_error, r2, spearman
from slidenet.metrics.survival import brier_curve, c_index, censoring_survival, integrated_brier

__all__ = [  # noqa: RUF022 - plain sorted order, as the architecture test asks
    "BinaryCases",
    "Cases",
    "ClassCases",
    "DEFAULT_THRESHOLD",
    "LabelCases",
    "METRICS",
    "Metric",
    "RiskCases",
    "SurvivalCases",
    "TargetType",
    "ValueCases",
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
    "f1_positive",
    "integrated_brier",
    "mean_absolute_error",
    "metric_names",
    "metric_of",
    "metric_words",
    "quadratic_kappa",
    "r2",
    "spearman",
]

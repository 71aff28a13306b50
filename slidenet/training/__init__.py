"""Floor 4: losses, predictions, metrics and the Lightning module that trains on bags."""

from slidenet.training.baseline import BreslowBaseline, fit_breslow
from slidenet.training.losses import check_batch_size, check_class_weights, task_loss
from slidenet.training.metrics import (
    EpochLoss,
    TaskMetrics,
    compute_metrics,
    make_metrics,
    metric_names,
)
from slidenet.training.prediction import PredictionArrays, TaskPrediction, predict_task

__all__ = [
    "BreslowBaseline",
    "EpochLoss",
    "PredictionArrays",
    "TaskMetrics",
    "TaskPrediction",
    "check_batch_size",
    "check_class_weights",
    "compute_metrics",
    "fit_breslow",
    "make_metrics",
    "metric_names",
    "predict_task",
    "task_loss",
]

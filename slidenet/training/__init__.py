"""Floor 4: losses, predictions, metrics and the Lightning module that trains on bags."""

from slidenet.training.baseline import BreslowBaseline, fit_breslow, survival_report_times
from slidenet.training.bundle import Bundle, load_bundle, save_bundle
from slidenet.training.callbacks import default_callbacks
from slidenet.training.loading import load_classifier
from slidenet.training.losses import check_batch_size, check_class_weights, task_loss
from slidenet.training.metrics import (
    EpochLoss,
    TaskMetrics,
    compute_metrics,
    make_metrics,
    metric_names,
)
from slidenet.training.module import BagPredictions, SlideClassifier
from slidenet.training.monitor import default_monitor, monitor_mode
from slidenet.training.prediction import PredictionArrays, TaskPrediction, predict_task
from slidenet.training.quiet import quiet_lightning
from slidenet.training.seeding import EpochSeeding, seed_run

__all__ = [
    "BagPredictions",
    "BreslowBaseline",
    "Bundle",
    "EpochLoss",
    "EpochSeeding",
    "PredictionArrays",
    "SlideClassifier",
    "TaskMetrics",
    "TaskPrediction",
    "check_batch_size",
    "check_class_weights",
    "compute_metrics",
    "default_callbacks",
    "default_monitor",
    "fit_breslow",
    "load_bundle",
    "load_classifier",
    "make_metrics",
    "metric_names",
    "monitor_mode",
    "predict_task",
    "quiet_lightning",
    "save_bundle",
    "seed_run",
    "survival_report_times",
    "task_loss",
]

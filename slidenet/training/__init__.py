"""Floor 4: losses, predictions, metrics and the Lightning module that trains on bags."""

from slidenet.training.bundle import Bundle, load_bundle, save_bundle
from slidenet.training.callbacks import default_callbacks
from slidenet.training.epoch_metrics import EpochLoss, TaskMetrics, make_metrics
from slidenet.training.loading import load_classifier
from slidenet.training.module import BagPredictions, SlideClassifier
from slidenet.training.monitor import default_monitor, monitor_mode
from slidenet.training.quiet import quiet_lightning
from slidenet.training.seeding import EpochSeeding, seed_run

__all__ = [
    "BagPredictions",
    "Bundle",
    "EpochLoss",
    "EpochSeeding",
    "SlideClassifier",
    "TaskMetrics",
    "default_callbacks",
    "default_monitor",
    "load_bundle",
    "load_classifier",
    "make_metrics",
    "monitor_mode",
    "quiet_lightning",
    "save_bundle",
    "seed_run",
]

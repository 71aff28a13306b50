"""Floor 5: the Lightning module that trains on bags, its callbacks and bundles."""

from slidenet.training.bundle import Bundle, load_bundle, load_classifier, save_bundle
from slidenet.training.callbacks import EpochSeeding, default_callbacks, quiet_lightning, seed_run
from slidenet.training.epoch_metrics import EpochMetrics
from slidenet.training.module import SlideClassifier

__all__ = [
    "Bundle",
    "EpochMetrics",
    "EpochSeeding",
    "SlideClassifier",
    "default_callbacks",
    "load_bundle",
    "load_classifier",
    "quiet_lightning",
    "save_bundle",
    "seed_run",
]

"""Floor 5: the Lightning module that trains on bags, its callbacks and bundles."""

from slidenet.training.bundle import Bundle, load_bundle, save_bundle
from slidenet.training.callbacks import default_callbacks
from slidenet.training.epoch_metrics import EpochMetrics
from slidenet.training.loading import load_classifier
from slidenet.training.module import SlideClassifier
from slidenet.training.quiet import quiet_lightning
from slidenet.training.seeding import EpochSeeding, seed_run

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

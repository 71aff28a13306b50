"""Floor 5: the Lightning module that trains on bags, its callbacks and bundles."""

from slidenet.training.bundles.bundle import Bundle, model_digest, save_bundle
from slidenet.training.bundles.ensemble import Ensemble, load_bundle, save_ensemble
from slidenet.training.bundles.restoring import load_classifier
from slidenet.training.callbacks import EpochSeeding, default_callbacks, quiet_lightning, seed_run
from slidenet.training.epoch_metrics import EpochMetrics
from slidenet.training.module import SlideClassifier

__all__ = [
    "Bundle",
    "Ensemble",
    "EpochMetrics",
    "EpochSeeding",
    "SlideClassifier",
    "default_callbacks",
    "load_bundle",
    "load_classifier",
    "model_digest",
    "quiet_lightning",
    "save_bundle",
    "save_ensemble",
    "seed_run",
]

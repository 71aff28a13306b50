"""Cohorts whose lesions are known, and the models trained on them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import slidenet
from slidenet.core.arrays import BoolArray
from slidenet.data.datamodule import read_bags
from slidenet.mil import BagBatch
from slidenet.pipelines.fitting.bundles import BUNDLE_NAME
from slidenet.testing import read_lesion_tiles
from slidenet.testing.cohorts.feature_cohort import (
    FeatureCohort,
    GeneratedCohort,
    generate_features,
    write_generated,
)
from slidenet.testing.cohorts.load_cohort import generate_load_cohort
from slidenet.training import Bundle, load_bundle

FEATURE_DIM = 32
VAL_SHARE, TEST_SHARE = 0.15, 0.15
POOLED: dict[str, Any] = {"hidden_dim": 64, "attention_dim": 32}
SQUARED: dict[str, Any] = {
    "embed_dim": 64, "num_heads": 4, "num_landmarks": 16, "dropout": 0.25
}  # fmt: skip
LONGNET: dict[str, Any] = {"embed_dim": 64, "depth": 2, "ffn_dim": 128, "num_heads": 4}
"""Pooling and segments as `longnet` has them unless told otherwise: a bag fits into the first
segment, and the wider ones see a half and a quarter of it once more."""

CLASS_TOKEN: dict[str, Any] = LONGNET | {"pooling": "class_token"}
DILATED: dict[str, Any] = CLASS_TOKEN | {"segment_lengths": [32, 128], "dilation_rates": [1, 2]}
"""Segments so short that no token sees all others."""

WHOLE: dict[str, Any] = CLASS_TOKEN | {"segment_lengths": [64, 128], "dilation_rates": [1, 2]}
"""Every tile of a slide of the position cohort sees every other one, and half of them twice."""


@dataclass(frozen=True)
class Setup:
    """A model on a cohort.

    Attributes:
        words: Head of its column.
        cohort: Key of `COHORTS`.
        network: Its name.
        network_settings: Small, for a CPU.
        task: What it predicts.
        label_columns: Where that stands.
        training: Further settings of `slidenet.train`.
        is_slow: Whether maps of many passes take seconds for a slide.
    """

    words: str
    cohort: str
    network: str
    network_settings: dict[str, Any]
    task: str = "binary"
    label_columns: tuple[str, ...] = ("label",)
    training: dict[str, Any] = field(default_factory=dict)
    is_slow: bool = False


def presence(seed: int, num_patients: int = 1000) -> GeneratedCohort:
    """One to three lesions or none; 3 to 10 % of the tiles of a slide that has some."""
    return generate_features(
        num_patients=num_patients,
        slides_per_patient=(1,),
        num_tiles=144,
        feature_dim=FEATURE_DIM,
        signal=4.0,
        num_lesions=(1, 3),
        seed=seed,
    )


def position(seed: int) -> GeneratedCohort:
    """Two lesions near each other or far apart, and two blocks that only look like lesions."""
    return generate_features(
        num_patients=1200,
        slides_per_patient=(1,),
        num_tiles=64,
        feature_dim=24,
        signal=10.0,
        rule="near_vs_far",
        num_distractors=2,
        seed=seed,
    )


def load(seed: int) -> GeneratedCohort:
    """None to six lesions; the value and the risk grow with their number."""
    return generate_load_cohort(
        num_patients=360, num_tiles=144, feature_dim=FEATURE_DIM, signal=4.0, seed=seed
    )


COHORTS = {
    "presence": presence,
    "presence_few": partial(presence, num_patients=360),
    "position": position,
    "load": load,
}
DRAWN: dict[str, Any] = {"data": {"max_tiles": 100}, "trainer": {"gradient_clip_val": 1.0}}
SLOWLY: dict[str, Any] = {
    "data": {"max_tiles": 60}, "model": {"learning_rate": 5e-4, "weight_decay": 0.1}
}  # fmt: skip
PLACED: dict[str, Any] = {
    "data": {"max_tiles": 48, "turn_positions": True, "batch_size": 16},
    "model": {
        "feature_components": 3, "feature_scale": 1.0, "learning_rate": 1.5e-3,
        "weight_decay": 0.05, "warmup_epochs": 5,
    },
    "trainer": {"gradient_clip_val": 1.0, "max_epochs": 34},
    "patience": None,
}  # fmt: skip
SETUPS = {
    "abmil": Setup("ABMIL", "presence", "abmil", POOLED),
    "clam_sb": Setup("CLAM-SB", "presence", "clam_sb", POOLED),
    "regression": Setup("ABMIL, value", "load", "abmil", POOLED, "regression", ("load",)),
    "cox": Setup("ABMIL, risk", "load", "abmil", POOLED, "cox", ("time", "event")),
    "longnet": Setup("LongNet", "presence", "longnet", LONGNET, training=DRAWN, is_slow=True),
    "longnet_position": Setup("LongNet, position", "position", "longnet", WHOLE, training=PLACED),
    "longnet_dilated": Setup(
        "LongNet, dilated", "presence", "longnet", DILATED, training=DRAWN, is_slow=True
    ),
    "transmil": Setup(
        "TransMIL", "presence_few", "transmil", SQUARED, training=SLOWLY, is_slow=True
    ),
}
"""Those that take longest last."""


def write_cohort(out: Path, name: str, seed: int) -> FeatureCohort:
    """The cohort on disk, written once."""
    folder = out / f"{name}_{seed}"
    paths = FeatureCohort(
        folder / "labels.csv",
        folder / "features",
        folder / "splits.csv",
        folder / "lesion_tiles.csv",
    )
    if not paths.lesions.is_file():  # the last of them
        write_generated(COHORTS[name](seed), folder)
    return paths


def train(out: Path, name: str, seed: int) -> Bundle:
    """The trained model of a setup and a seed; a finished training is only read."""
    setup = SETUPS[name]
    folder = out / f"{name}_{seed}"
    if not (folder / BUNDLE_NAME).is_file():
        trainer = {"accelerator": "cpu", "enable_progress_bar": False}
        rest = dict(setup.training)
        slidenet.train(
            folder,
            data=_data(write_cohort(out, setup.cohort, seed), setup, seed, 8)
            | rest.pop("data", {}),
            model={"network": setup.network, "network_settings": setup.network_settings}
            | rest.pop("model", {}),
            trainer=trainer | rest.pop("trainer", {}),
            seed=seed,
            probes=False,
            ablation=False,
            **rest,
        )
    bundle = load_bundle(folder / BUNDLE_NAME)
    assert isinstance(bundle, Bundle)
    return bundle


def test_bags(out: Path, name: str, seed: int) -> Iterator[tuple[BagBatch, BoolArray]]:
    """The test slides one by one, and which of their tiles are lesion."""
    setup = SETUPS[name]
    paths = write_cohort(out, setup.cohort, seed)
    loader = read_bags(**_data(paths, setup, seed, 1)).test_dataloader()
    for batch in loader:
        yield batch, read_lesion_tiles(paths.lesions, batch.bag_ids[0], batch.coords[0].numpy())


def _data(paths: FeatureCohort, setup: Setup, seed: int, batch_size: int) -> dict[str, Any]:
    return {
        "labels": paths.labels,
        "features": paths.features,
        "task": setup.task,
        "label_columns": list(setup.label_columns),
        "batch_size": batch_size,
        "val_fraction": VAL_SHARE,
        "test_fraction": TEST_SHARE,
        "seed": seed,
        "cache": True,
    }

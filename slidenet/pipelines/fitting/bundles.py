"""Trained models as files: written after a fit, checked against the data they are applied to."""

from pathlib import Path

import numpy as np
from tqdm import tqdm

from slidenet.core.errors import ConfigError, IdentityMismatchError
from slidenet.core.provenance import describe_difference
from slidenet.data import BagDataset, collate_bags
from slidenet.data.bags.places import check_places
from slidenet.data.datamodule import BagDataModule
from slidenet.pipelines.fitting.fit import TrainedModel
from slidenet.pipelines.fitting.plan import TrainingPlan
from slidenet.stores import FeatureFile
from slidenet.tasks import Calibration
from slidenet.training import Bundle, Ensemble, save_bundle
from slidenet.training.feature_statistics import (
    MOST_BAGS,
    FeatureStatistics,
    fit_statistics,
    mean_features,
)

BUNDLE_NAME = "model.slidenet"


def write_bundle(
    path: Path,
    trained: TrainedModel,
    data: BagDataModule,
    calibration: Calibration,
    plan: TrainingPlan,
) -> None:
    """Writes the model with all that is needed to apply it to new slides."""
    rule = data.settings.dividing
    dividing = {} if rule is None else {"min_region_share": rule.min_region_share}
    save_bundle(
        path,
        trained.module,
        features_identity=data.cohort.features_identity,
        calibration=calibration,
        training={
            "bag": data.settings.bag,
            **dividing,
            "given": data.settings.given,
            "seed": plan.settings.seed,
            "score": trained.score,
            "trainer": plan.trainer.identity,
        },
        statistics=training_statistics(data),
    )


def training_statistics(data: BagDataModule) -> FeatureStatistics | None:
    """How the features of the training bags lie; see `FeatureStatistics`."""
    bags = data.bags("train")
    chosen = np.unique(np.linspace(0, len(bags) - 1, min(len(bags), MOST_BAGS)).round().astype(int))
    dataset = BagDataset([bags[i] for i in chosen], memory=data.cohort.memory)
    rows = [
        mean_features(collate_bags([dataset[i]]))
        for i in tqdm(range(len(dataset)), desc="features", unit=" bags", leave=False, disable=None)
    ]
    return fit_statistics(np.concatenate(rows))


def check_fits(bundle: Bundle | Ensemble, data: BagDataModule, source: Path) -> None:
    """Refuses a model of another task or of other features.

    Raises:
        ConfigError: Another task.
        IdentityMismatchError: Features made with other settings, naming what differs.
    """
    if bundle.task.identity() != data.task_record.identity():
        raise ConfigError(
            f"{source} was trained for {bundle.task.describe()}",
            expected=f"{data.task_record.describe()}, as the labels are read here",
            remedy="use the model of that task, or read the labels as it does",
        )
    difference = describe_difference(bundle.features_identity, data.cohort.features_identity)
    if difference:
        raise IdentityMismatchError(
            f"{source} was trained on features made with other settings ({difference})",
            remedy="make the features as it was trained on, with `slidenet run`",
        )
    check_feature_dim(bundle, source, next(iter(data.bag_files.values())))
    check_bundle_places(bundle, *data.bag_files.values())


def check_bundle_places(bundle: Bundle | Ensemble, *files: FeatureFile) -> None:
    """Refuses features without places for a model that goes by them.

    Raises:
        ConfigError: Naming the model and the slide.
    """
    for member in bundle.members:
        check_places(files, member.module.network, str(member.module.hparams["network"]))


def check_feature_dim(bundle: Bundle | Ensemble, source: Path, file: FeatureFile) -> None:
    """Refuses features of another length than the model takes.

    Raises:
        IdentityMismatchError: Naming the file.
    """
    wanted = bundle.members[0].module.feature_dim
    if file.feature_dim != wanted:
        raise IdentityMismatchError(
            f"{file.path} has {file.feature_dim} features per tile",
            expected=f"the {wanted} that {source} was trained on",
        )

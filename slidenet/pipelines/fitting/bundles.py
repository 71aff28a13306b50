"""Trained models as files: written after a fit, checked against the data they are applied to."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from slidenet.core.errors import ConfigError, IdentityMismatchError, LabelError, StoreError
from slidenet.core.provenance import describe_difference
from slidenet.core.records import SlideRow
from slidenet.core.text import count_of, name_some
from slidenet.data import BagDataset, collate_bags
from slidenet.data.bags.places import check_places
from slidenet.data.covariates import CovariateTable, describe_missing, read_covariates
from slidenet.data.datamodule import BagDataModule
from slidenet.pipelines.fitting.fit import TrainedModel
from slidenet.pipelines.fitting.plan import TrainingPlan
from slidenet.pipelines.fitting.seen import seen_ids
from slidenet.stores import FeatureFile
from slidenet.tasks import Calibration
from slidenet.training import Bundle, Ensemble, load_bundle, model_digest, save_bundle
from slidenet.training.features.statistics import (
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
    more = data.cohort.more_identities
    save_bundle(
        path,
        trained.module,
        features_identity=data.cohort.features_identity,
        calibration=calibration,
        training={
            "bag": data.settings.bag,
            **dividing,
            **({"more_features": [*more]} if more else {}),
            "given": data.settings.given,
            "seed": plan.settings.seed,
            "score": trained.score,
            "trainer": plan.trainer.identity,
            "run": trained.run,
            "seen": seen_ids(data),
        },
        statistics=training_statistics(data),
    )


def holds_model(path: Path, digest: str) -> bool:
    """Whether a file is a bundle of this very model, by whatever version.

    Args:
        path: Of a run of ours, whose settings have been compared.
        digest: See `model_digest`.
    """
    try:
        bundle = load_bundle(path, allow_code=True)
    except StoreError:  # not there, or damaged
        return False
    return isinstance(bundle, Bundle) and model_digest(bundle.module, bundle.calibration) == digest


def training_statistics(data: BagDataModule) -> FeatureStatistics | None:
    """How the features of the training bags lie; see `FeatureStatistics`."""
    bags = data.bags("train")
    chosen = np.unique(np.linspace(0, len(bags) - 1, min(len(bags), MOST_BAGS)).round().astype(int))
    dataset = BagDataset([bags[i] for i in chosen], memory=data.cohort.memory)
    rows = [
        mean_features(collate_bags([dataset[i]]))
        for i in tqdm(range(len(dataset)), desc="features", unit=" bags", leave=False, disable=None)
    ]
    patients = [data.label_table.patient_of(bags[i].slide_ids[0]) for i in chosen]
    return fit_statistics(np.concatenate(rows), patients)


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
    known = data.cohort.covariates
    check_covariates(bundle, source, {} if known is None else known.categories)
    check_more_features(bundle, source, [next(iter(one.values())) for one in data.cohort.others])


def covariates_for(
    bundle: Bundle | Ensemble, rows: Sequence[SlideRow], *, source: str
) -> CovariateTable | None:
    """The covariates of new slides, as a model takes them; None where it takes none.

    Args:
        bundle: The model.
        rows: The slides, with all that their table says.
        source: The table, for messages.

    Raises:
        LabelError: A column is not there, or holds something else than in the training.
    """
    kinds = bundle.covariate_kinds
    if not kinds:
        return None
    for name in kinds:
        if not any(name in row.labels for row in rows):
            raise LabelError(
                f"{source} has no column {name!r}, a covariate the model was trained with",
                expected=f"the columns {', '.join(kinds)}; cells may be empty where not known",
                remedy="add them to the table of slides",
            )
    seen: dict[str, set[str]] = {name: set() for name in kinds}
    for member in bundle.members:
        for column in member.module.covariate_columns:
            seen[column.name] |= set(column.categories or ())
    table = read_covariates(rows, kinds, source=source, spelled=seen)
    notes = [*table.notes, *describe_missing(table, [[row.slide_id] for row in rows])]
    for name, there in table.categories.items():
        unseen = [repr(category) for category in there or () if category not in seen[name]]
        if unseen:
            notes.append(
                f"covariate {name!r}: {name_some(unseen)} was not seen in training, and counts as "
                "not known"
            )
    return replace(table, notes=tuple(notes))


def check_covariates(
    bundle: Bundle | Ensemble, source: Path, given: Mapping[str, Sequence[str] | None]
) -> None:
    """Refuses other covariates than the model takes.

    Args:
        bundle: The model.
        source: Where it comes from.
        given: The covariates of the data, in order; None for a number.

    Raises:
        ConfigError: Naming what to give.
    """
    wanted = bundle.covariate_kinds
    if list(given) != list(wanted):
        flags = f"--data.covariates {' '.join(wanted)}" if wanted else "no --data.covariates"
        raise ConfigError(
            f"{source} was trained {with_covariates(wanted)}",
            expected=f"the same here, not {with_covariates(given)}",
            remedy=f"give {flags}",
        )
    for name, categories in given.items():
        if (categories is not None) != wanted[name]:
            raise ConfigError(
                f"{source} was trained with the covariate {name!r} as a "
                f"{'category' if wanted[name] else 'number'}",
                expected="the same here, where its cells are read as the other",
                remedy=f"give --data.categorical {name}" if wanted[name] else "correct its cells",
            )


def with_covariates(names: Iterable[str]) -> str:
    """`with the covariates age, sex` or `without covariates`, for messages."""
    named = ", ".join(names)
    return f"with the covariates {named}" if named else "without covariates"


def check_more_features(
    bundle: Bundle | Ensemble, source: Path, files: Sequence[FeatureFile]
) -> None:
    """Refuses other further feature sets than the model takes.

    Args:
        bundle: The model.
        source: Where it comes from.
        files: One of each further feature set, in order.

    Raises:
        ConfigError: Another number of sets.
        IdentityMismatchError: Features made with other settings, or of another length.
    """
    wanted = bundle.more_identities
    if len(files) != len(wanted):
        raise ConfigError(
            f"{source} was trained on {count_of('feature set', 1 + len(wanted))}",
            expected=f"as many here, not {1 + len(files)}",
            remedy="give their folders, in the order of the training, as features and "
            "more-features",
        )
    for number, (file, identity) in enumerate(zip(files, wanted, strict=True), 1):
        difference = describe_difference(identity, file.cohort_identity)
        if difference:
            raise IdentityMismatchError(
                f"{file.path}: feature set {number + 1} is not as the one {source} was trained on "
                f"({difference})",
                remedy="give the folders in the order of the training, with features made alike",
            )
        check_feature_dim(bundle, source, file, number)


def check_bundle_places(bundle: Bundle | Ensemble, *files: FeatureFile) -> None:
    """Refuses features without places for a model that goes by them.

    Raises:
        ConfigError: Naming the model and the slide.
    """
    for member in bundle.members:
        check_places(files, member.module.network, str(member.module.hparams["network"]))


def check_feature_dim(
    bundle: Bundle | Ensemble, source: Path, file: FeatureFile, number: int = 0
) -> None:
    """Refuses features of another length than the model takes.

    Args:
        bundle: The model.
        source: Where it comes from.
        file: The features.
        number: Of their feature set, counted from 0.

    Raises:
        IdentityMismatchError: Naming the file.
    """
    wanted = bundle.members[0].module.feature_dims[number]
    if file.feature_dim != wanted:
        raise IdentityMismatchError(
            f"{file.path} has {file.feature_dim} features per tile",
            expected=f"the {wanted} that {source} was trained on",
        )

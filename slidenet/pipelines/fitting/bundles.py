"""Trained models as files: written after a fit, checked against the data they are applied to."""

from pathlib import Path

from slidenet.core.errors import ConfigError, IdentityMismatchError
from slidenet.data.datamodule import BagDataModule
from slidenet.pipelines.fitting.fit import TrainedModel
from slidenet.pipelines.fitting.plan import TrainingPlan
from slidenet.pipelines.fitting.predictions import Finish
from slidenet.stores import FeatureFile
from slidenet.stores.h5.identity import describe_difference
from slidenet.tasks.task import Task
from slidenet.training import Bundle, save_bundle

BUNDLE_NAME = "model.slidenet"


def write_bundle(
    path: Path,
    trained: TrainedModel,
    data: BagDataModule,
    finish: Finish,
    plan: TrainingPlan,
) -> None:
    """Writes the model with all that is needed to apply it to new slides."""
    task = trained.module.task
    save_bundle(
        path,
        trained.module,
        features_identity=data.cohort.features_identity,
        threshold=finish.threshold,
        temperature=finish.temperature if task.is_classification else None,
        baseline=finish.baseline,
        training={
            "bag": data.identity()["bag"],
            "given": data.settings.given,
            "seed": plan.settings.seed,
            "score": trained.score,
            "trainer": plan.trainer.identity,
        },
    )


def finish_in(bundle: Bundle) -> Finish:
    """What a bundle knows beside its weights."""
    return Finish(bundle.temperature, bundle.threshold, bundle.baseline)


def check_fits(bundle: Bundle, data: BagDataModule, source: Path) -> None:
    """Refuses a model of another task or of other features.

    Raises:
        ConfigError: Another task.
        IdentityMismatchError: Features made with other settings, naming what differs.
    """
    if bundle.task.identity() != data.task_record.identity():
        raise ConfigError(
            f"{source} was trained for {_describe_task(bundle.task)}",
            expected=f"{_describe_task(data.task_record)}, as the labels are read here",
            remedy="use the model of that task, or read the labels as it does",
        )
    difference = describe_difference(bundle.features_identity, data.cohort.features_identity)
    if difference:
        raise IdentityMismatchError(
            f"{source} was trained on features made with other settings ({difference})",
            remedy="make the features as it was trained on, with `slidenet run`",
        )
    check_feature_dim(bundle, source, next(iter(data.bag_files.values())))


def check_feature_dim(bundle: Bundle, source: Path, file: FeatureFile) -> None:
    """Refuses features of another length than the model takes.

    Raises:
        IdentityMismatchError: Naming the file.
    """
    if file.feature_dim != bundle.module.feature_dim:
        raise IdentityMismatchError(
            f"{file.path} has {file.feature_dim} features per tile",
            expected=f"the {bundle.module.feature_dim} that {source} was trained on",
        )


def _describe_task(task: Task) -> str:
    classes = f" with the classes {', '.join(task.class_names)}" if task.class_names else ""
    return f"a {task.kind} task on {', '.join(task.label_columns)}{classes}"

"""What each input of a model adds: the same model without it, on the same folds.

Of a model of covariates or of several feature sets: the image alone, each feature set alone, and
the covariates alone. They lie in the folder `ablation` of the run, a folder each like a run's own.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from slidenet.data import Split
from slidenet.data.datamodule import BagDataModule
from slidenet.evaluation import Predictions, read_predictions
from slidenet.pipelines.fitting.beside import Rival, compare
from slidenet.pipelines.fitting.fit import (
    covariate_values,
    fit_covariates,
    make_classifier,
    prepare_fit,
)
from slidenet.pipelines.fitting.folds import FOLD_NAME, PREDICTIONS_NAME, FoldWork, read_fold
from slidenet.pipelines.fitting.plan import TrainingPlan
from slidenet.pipelines.fitting.predictions import predict_split
from slidenet.pipelines.fitting.results import Section
from slidenet.stores import check_output_folder

FOLDER = "ablation"
TITLE = "What each input adds"


@dataclass(frozen=True, eq=False)
class Variant:
    """The cohort of a run with some of its inputs left away.

    Attributes:
        name: In tables, and of its folder.
        words: In sentences.
        data: The bags.
    """

    name: str
    words: str
    data: BagDataModule


def variants_of(data: BagDataModule) -> list[Variant]:
    """The cohort without each of its inputs; none where there is only one."""
    cohort, settings = data.cohort, data.settings
    plain = replace(settings, covariates=(), categorical=(), more_features=())
    found = []
    if cohort.covariates is not None:
        image = BagDataModule(
            replace(cohort, covariates=None),
            data.split,
            replace(settings, covariates=(), categorical=()),
        )
        found.append(Variant("image alone", "the image alone", image))
    if cohort.others:
        folders = (settings.features, *settings.more_features)
        for number, (folder, files) in enumerate(
            zip(folders, (cohort.files, *cohort.others), strict=True), 1
        ):
            alone = replace(cohort, covariates=None, others=(), files=files)
            found.append(
                Variant(
                    f"features {number} alone",
                    f"the features in {'/'.join(folder.parts[-2:])} alone",
                    BagDataModule(alone, data.split, replace(plain, features=folder)),
                )
            )
    return found


def run_fold_variants(work: FoldWork, number: int, split: Split, out: Path) -> None:
    """Trains and tests the variants of a fold that is done, with the settings chosen there."""
    chosen = read_fold(_fold(out, number), "chosen")["chosen"]
    for variant in variants_of(work.data):
        folder = _fold(out / FOLDER / _slug(variant.name), number)
        replace(work, data=variant.data, candidates=[chosen]).run(number, split, folder)


def fold_section(
    data: BagDataModule, splits: Sequence[Split], out: Path, model: Predictions, *, seed: int = 0
) -> list[Section]:
    """What each input adds to the out-of-fold predictions; nothing until all variants are done.

    Args:
        data: The bags.
        splits: Of the folds.
        out: Folder of the cross-validation.
        model: Out-of-fold predictions of the whole model.
        seed: Of the bootstrap.
    """
    rivals, kind = [], data.task_record.kind
    for variant in variants_of(data):
        folders = [_fold(out / FOLDER / _slug(variant.name), i) for i in range(len(splits))]
        if not all((folder / FOLD_NAME).is_file() for folder in folders):
            return []
        parts = [read_predictions(folder / PREDICTIONS_NAME, task=kind) for folder in folders]
        rivals.append(Rival(variant.name, variant.words, Predictions.concatenate(parts)))
    if data.cohort.covariates is not None:
        alone = [_covariates_alone(data.with_split(split), i) for i, split in enumerate(splits)]
        rivals.append(_covariate_rival(Predictions.concatenate(alone)))
    return _section(model, rivals, seed=seed)


def split_section(
    data: BagDataModule, plan: TrainingPlan, out: Path, model: Predictions
) -> list[Section]:
    """Trains the variants of a single split, and says what each input adds on its test bags.

    Args:
        data: The bags and their split, with bags in test.
        plan: The model and how it is trained.
        out: Folder of the run.
        model: Predictions of test by the whole model.
    """
    rivals = []
    for variant in variants_of(data):
        folder = check_output_folder(out / FOLDER / _slug(variant.name))
        trained = prepare_fit(variant.data, plan, folder).run()
        found = predict_split(trained.module, variant.data, "test")
        rivals.append(Rival(variant.name, variant.words, found))
    if data.cohort.covariates is not None:
        rivals.append(_covariate_rival(_covariates_alone(data)))
    return _section(model, rivals, seed=plan.settings.seed)


def _section(model: Predictions, rivals: Sequence[Rival], *, seed: int) -> list[Section]:
    if not rivals:
        return []
    notes = ["The model sees all inputs; each line below it sees less, on the same bags."]
    return [compare(model, rivals, name="the whole model", title=TITLE, notes=notes, seed=seed)]


def _covariate_rival(predictions: Predictions) -> Rival:
    return Rival("covariates alone", "the covariates alone, in a linear model", predictions)


def _covariates_alone(data: BagDataModule, fold: int | None = None) -> Predictions:
    """Predictions of test by the linear model of the covariates, fitted to train and val."""
    split = data.split
    data = data.with_split(Split(train=(*split.train, *split.val), test=split.test))
    module = make_classifier(data, {"network": "mean"})  # whose network is not asked
    fit_covariates(module, data)
    tested = data.bags("test")
    with torch.inference_mode():
        logits = module.covariate_logits(covariate_values(tested))
    return Predictions(
        data.task_record,
        tuple(bag.bag_id for bag in tested),
        tuple(data.label_table.row(bag.slide_ids[0]).patient_id for bag in tested),
        data.targets("test"),
        data.task_record.predict(logits),
        None if fold is None else np.full(len(tested), fold, np.int64),
    )


def _fold(folder: Path, number: int) -> Path:
    return folder / f"fold_{number:02d}"


def _slug(name: str) -> str:
    return name.replace(" ", "_")

"""What each input and each further target adds: the same model without it, on the same folds.

Of a model of covariates or of several feature sets: the image alone, each feature set alone, and
the covariates alone. Of a model of several targets: each target alone. They lie in the folder
`ablation` of the run, a folder each like a run's own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from slidenet.core.errors import SplitError
from slidenet.data import Split
from slidenet.data.datamodule import BagDataModule
from slidenet.data.labels.cells import has_label
from slidenet.evaluation import Predictions, read_predictions, split_predictions
from slidenet.evaluation.predictions.targets import prediction_files
from slidenet.pipelines.fitting.fit import (
    covariate_values,
    fit_covariates,
    make_classifier,
    prepare_fit,
)
from slidenet.pipelines.fitting.folds import FOLD_NAME, PREDICTIONS_NAME, FoldWork, read_fold
from slidenet.pipelines.fitting.plan import TrainingPlan
from slidenet.pipelines.fitting.predictions import predict_split
from slidenet.pipelines.results.beside import Rival, compare
from slidenet.pipelines.results.sections import Section
from slidenet.stores import check_output_folder
from slidenet.tasks import ClassTask, MultiTask, Task, task_of

FOLDER = "ablation"
TITLE = "What each input adds"


@dataclass(frozen=True, eq=False)
class Variant:
    """The cohort of a run with some of its inputs, or all targets but one, left away.

    Attributes:
        name: In tables, and of its folder.
        words: In sentences.
        data: The bags.
        target: Where it is about one of several targets.
    """

    name: str
    words: str
    data: BagDataModule
    target: str = ""

    def plan(self, plan: TrainingPlan) -> TrainingPlan:
        """How it is trained; what is monitored loses the name of the target, where it has it."""
        monitor = plan.settings.monitor
        if not self.target or monitor is None or monitor == "val_loss":
            return plan
        own = monitor.removeprefix(f"val_{self.target}_")
        kept = None if own == monitor else f"val_{own}"
        return replace(plan, settings=replace(plan.settings, monitor=kept))

    def trouble(self, splits: Sequence[Split]) -> str:
        """Why it cannot be trained on these splits, as bags of one target are fewer; else ""."""
        if not self.target:
            return ""
        try:
            for split in splits:
                if not self.data.with_split(split).split.test:
                    return "a fold tests no bag that has it"
        except SplitError as error:
            return error.found
        return ""


def variants_of(data: BagDataModule) -> list[Variant]:
    """The cohort without each of its inputs, and with each of its targets alone.

    None where there is only one of either.
    """
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
    return [*found, *alone_variants(data)]


def alone_variants(data: BagDataModule) -> list[Variant]:
    """The cohort with each of its targets alone; none where there is one target."""
    task = data.cohort.task
    targets = task.targets if isinstance(task, MultiTask) else {}
    return [_alone(data, target, of_target) for target, of_target in targets.items()]


def _alone(data: BagDataModule, target: str, task: Task) -> Variant:
    """The bags that have one of several targets, with that target only."""
    cohort, settings = data.cohort, data.settings
    table = cohort.table.take(has_label(cohort.table, task))
    kept = replace(
        cohort,
        table=table,
        task=task,
        files={slide: cohort.files[slide] for slide in table.slide_ids},
        others=tuple({slide: one[slide] for slide in table.slide_ids} for one in cohort.others),
    )
    own = replace(
        settings,
        targets=None,
        task=task.kind,
        label_columns=task.label_columns,
        class_names=task.class_names or None,
        time_edges=task.time_edges or None,
        class_weights=settings.class_weights if isinstance(task, ClassTask) else "none",
    )
    every = Split(train=table.slide_ids)  # the splits of the run follow
    words = f"a model of {target} alone"
    return Variant(f"{target} alone", words, BagDataModule(kept, every, own), target)


def run_fold_variants(work: FoldWork, number: int, split: Split, out: Path) -> None:
    """Trains and tests the variants of a fold that is done, with the settings chosen there."""
    chosen = read_fold(_fold(out, number), "chosen")["chosen"]
    for variant in variants_of(work.data):
        if variant.trouble([split]):
            continue
        folder = _fold(out / FOLDER / _slug(variant.name), number)
        alike = replace(work, data=variant.data, plan=variant.plan(work.plan), candidates=[chosen])
        alike.run(number, split, folder)


def fold_section(
    data: BagDataModule,
    splits: Sequence[Split],
    out: Path,
    models: Mapping[str, Predictions],
    *,
    seed: int = 0,
) -> list[Section]:
    """What each input adds to the out-of-fold predictions; nothing until all variants are done.

    Args:
        data: The bags.
        splits: Of the folds.
        out: Folder of the cross-validation.
        models: Out-of-fold predictions of the whole model, of each target (`split_predictions`).
        seed: Of the bootstrap.
    """
    found = _Rivals(models)
    for variant in variants_of(data):
        trouble = variant.trouble(splits)
        if trouble:
            found.notes[variant.target].append(f"There is no {variant.name}: {trouble}.")
            continue
        folders = [_fold(out / FOLDER / _slug(variant.name), i) for i in range(len(splits))]
        if not all((folder / FOLD_NAME).is_file() for folder in folders):
            return []
        task = variant.data.task_record
        of_folds = [prediction_files(folder / PREDICTIONS_NAME, task) for folder in folders]
        for target in of_folds[0]:
            kind = task_of(task, target).kind
            parts = [read_predictions(f[target], task=kind, labelled=False) for f in of_folds]
            found.add(variant, target, Predictions.concatenate(parts))
    if data.cohort.covariates is not None:
        alone = [_covariates_alone(data.with_split(split), i) for i, split in enumerate(splits)]
        found.add_covariates(Predictions.concatenate(alone))
    return found.sections(seed)


def split_section(
    data: BagDataModule, plan: TrainingPlan, out: Path, models: Mapping[str, Predictions]
) -> list[Section]:
    """Trains the variants of a single split, and says what each input adds on its test bags.

    Args:
        data: The bags and their split, with bags in test.
        plan: The model and how it is trained.
        out: Folder of the run.
        models: Predictions of test by the whole model, of each target (`split_predictions`).
    """
    found = _Rivals(models)
    for variant in variants_of(data):
        trouble = variant.trouble([data.split])
        if trouble:
            found.notes[variant.target].append(f"There is no {variant.name}: {trouble}.")
            continue
        folder = check_output_folder(out / FOLDER / _slug(variant.name))
        bags = variant.data.with_split(data.split)
        fit = prepare_fit(bags, variant.plan(plan), folder)
        if fit.trainer.num_devices * fit.trainer.num_nodes > 1:
            # The other ranks of this run have ended; new ones would wait for them.
            return [Section(TITLE, ("Left out on several devices; give --trainer.devices 1.",))]
        trained = fit.run()
        predicted = split_predictions(predict_split(trained.module, bags, "test"))
        for target, one in predicted.items():
            found.add(variant, target, one)
    if data.cohort.covariates is not None:
        found.add_covariates(_covariates_alone(data))
    return found.sections(plan.settings.seed)


class _Rivals:
    """What the whole model is compared with, by target.

    Args:
        models: Predictions of the whole model by target; "" where there is one target only.
    """

    def __init__(self, models: Mapping[str, Predictions]) -> None:
        self.models = models
        self.rivals: dict[str, list[Rival]] = {target: [] for target in models}
        self.notes: dict[str, list[str]] = {target: [] for target in models}

    def add(self, variant: Variant, target: str, predictions: Predictions) -> None:
        """One variant, which predicts a target."""
        rival = Rival(variant.name, variant.words, predictions)
        self.rivals[variant.target or target].append(rival)

    def add_covariates(self, predictions: Predictions) -> None:
        """The covariates alone, which predict every target."""
        for target, one in split_predictions(predictions).items():
            words = "the covariates alone, in a linear model"
            self.rivals[target].append(Rival("covariates alone", words, one))

    def sections(self, seed: int) -> list[Section]:
        """One per target; none where there is nothing to compare with or to say."""
        found = []
        for target, rivals in self.rivals.items():
            model, notes = self.models[target], self.notes[target]
            if not (rivals or notes) or not len(model):
                continue
            line = "The model sees all inputs; each line below it sees less, on the same bags."
            title = f"{TITLE} to {target}" if target else TITLE
            if target and all(rival.name == f"{target} alone" for rival in rivals):
                line = "The model learns all targets; the line below it learned this one alone."
                title = f"What the other targets add to {target}"
            notes = [line, *notes]
            found.append(
                compare(model, rivals, name="the whole model", title=title, notes=notes, seed=seed)
            )
        return found


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

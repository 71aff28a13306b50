"""Trains one classifier in one folder, resumably; what `train` and `crossval` have in common.

A folder holds `plan.json` (what the run is, its identity), `last.ckpt` and `best.ckpt`,
`metrics.csv` and `learning_curve.png`.
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from tqdm import tqdm

from slidenet.core.errors import ConfigError, IdentityMismatchError
from slidenet.core.provenance import Identity, canonical_json
from slidenet.data import Split
from slidenet.data.datamodule import BagDataModule
from slidenet.pipelines.audit import audit_or_raise
from slidenet.pipelines.fitting.checks import check_fit
from slidenet.stores import atomic_path
from slidenet.stores.h5.identity import describe_difference
from slidenet.tasks.task import Task
from slidenet.training import SlideClassifier, default_callbacks, load_classifier, quiet_lightning
from slidenet.training.callbacks import BEST, LAST, EpochProgress, LastCheckpoint
from slidenet.training.learning_curve import LearningCurve
from slidenet.training.seeding import EpochSeeding, seed_run

Keep = Literal["best", "last"]
MakeTrainer = Callable[[Path, Sequence[Callback]], Trainer]

SETTLED_BY_DATA = {"task", "feature_dim", "class_weights", "target_offset", "target_scale"}
"""Arguments of `SlideClassifier` that are no setting."""

PLAN_NAME = "plan.json"
TILES_PER_BAG = 256
"""Tiles of each training bag that principal components are fitted on."""

LAST_NAME, BEST_NAME = f"{LAST}.ckpt", f"{BEST}.ckpt"


@dataclass(frozen=True)
class TrainingPlan:
    """How the models of a run are made and trained.

    Attributes:
        model: Arguments of `SlideClassifier`, without those the data settles (task, feature_dim,
            class weights, scale of the target).
        make_trainer: Builds a Trainer that works in a folder with these callbacks; called once per
            model, because a Trainer keeps the state of its last fit.
        trainer: Settings of the Trainer that change the numbers, for the identity of a run.
        seed: Decides initial weights, order of bags and dropout.
        monitor: Logged value that chooses the best epoch; None: the task's usual one.
        patience: Epochs without improvement after which a fit stops; None: never.
        keep: Which epoch's weights are the model: the "best" by `monitor`, or the "last".
    """

    model: Mapping[str, Any]
    make_trainer: MakeTrainer
    trainer: Identity = field(default_factory=dict)
    seed: int = 0
    monitor: str | None = None
    patience: int | None = 20
    keep: Keep = "best"

    def with_seed(self, seed: int) -> "TrainingPlan":
        """The same plan with another seed."""
        return replace(self, seed=seed)

    def identity(self, data: BagDataModule, overrides: Mapping[str, Any]) -> Identity:
        """Everything that decides the weights a run ends with, as JSON."""
        return {
            "data": data.identity(),
            "model": with_overrides(self.model, overrides),
            "trainer": self.trainer,
            "seed": self.seed,
            "monitor": self.monitor,
            "patience": self.patience,
            "keep": self.keep,
        }


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """What a fit ended with.

    Attributes:
        module: With the weights to keep, in eval mode on the CPU.
        score: Monitored value of the epoch kept; None where the last epoch is kept.
        is_global_zero: Whether this process is the one that writes.
    """

    module: SlideClassifier
    score: float | None
    is_global_zero: bool = True


def audit_data(data: BagDataModule, splits: Sequence[Split], *, strict: bool) -> None:
    """Looks for leaks and shortcuts before training, and says on stderr what it finds.

    Raises:
        AuditError: When strict, and there is an error or a warning.
    """
    audit_or_raise(
        data.label_table,
        data.task_record,
        data.bag_files,
        splits,
        strict=strict,
        given=data.given,
        memory=data.memory,
        warn=lambda line: print(line, file=sys.stderr),
    )


def train_model(
    data: BagDataModule,
    plan: TrainingPlan,
    folder: Path,
    *,
    overrides: Mapping[str, Any] | None = None,
) -> TrainedModel:
    """Trains on the train part, going on where an earlier run of the same identity was killed.

    Args:
        data: The bags and their split.
        plan: The model and how it is trained.
        folder: Gets the files named at the top of this module.
        overrides: Model settings that replace the plan's; dotted names reach into
            `network_settings`.

    Raises:
        IdentityMismatchError: The folder holds a run of other settings or data.
        ConfigError: Settings that do not fit; raised before any step.
    """
    overrides = overrides or {}
    seed_run(plan.seed)
    fit = _prepare(data, plan, folder, overrides)
    # Only now: a refused setting must not decide what the folder is for.
    claim_folder(folder, plan.identity(data, overrides))
    fit_reduction(fit.module, data)
    last = folder / LAST_NAME
    with quiet_lightning():
        fit.trainer.fit(
            fit.module, datamodule=data, ckpt_path=str(last) if last.is_file() else None
        )
    kept = folder / (BEST_NAME if fit.keep == "best" else LAST_NAME)
    if not kept.is_file():
        raise ConfigError(
            "the fit ended without a validated epoch"
            if fit.keep == "best"
            else "the fit ended without an epoch",
            remedy="look at --trainer.max-time and the callbacks given, which can end it early",
        )
    score = None
    if fit.keep == "best":
        (checkpoint,) = (c for c in fit.callbacks if isinstance(c, ModelCheckpoint))
        score = (
            float(checkpoint.best_model_score) if checkpoint.best_model_score is not None else None
        )
    trained = load_classifier(kept, task=data.task_record, feature_dim=data.feature_dim)
    return TrainedModel(trained, score, fit.trainer.is_global_zero)


def check_plan(
    data: BagDataModule,
    plan: TrainingPlan,
    folder: Path,
    *,
    overrides: Mapping[str, Any] | None = None,
) -> None:
    """Refuses what `train_model` would refuse before its first step, and writes nothing.

    Args:
        data: The bags and their split.
        plan: The model and how it is to be trained.
        folder: Where it is to be trained.
        overrides: Model settings that replace the plan's.

    Raises:
        ConfigError, UnknownNameError: Settings of the model or the Trainer that do not fit.
    """
    _prepare(data, plan, folder, overrides or {})


@dataclass(frozen=True, eq=False)
class _Fit:
    """All that is made before a fit begins."""

    module: SlideClassifier
    trainer: Trainer
    callbacks: list[Callback]
    keep: Keep


def _prepare(
    data: BagDataModule, plan: TrainingPlan, folder: Path, overrides: Mapping[str, Any]
) -> _Fit:
    if plan.patience is not None and plan.patience < 1:
        raise ConfigError(
            f"patience is {plan.patience}",
            expected="at least 1 epoch without improvement, or null to never stop early",
        )
    module = make_classifier(data, with_overrides(plan.model, overrides))
    keep: Keep = plan.keep if data.split.val else "last"
    callbacks = _callbacks(module.task, folder, plan, keep)
    with quiet_lightning():
        trainer = plan.make_trainer(folder, callbacks)
    module.trainer = trainer
    module.setup("fit")  # looks at the precision
    check_fit(trainer, data, by_validation=keep == "best")
    return _Fit(module, trainer, callbacks, keep)


def make_classifier(data: BagDataModule, settings: Mapping[str, Any]) -> SlideClassifier:
    """A `SlideClassifier` for this data: task, feature length, class weights and target scale.

    Reads no tiles; `fit_reduction` does, where the network is to see components of them.

    Args:
        data: The bags.
        settings: The other arguments of `SlideClassifier`.
    """
    settled: dict[str, Any] = {"task": data.task_record, "feature_dim": data.feature_dim}
    if data.class_weights_tensor is not None:
        settled["class_weights"] = data.class_weights_tensor.tolist()
    if data.task_record.kind == "regression":
        targets = data.targets("train")
        settled |= {"target_offset": float(targets.mean()), "target_scale": float(targets.std())}
    assert set(settled) <= SETTLED_BY_DATA
    return SlideClassifier(**settled, **settings)


def fit_reduction(module: SlideClassifier, data: BagDataModule) -> None:
    """Reads training tiles, where the network is to see principal components of them."""
    if module.reduction is not None:
        module.reduction.fit(_training_tiles(data))


def _training_tiles(data: BagDataModule) -> npt.NDArray[np.floating[Any]]:
    """Some tiles of every training bag, spread evenly over it, (N, D)."""
    bags = data.dataset("train")
    chosen = []
    for i in tqdm(range(len(bags)), desc="components", unit=" bags", leave=False, disable=None):
        features = bags[i].features
        step = max(1, len(features) // TILES_PER_BAG)
        chosen.append(features[::step][:TILES_PER_BAG].numpy())
    return np.concatenate(chosen)


def with_overrides(settings: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with some replaced: `{"learning_rate": 1e-4, "network_settings.hidden_dim": 64}`."""
    merged = {name: dict(v) if isinstance(v, Mapping) else v for name, v in settings.items()}
    for dotted, value in overrides.items():
        name, _, inner = dotted.partition(".")
        if inner:
            merged[name] = {**(merged.get(name) or {}), inner: value}
        else:
            merged[name] = value
    return merged


def claim_folder(folder: Path, identity: Identity, name: str = PLAN_NAME) -> None:
    """Writes what a run is into its folder, or proves that the folder is that of the same run.

    Raises:
        IdentityMismatchError: The folder holds another run.
    """
    path, text = folder / name, canonical_json(identity)
    if not path.is_file():
        with atomic_path(path) as temporary:
            temporary.write_text(text + "\n")
        return
    found = json.loads(path.read_text())
    difference = describe_difference(found, json.loads(text))
    if difference:
        raise IdentityMismatchError(
            f"{folder} holds a run with other settings or data ({difference})",
            remedy="choose another --out, or delete the folder to train anew",
        )


def _callbacks(task: Task, folder: Path, plan: TrainingPlan, keep: Keep) -> list[Callback]:
    if keep == "best":
        return default_callbacks(
            task, folder, seed=plan.seed, monitor=plan.monitor, patience=plan.patience
        )
    # Without a choice of epochs every one is written over the last.
    return [
        EpochProgress("train_loss"),
        EpochSeeding(plan.seed),
        LearningCurve(folder, "train_loss"),
        LastCheckpoint(folder),
    ]

"""Trains one classifier in one folder, resumably; what `train` and `crossval` have in common.

A folder holds `plan.json` (what the run is, its identity), `last.ckpt` and `best.ckpt`,
`metrics.csv` and `learning_curve.png`.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor
from tqdm import tqdm

from slidenet.auditing import DEFAULT_SETTINGS
from slidenet.core.checks import check_whole
from slidenet.core.errors import ConfigError
from slidenet.core.escapes import in_terminal
from slidenet.core.provenance import identity_hash
from slidenet.data import BagSource, Split
from slidenet.data.bags.dataset import BagDataset
from slidenet.data.bags.parts import split_slides
from slidenet.data.bags.places import check_places
from slidenet.data.datamodule import BagDataModule
from slidenet.data.splits.record import SplitName
from slidenet.mil.probe import ProbeModel
from slidenet.pipelines.audit import audit_or_raise
from slidenet.pipelines.fitting.checks import check_fit, check_monitor
from slidenet.pipelines.fitting.claim import PLAN_NAME, claim_folder
from slidenet.pipelines.fitting.defaults import FitLength
from slidenet.pipelines.fitting.plan import (
    DERIVED_FROM_DATA,
    Keep,
    TrainingPlan,
)
from slidenet.pipelines.probing.as_network import check_probe, fit_network
from slidenet.pipelines.results.learning import Learning
from slidenet.stores import whole_of
from slidenet.tasks import MultiTask, Targets, Task
from slidenet.training import SlideClassifier, default_callbacks, quiet_lightning
from slidenet.training.bundles.kept_epochs import BEST_NAME, LAST_NAME, LastCheckpoint, check_best
from slidenet.training.bundles.restoring import load_classifier, load_weights
from slidenet.training.callbacks import EpochProgress, EpochSeeding, seed_run
from slidenet.training.learning_curve import LearningCurve
from slidenet.training.memory import allocation_explained, check_memory, check_whole_bag
from slidenet.training.ranks import SameRun, agree_on_run, have_met, is_first, lost_rank_ends

BAGS_MEASURED = 512
"""Training bags that scale and components of the features are measured on at most."""


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """What a fit ended with.

    Attributes:
        module: With the weights to keep, in eval mode on the CPU.
        learning: Which epoch that is, and how the fit went; None of a probe, which has none.
        is_global_zero: Whether this process is the one that writes.
        run: Hash of the identity of the run.
        held_out: Logits and targets of bags by models that have not seen them, in place of val;
            None of a network that is trained.
    """

    module: SlideClassifier
    learning: Learning | None
    is_global_zero: bool = True
    run: str = ""
    held_out: tuple[Tensor, Targets] | None = None

    @property
    def score(self) -> float | None:
        """Monitored value of the epoch kept; None where the last epoch is kept."""
        return None if self.learning is None else self.learning.score


@dataclass(frozen=True, eq=False)
class Fit:
    """A fit that can begin: its settings have been checked, and nothing is written yet.

    Attributes:
        data: The bags and their split.
        folder: Gets the files named at the top of this module.
        identity: Everything that decides the weights it ends with.
        module: With its initial weights.
        trainer: Works in the folder.
        callbacks: Of slidenet.
        keep: Which epoch's weights are the model.
        length: How long it lasts.
    """

    data: BagDataModule
    folder: Path
    identity: Mapping[str, Any]
    module: SlideClassifier
    trainer: Trainer
    callbacks: Sequence[Callback]
    keep: Keep
    length: FitLength

    def run(self) -> TrainedModel:
        """Trains on train, going on where an earlier run of the same identity was killed.

        Raises:
            ParallelError: On all ranks, if they were started with other commands.
            LostRankError: Another rank is gone.
            IdentityMismatchError: The folder holds a run of other settings or data.
            ConfigError: The fit ended without an epoch to keep.
            StoreError: The checkpoint to go on from holds more than plain values.
        """
        given = {**self.identity, "--out": str(self.folder)}
        # Only now: a refused setting must not decide what the folder is for.
        if have_met():
            agree_on_run(given)
        if is_first():
            claim_folder(self.folder, self.identity)
        if isinstance(self.module.network, ProbeModel):
            seed = int(self.identity["seed"])
            fitted = fit_network(self.module, self.data, self.folder, seed=seed)
            main = self.trainer.is_global_zero
            return TrainedModel(fitted.module, None, main, self.run_hash, fitted.held_out)
        last = self.folder / LAST_NAME
        goes_on = last.is_file() and self._can_go_on()
        if not goes_on:  # else the checkpoint holds them
            fit_inputs(self.module, self.data)
            fit_covariates(self.module, self.data)
        shapes = _shapes(self.module)
        self.trainer.callbacks.append(SameRun({**given, "going on": goes_on}))  # type: ignore[attr-defined]
        with quiet_lightning(), allocation_explained("training", training=True), lost_rank_ends():
            self.trainer.fit(
                self.module,
                datamodule=self.data,
                ckpt_path=str(last) if goes_on else None,
                weights_only=True,
            )
        kept = self.folder / (BEST_NAME if self.keep == "best" else LAST_NAME)
        if not kept.is_file():
            epoch = "a validated epoch" if self.keep == "best" else "an epoch"
            raise ConfigError(
                f"the fit ended without {epoch}",
                remedy="look at --trainer.max-time and the callbacks given, which can end it early",
            )
        learning = self._learning()
        if _shapes(self.module) == shapes:
            module = load_weights(self.module, kept)
        else:  # a strategy such as FSDP has cut the module up
            module = load_classifier(kept, allow_code=True)  # this very run wrote it
        return TrainedModel(module, learning, self.trainer.is_global_zero, self.run_hash)

    @property
    def run_hash(self) -> str:
        """Hash of the identity of the run."""
        return identity_hash(self.identity)

    def _learning(self) -> Learning:
        """How the fit went, from the values of its epochs."""
        (curve,) = (c for c in self.callbacks if isinstance(c, LearningCurve))
        most = self.trainer.max_epochs
        length = replace(self.length, max_epochs=most if most and most > 0 else None)
        lower = self.module.task.lower_is_better(curve.monitor) if self.keep == "best" else None
        return Learning.of_curve(curve.epochs, curve.monitor, length, lower_is_better=lower)

    def _can_go_on(self) -> bool:
        """Whether the checkpoints of the folder belong together; says so where they do not."""
        reason = check_best(self.folder) if self.keep == "best" else ""
        if reason:
            print(in_terminal(f"warning: {reason}; training begins anew"), file=sys.stderr)
        return not reason


def prepare_fit(
    data: BagDataModule,
    plan: TrainingPlan,
    folder: Path,
    *,
    overrides: Mapping[str, Any] | None = None,
) -> Fit:
    """Makes the model and the Trainer of a fit; refuses settings that cannot end with a model.

    Reads no tiles and writes nothing.

    Args:
        data: The bags and their split.
        plan: The model and how it is trained.
        folder: Where it is trained.
        overrides: Model settings that replace the plan's; dotted names reach into
            `network_settings`.

    Raises:
        ConfigError, UnknownNameError: Settings of the model or the Trainer that do not fit.
    """
    settings, overrides = plan.settings, overrides or {}
    if settings.patience != "auto":
        check_whole(or_none=True, patience=settings.patience)
    plan = plan.as_begun(folder / PLAN_NAME)
    data = plan.batches_as_begun(data)
    seed_run(settings.seed)
    module = make_classifier(data, plan.model_settings(overrides))
    for files in (data.bag_files, *data.cohort.others):
        check_places(files.values(), module.network, str(module.hparams["network"]))
    keep: Keep = settings.keep if data.split.val else "last"
    length = plan.fit_length(len(data.train_dataloader()))
    if keep == "best":
        callbacks = default_callbacks(
            module.task,
            folder,
            seed=settings.seed,
            monitor=settings.monitor,
            patience=length.patience,
            least_epochs=length.least_epochs,
        )
    else:  # without a choice of epochs every one is written over the last
        callbacks = [
            EpochProgress("train_loss"),
            EpochSeeding(settings.seed),
            LearningCurve(folder, "train_loss"),
            LastCheckpoint(folder),
        ]
    trainer = plan.trainer.make(folder, callbacks, max_epochs=length.max_epochs)
    if isinstance(module.network, ProbeModel):
        check_probe(module, data)
    else:
        check_fit(trainer, data, by_validation=keep == "best")
        if keep == "best":
            check_monitor(data, settings.monitor or module.task.monitor)
        check_memory(module, *data.largest_batch(), trainer.strategy.root_device)
        check_whole_bags(data, ("val", "test"))
    identity = plan.identity(data, overrides)
    return Fit(data, folder, identity, module, trainer, callbacks, keep, length)


def audit_data(data: BagDataModule, splits: Sequence[Split], *, strict: bool) -> None:
    """Says on stderr how the table was understood, and what leaks and shortcuts there are.

    Raises:
        AuditError: When strict, and there is an error or a warning.
    """
    for line in data.cohort.describe():
        print(in_terminal(line), file=sys.stderr)
    table, files = data.label_table, data.bag_files
    splits = [split.among(files) for split in splits]  # of the others was just said why
    task: Task | None = data.task_record
    if data.cohort.slides is not None:
        # Of parts of slides the slides are looked at: their files and splits, but not labels, which
        # differ within one; and no tile is compared with every other.
        task, splits = None, [split_slides(split) for split in splits]
        files = {whole_of(file).slide_id: whole_of(file) for file in files.values()}
        table = data.cohort.slides.select(files)
    with isolate_rng():  # the initial weights are drawn already
        audit_or_raise(
            table,
            task,
            files,
            splits,
            strict=strict,
            settings=replace(DEFAULT_SETTINGS, covariates=tuple(data.settings.covariates)),
            given=data.settings.given,
            memory=data.cohort.memory,
            warn=lambda line: print(in_terminal(line), file=sys.stderr),
        )


def make_classifier(data: BagDataModule, settings: Mapping[str, Any]) -> SlideClassifier:
    """A `SlideClassifier` for this data: task, feature length, class weights and target scale.

    Reads no tiles; `fit_inputs` does, where the network is to see them scaled or reduced.

    Args:
        data: The bags.
        settings: The other arguments of `SlideClassifier`.
    """
    derived: dict[str, Any] = {"task": data.task_record, "feature_dim": data.feature_dim}
    if data.class_weights_tensor is not None:
        derived["class_weights"] = data.class_weights_tensor.tolist()
    if data.task_record.scales_target:
        offset, scale = data.task_record.target_scale(data.targets("train"))
        derived |= {"target_offset": offset, "target_scale": scale}
    if data.cohort.covariates is not None:
        derived["covariates"] = data.covariate_columns()
    if data.more_feature_dims:
        derived["more_feature_dims"] = data.more_feature_dims
    if isinstance(data.task_record, MultiTask):
        derived["target_weights"] = list(data.task_record.loss_weights)
    assert set(derived) <= DERIVED_FROM_DATA
    return SlideClassifier(**derived, **settings)


def check_whole_bags(data: BagDataModule, splits: Sequence[SplitName]) -> None:
    """Refuses bags that are validated or predicted as a whole, and have no room.

    Raises:
        ConfigError: Naming the bag, with what it needs.
    """
    bags = [bag for split in splits for bag in data.bags(split)]
    if bags:
        longest = max(bags, key=lambda bag: bag.num_tiles)
        stored = data.cohort.first_file.dtype
        itemsize = 4 if stored is None else stored.itemsize
        whose = f"bag {longest.bag_id!r}"
        check_whole_bag(longest.num_tiles, data.feature_dim, itemsize, whose=whose)


def fit_inputs(module: SlideClassifier, data: BagDataModule) -> None:
    """Measures scale and components of the features, where the network is to see them so.

    On the training tiles, of bags spread evenly over the table where there are many.
    """
    if not module.has_inputs_to_fit:
        return
    bags = data.dataset("train")
    count = min(len(bags), BAGS_MEASURED)
    chosen = FeaturesOfBags(bags, [i * len(bags) // count for i in range(count)])
    module.fit_inputs(chosen)


def fit_covariates(module: SlideClassifier, data: BagDataModule) -> None:
    """Begins the part of the covariates, where there are any, as the fit of train by them alone."""
    if data.cohort.covariates is not None:
        targets = torch.from_numpy(np.array(data.targets("train")))
        module.fit_covariates(covariate_values(data.bags("train")), targets)


def covariate_values(bags: Sequence[BagSource]) -> Tensor:
    """The covariates of bags that have some, float32 (N, V); see `BagBatch.covariates`."""
    return torch.from_numpy(np.stack([b.covariates for b in bags if b.covariates is not None]))


class FeaturesOfBags(Iterable[tuple[Tensor, ...]]):
    """The features of some bags, one tensor per feature set, read whenever they are gone through.

    Args:
        bags: Those of train.
        chosen: Positions of some of them.
    """

    def __init__(self, bags: BagDataset, chosen: Sequence[int]) -> None:
        self._bags, self._chosen = bags, chosen

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        for position in tqdm(self._chosen, "features", unit=" bags", leave=False, disable=None):
            bag = self._bags[position]
            yield (bag.features, *(tiles.features for tiles in bag.others))


def _shapes(module: SlideClassifier) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}

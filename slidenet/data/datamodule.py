"""Everything a classifier is trained on, from a table of labels and a folder of features."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from slidenet.core.errors import SplitError
from slidenet.core.provenance import Identity
from slidenet.data.bags.dataset import BagDataset, BagSource
from slidenet.data.batches.plan import exceeds_budget
from slidenet.data.batches.sampler import BagBatchSampler, bag_loader
from slidenet.data.cohort import BagCohort, read_cohort
from slidenet.data.labels.balance import balanced_weights, check_split_classes, target_weights
from slidenet.data.labels.encoding import encode_bag_targets
from slidenet.data.labels.table import LabelTable
from slidenet.data.labels.targets import read_targets
from slidenet.data.labels.task import make_task
from slidenet.data.settings import DataSettings
from slidenet.data.splits.files import read_splits
from slidenet.data.splits.make import make_split
from slidenet.data.splits.record import SPLIT_NAMES, Split, SplitName, check_split
from slidenet.mil import BagBatch, CovariateColumn
from slidenet.stores import FeatureFile
from slidenet.stores.features.part import PartSource
from slidenet.tasks import MultiTask, Targets


def read_bags(
    settings: DataSettings | None = None, *, unsplit: bool = False, **keywords: Any
) -> "BagDataModule":
    """Reads a cohort and splits it: `read_bags(labels="labels.csv", features="features/")`.

    Args:
        settings: What to read; `keywords` where not given.
        unsplit: Whether every bag is in train until `BagDataModule.with_split` says otherwise: for
            cross-validation, so that a cohort too small for train, val and test can still be cut
            into folds. Settings of a split are then refused.
        **keywords: The fields of `DataSettings`.

    Raises:
        LabelError: The table, or a label in it, does not fit the task.
        StoreError: A features file is missing, broken, empty, or does not fit the rest.
        IdentityMismatchError: Two features files were made in different ways.
        SplitError: The split leaks, or a split lacks a class.
        ConfigError: A setting is out of range or contradicts another.
    """
    settings = DataSettings(**keywords) if settings is None else settings
    cohort = read_cohort(settings)
    if unsplit:
        settings.refuse_split()
        split = Split(train=cohort.table.slide_ids)
    elif settings.splits is not None:
        splits, fold = read_splits(settings.splits, cohort.rows), settings.fold
        if not 0 <= fold < len(splits):
            raise SplitError(
                f"fold {fold} of {settings.splits}, which holds {len(splits)}",
                expected=f"0 to {len(splits) - 1}",
            )
        split = cohort.of_bags(splits[fold])
    else:
        split = make_split(
            cohort.table,
            cohort.task,
            val_fraction=settings.val_fraction,
            test_fraction=settings.test_fraction,
            seed=settings.seed or 0,
        )
    return BagDataModule(cohort, split, settings)


class BagDataModule(LightningDataModule):
    """Bags with labels, split into train, val and test, as `BagBatch`es; made by `read_bags`.

    Args:
        cohort: The slides with their labels and features.
        split: slide_ids of each split; those left out for want of a label or file may be in it.
        settings: What a bag is, and how bags become batches.

    Attributes:
        cohort: As given.
        settings: As given.
        split: Which slides are in which split; those of the cohort only.
        task_record: The task, as models, metrics and checkpoints take it. Where the edges of time
            bins were not given, they are chosen by train.
        class_weights_tensor: float32 (C,), or None.

    Raises:
        SplitError: The split leaks, names an unknown slide, or a split lacks a class.
    """

    def __init__(self, cohort: BagCohort, split: Split, settings: DataSettings) -> None:
        super().__init__()
        self.cohort = cohort
        self.settings = settings
        self._seed = settings.seed or 0
        self._bags: dict[SplitName | None, tuple[BagSource, ...]] = {}
        self._targets: dict[SplitName | None, Targets] = {}
        check_split(split, cohort.rows)
        self.split = split.among(cohort.files)
        if not self.split.train:
            raise SplitError(
                f"none of the {len(split.train)} slides to train on has a label and features",
                expected="at least one",
            )
        self.task_record = cohort.task
        if cohort.task.has_time_bins and not settings.time_edges:
            self.task_record = make_task(
                cohort.table,
                settings.task,
                cohort.task.label_columns,
                num_time_bins=settings.num_time_bins,
                training_ids=self.split.train,
            )
        for name in SPLIT_NAMES:
            if self.split.slides(name):
                check_split_classes(self.task_record, self.targets(name), name)
        self.class_weights_tensor: Tensor | None = None
        if settings.class_weights == "balanced":
            self.class_weights_tensor = balanced_weights(self.task_record, self.targets("train"))
        if isinstance(self.task_record, MultiTask) and settings.targets is not None:
            # Those on one scale; a task of one target has one loss, which needs none.
            wanted = [target.weight for target in read_targets(settings.targets).values()]
            train = self.targets("train")
            self.task_record = self.task_record.weighted(
                target_weights(self.task_record, train, wanted, self.class_weights_tensor)
            )

    @property
    def label_table(self) -> LabelTable:
        """Slides with a label and a file."""
        return self.cohort.table

    @property
    def bag_files(self) -> Mapping[str, FeatureFile]:
        """The features file of each slide; none is held open."""
        return self.cohort.files

    @property
    def feature_dim(self) -> int:
        """Length of a feature vector."""
        return self.cohort.first_file.feature_dim

    @property
    def more_feature_dims(self) -> tuple[int, ...]:
        """Length of a feature vector in each further feature set."""
        return tuple(next(iter(files.values())).feature_dim for files in self.cohort.others)

    def covariate_columns(self) -> tuple[CovariateColumn, ...]:
        """How covariates are encoded, by the bags of train alone; empty where there are none."""
        known = self.cohort.covariates
        return () if known is None else known.fit([bag.slide_ids for bag in self.bags("train")])

    def with_split(self, split: Split) -> "BagDataModule":
        """The same bags, split otherwise; features in memory stay there.

        Raises:
            SplitError: The split leaks, names an unknown slide, or a split lacks a class.
        """
        return BagDataModule(self.cohort, split, self.settings)

    def bags(self, split: SplitName | None = None) -> tuple[BagSource, ...]:
        """Where the bags of a split (None: every bag) come from, in table order."""
        if split not in self._bags:
            table = self.label_table
            chosen = set(table.slide_ids if split is None else self.split.slides(split))
            members: dict[str, list[FeatureFile]] = {}
            for slide_id in table.slide_ids:
                if slide_id in chosen:
                    of_patient = self.settings.bag == "patient"
                    bag_id = table.patient_of(slide_id) if of_patient else slide_id
                    members.setdefault(bag_id, []).append(self.bag_files[slide_id])
            self._bags[split] = tuple(self._source(n, tuple(f)) for n, f in members.items())
        return self._bags[split]

    def _source(self, bag_id: str, files: tuple[FeatureFile, ...]) -> BagSource:
        others, known = self.cohort.others, self.cohort.covariates
        slide_ids = tuple(file.slide_id for file in files)
        return BagSource(
            bag_id,
            files,
            tuple(tuple(one[slide_id] for slide_id in slide_ids) for one in others),
            None if known is None else known.of_bag(slide_ids),
        )

    def targets(self, split: SplitName | None = None) -> Targets:
        """The targets of `bags(split)`, in the shapes `Task` fixes; nobody may change them."""
        if split not in self._targets:
            slides = [bag.slide_ids for bag in self.bags(split)]
            targets = encode_bag_targets(self.task_record, self.label_table, slides)
            targets.flags.writeable = False
            self._targets[split] = targets
        return self._targets[split]

    def dataset(self, split: SplitName | None = None) -> BagDataset:
        """The bags of a split with their targets; tiles are drawn (`max_tiles`) in train only."""
        training = split == "train"
        return BagDataset(
            self.bags(split),
            self.targets(split),
            max_tiles=self.settings.max_tiles if training else None,
            turn=self.settings.turn_positions and training,
            seed=self._seed,
            memory=self.cohort.memory,
        )

    def train_dataloader(self) -> DataLoader[BagBatch]:
        """Training bags, in another order every epoch."""
        return self._loader("train")

    def val_dataloader(self) -> DataLoader[BagBatch] | list[DataLoader[BagBatch]]:
        """Val bags in order; an empty list, which Lightning skips, where there are none."""
        return self._loader("val") if self.split.val else []

    def test_dataloader(self) -> DataLoader[BagBatch] | list[DataLoader[BagBatch]]:
        """Test bags in order; an empty list where there are none."""
        return self._loader("test") if self.split.test else []

    def predict_dataloader(self) -> DataLoader[BagBatch]:
        """Every bag of the table, whatever its split, in order."""
        return self._loader(None)

    def whole_dataloader(self, split: SplitName | None) -> DataLoader[BagBatch]:
        """Bags of a split (None: every bag) once each, with all tiles and no labels, to predict."""
        dataset = BagDataset(self.bags(split), memory=self.cohort.memory)
        most_bags, most_tiles = self.settings.batching
        sampler = BagBatchSampler(dataset, batch_size=most_bags, token_budget=most_tiles)
        return bag_loader(dataset, sampler, num_workers=self.settings.num_workers)

    def largest_batch(self) -> tuple[int, int]:
        """Bags and tiles of each, padding counted, of the most costly batch of training."""
        lengths = self.dataset("train").lengths
        most_bags, most_tiles = self.settings.batching
        longest, bags = max(lengths), min(most_bags or len(lengths), len(lengths))
        if most_tiles is None or not exceeds_budget(lengths, most_bags, most_tiles):
            return bags, longest
        if longest >= most_tiles:
            return 1, longest
        bags = min(bags, most_tiles // longest)
        return (bags, longest) if bags > 1 else (1, most_tiles)

    def with_batches_of_version_1(self) -> "BagDataModule":
        """The same bags in the batches of older versions.

        They had no limit of tiles by default, and one of bags only without it.
        """
        settings = self.settings
        if settings.token_budget is None:
            settings = replace(settings, token_budget=0)
        elif settings.token_budget:
            settings = replace(settings, batch_size=None)
        return BagDataModule(self.cohort, self.split, settings)

    def identity(self) -> Identity:
        """What of the data decides what a model learns: labels, files, split, batches."""
        digest = hashlib.sha256()
        for bag, target in zip(self.bags(), self.targets(), strict=True):
            files = [(f.slide_id, f.fingerprint, f.num_tiles) for f in bag.files]
            digest.update(repr((bag.bag_id, files, target.tolist())).encode())
            if bag.covariates is not None:
                digest.update(bag.covariates.tobytes())
            for others in bag.others:
                digest.update(repr([(f.fingerprint, f.num_tiles) for f in others]).encode())
            for file in bag.files:
                if isinstance(file.source, PartSource):
                    digest.update(file.source.rows.tobytes())
        digest.update(repr(self.split).encode())
        batches = self.settings
        most_bags, most_tiles = batches.batching
        if most_tiles is not None and not exceeds_budget(
            self.dataset("train").lengths, most_bags, most_tiles
        ):
            most_tiles = None  # no batch is another one for it
        known = self.cohort.covariates
        fused: Identity = {
            **({} if known is None else {"covariates": known.kinds}),
            **({"more_features": [*self.cohort.more_identities]} if self.cohort.others else {}),
        }
        return {
            **fused,
            "task": self.task_record.identity(),
            "features": self.cohort.features_identity,
            "bags_and_split": digest.hexdigest()[:16],
            "bag": batches.bag,
            "batch_size": most_bags,
            "token_budget": most_tiles,
            "max_tiles": batches.max_tiles,
            "turn_positions": batches.turn_positions,
            "balanced_sampling": batches.sampling == "balanced",
            "balanced_weights": batches.class_weights == "balanced",
            "seed": self._seed,
            **self._target_weights(),
        }

    def _target_weights(self) -> Identity:
        """How much each of several targets counts; nothing where there is one."""
        task = self.task_record
        return {"target_weights": list(task.loss_weights)} if isinstance(task, MultiTask) else {}

    def _loader(self, split: SplitName | None) -> DataLoader[BagBatch]:
        dataset, training = self.dataset(split), split == "train"
        balanced = training and self.settings.sampling == "balanced"
        most_bags, most_tiles = self.settings.batching
        processes = self.trainer.distributed_sampler_kwargs if self.trainer is not None else None
        sampler = BagBatchSampler(
            dataset,
            batch_size=most_bags,
            token_budget=most_tiles,
            shuffle=training,
            classes=self.targets(split).astype(np.int64) if balanced else None,
            seed=self._seed,
            **(processes or {}),
        )
        return bag_loader(dataset, sampler, num_workers=self.settings.num_workers)

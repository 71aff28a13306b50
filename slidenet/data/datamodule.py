"""Everything a classifier is trained on, from a table of labels and a folder of features."""

import copy
import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from slidenet.core.checks import check_whole
from slidenet.core.errors import ConfigError, SplitError
from slidenet.core.provenance import Identity
from slidenet.data.bags.dataset import BagDataset, BagSource
from slidenet.data.bags.files import BagFiles, open_bag_files
from slidenet.data.batches.sampler import BagBatchSampler, bag_loader
from slidenet.data.labels.balance import balanced_weights, check_split_classes
from slidenet.data.labels.encoding import Targets, encode_bag_targets, encode_targets
from slidenet.data.labels.table import LabelTable, read_label_table
from slidenet.data.labels.task import make_task
from slidenet.data.labels.values import labelled_rows
from slidenet.data.splits.make import make_split, read_splits
from slidenet.data.splits.record import SPLIT_NAMES, Split, SplitName, check_split
from slidenet.mil import BagBatch
from slidenet.stores import SMALL_COHORT_BYTES, FeatureFile, FeatureMemory
from slidenet.tasks.task import CLASSIFICATION, TaskKind


class BagDataModule(LightningDataModule):
    """Bags with labels, split into train, val and test, as `BagBatch`es.

    Made from the table and the headers of the files alone; whatever is wrong with them is raised
    here. NaN in features is found when a bag is first read.

    Args:
        labels: Table of labels: CSV with a column slide_id (or slide_path), optionally patient_id
            and mpp, and the columns of labels. The manifest slides.csv will do.
        features: Folder of the features, one file per slide named by slide_id, written by slidenet,
            CLAM, TRIDENT, STAMP or slide2vec.
        task: What is predicted.
        label_columns: Columns of the labels: one; one per label for "multilabel"; time and event
            for "cox" and "discrete_time".
        class_names: Classes in order, for "binary" the negative one first; found in the table and
            sorted where not given.
        time_edges: Upper edges of the bins of "discrete_time"; quantiles of the times of events in
            train where not given.
        num_time_bins: Number of those quantiles.
        bag: What is one bag: a slide, or all slides of a patient side by side.
        batch_size: Bags per batch.
        token_budget: Tiles per batch, padding counted; batch_size is not used where it is given.
        max_tiles: In training, as many tiles are drawn from larger bags, others every epoch.
        turn_positions: In training, cells of a bag are mirrored and turned by chance.
        sampling: "natural" draws every training bag once per epoch; "balanced" draws as many of
            each class.
        class_weights: "balanced" weighs classes by the inverse of their number in training.
        splits: Splits to use: written by slidenet or CLAM, one file or a folder of them.
        fold: Which of the splits.
        val_fraction: Share of patients for val, where no splits are given.
        test_fraction: Share of patients for test, where no splits are given.
        seed: Decides the split, the order of bags and the tiles drawn.
        num_workers: Processes that read bags ahead; 0 reads in the main process.
        cache: Whether all features stay in memory once read; those of small cohorts (256 MiB) do
            in any case. Best with num_workers 0.
        drop_unlabelled: Whether slides without a label are left out; refused otherwise.
        allow_missing: Whether slides without a features file are left out; refused otherwise.
        slide_mpp: Microns per level-0 pixel of slides without mpp in the table, for files that do
            not say it.
        tile_size_px: Side of a tile at target_mpp, for files that do not say it.
        target_mpp: Microns per pixel of the tiles, for files that do not say it.

    Attributes:
        label_table: Slides with a label and a file.
        task_record: The task, as models, metrics and checkpoints take it.
        bag_files: The features file of each slide; none is held open.
        memory: The features read so far that are kept.
        missing_files: slide_ids of the table that have none.
        unused_files: Files of the folder that the table does not name.
        dropped_slides: slide_ids left out because they have no label.
        feature_dim: Length of a feature vector.
        features_identity: What the files have in common.
        split: Which slides are in which split.
        class_weights_tensor: float32 (C,), or None.
        given: What was given of slide_mpp, tile_size_px and target_mpp.

    Raises:
        LabelError: The table, or a label in it, does not fit the task.
        StoreError: A features file is missing, broken, empty, or does not fit the rest.
        SplitError: The split leaks, or a split lacks a class.
        ConfigError: A setting is out of range or contradicts another.
    """

    def __init__(
        self,
        labels: Path,
        features: Path,
        task: TaskKind = "binary",
        label_columns: Sequence[str] = ("label",),
        class_names: Sequence[str] | None = None,
        time_edges: Sequence[float] | None = None,
        num_time_bins: int = 4,
        bag: Literal["slide", "patient"] = "slide",
        batch_size: int = 1,
        token_budget: int | None = None,
        max_tiles: int | None = None,
        turn_positions: bool = False,
        sampling: Literal["natural", "balanced"] = "natural",
        class_weights: Literal["none", "balanced"] = "none",
        splits: Path | None = None,
        fold: int = 0,
        val_fraction: float = 0.2,
        test_fraction: float = 0.2,
        seed: int = 0,
        num_workers: int = 0,
        cache: bool = False,
        drop_unlabelled: bool = False,
        allow_missing: bool = False,
        slide_mpp: float | None = None,
        tile_size_px: int | None = None,
        target_mpp: float | None = None,
    ) -> None:
        super().__init__()
        self._bag = bag
        self._batch_size = batch_size
        self._token_budget = token_budget
        self._max_tiles = max_tiles
        self._turn_positions = turn_positions
        self._balanced_sampling = sampling == "balanced"
        self._balanced_weights = class_weights == "balanced"
        self._seed = seed
        self._num_workers = num_workers
        self._time_edges = time_edges
        self._num_time_bins = num_time_bins
        self.memory = FeatureMemory(math.inf if cache else SMALL_COHORT_BYTES)
        known = {"slide_mpp": slide_mpp, "tile_size_px": tile_size_px, "target_mpp": target_mpp}
        self.given = {name: float(value) for name, value in known.items() if value is not None}
        check_whole(
            or_none=True, batch_size=batch_size, token_budget=token_budget, max_tiles=max_tiles
        )
        check_whole(least=0, num_workers=num_workers)
        _check_balance(task, sampling=self._balanced_sampling, class_weights=self._balanced_weights)

        table = read_label_table(labels)
        # Every label is checked here; the edges of time bins are chosen again by train.
        self.task_record = make_task(
            table, task, label_columns, class_names, time_edges, num_time_bins
        )
        if drop_unlabelled:
            names = self.task_record.class_names
            labelled = labelled_rows(table, task, label_columns, class_names=names)
        else:
            encode_targets(self.task_record, table, table.slide_ids)
            labelled = table
        self.dropped_slides = tuple(s for s in table.slide_ids if s not in labelled.index)
        found = open_bag_files(
            labelled,
            features,
            slide_mpp=slide_mpp,
            tile_size_px=tile_size_px,
            target_mpp=target_mpp,
            allow_missing=allow_missing,
        )
        self._keep_files(found, table)
        self.label_table = labelled.select(found.files)
        self._all_rows = table
        self._use_split(self._own_split(splits, fold, val_fraction, test_fraction))

    def with_split(self, split: Split) -> "BagDataModule":
        """The same bags, split otherwise; features in memory stay there.

        The edges of time bins that were not given are chosen again by train.

        Args:
            split: slide_ids of each split; those left out for want of a label or file may be in it.

        Raises:
            SplitError: The split leaks, names an unknown slide, or a split lacks a class.
        """
        other = copy.copy(self)
        other.trainer = None
        other._use_split(split)
        return other

    def bags(self, split: SplitName | None = None) -> tuple[BagSource, ...]:
        """Where the bags of a split (None: every bag) come from, in table order."""
        chosen = set(self.label_table.slide_ids if split is None else self.split.slides(split))
        members: dict[str, list[FeatureFile]] = {}
        for row in self.label_table.rows:
            if row.slide_id in chosen:
                patient = self.label_table.patient_of(row.slide_id)
                bag_id = patient if self._bag == "patient" else row.slide_id
                members.setdefault(bag_id, []).append(self.bag_files[row.slide_id])
        return tuple(BagSource(bag_id, tuple(files)) for bag_id, files in members.items())

    def targets(self, split: SplitName | None = None) -> Targets:
        """The targets of `bags(split)`, in the shapes `Task` fixes."""
        slides = [bag.slide_ids for bag in self.bags(split)]
        return encode_bag_targets(self.task_record, self.label_table, slides)

    def dataset(self, split: SplitName | None = None) -> BagDataset:
        """The bags of a split with their targets; tiles are drawn (`max_tiles`) in train only."""
        return BagDataset(
            self.bags(split),
            self.targets(split),
            max_tiles=self._max_tiles if split == "train" else None,
            turn=self._turn_positions and split == "train",
            seed=self._seed,
            memory=self.memory,
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
        dataset = BagDataset(self.bags(split), memory=self.memory)
        sampler = BagBatchSampler(
            dataset, batch_size=self._batch_size, token_budget=self._token_budget
        )
        return bag_loader(dataset, sampler, num_workers=self._num_workers)

    def identity(self) -> Identity:
        """What of the data decides what a model learns: labels, files, split, batches."""
        digest = hashlib.sha256()
        for bag, target in zip(self.bags(), self.targets(), strict=True):
            files = [(f.slide_id, f.fingerprint, f.num_tiles) for f in bag.files]
            digest.update(repr((bag.bag_id, files, target.tolist())).encode())
        digest.update(repr(self.split).encode())
        return {
            "task": self.task_record.identity(),
            "features": self.features_identity,
            "bags_and_split": digest.hexdigest()[:16],
            "bag": self._bag,
            "batch_size": self._batch_size if self._token_budget is None else None,
            "token_budget": self._token_budget,
            "max_tiles": self._max_tiles,
            "turn_positions": self._turn_positions,
            "balanced_sampling": self._balanced_sampling,
            "balanced_weights": self._balanced_weights,
            "seed": self._seed,
        }

    @property
    def given_time_edges(self) -> bool:
        """Whether the bins of "discrete_time" were given, not chosen by train."""
        return bool(self._time_edges)

    def _loader(self, split: SplitName | None) -> DataLoader[BagBatch]:
        dataset, training = self.dataset(split), split == "train"
        balanced = training and self._balanced_sampling
        classes = self.targets(split).astype(np.int64) if balanced else None
        processes = self.trainer.distributed_sampler_kwargs if self.trainer is not None else None
        sampler = BagBatchSampler(
            dataset,
            batch_size=self._batch_size,
            token_budget=self._token_budget,
            shuffle=training,
            classes=classes,
            seed=self._seed,
            **(processes or {}),
        )
        return bag_loader(dataset, sampler, num_workers=self._num_workers)

    def _keep_files(self, found: BagFiles, table: LabelTable) -> None:
        self.bag_files: Mapping[str, FeatureFile] = found.files
        self.missing_files = found.missing
        self.unused_files = tuple(p for p in found.unused if p.stem not in table.index)
        self.feature_dim = found.first.feature_dim
        self.features_identity: Identity = found.first.cohort_identity

    def _own_split(
        self, splits: Path | None, fold: int, val_fraction: float, test_fraction: float
    ) -> Split:
        if splits is not None:
            return _split_of_file(splits, fold, self._all_rows)
        return make_split(
            self.label_table,
            self.task_record,
            val_fraction=val_fraction,
            test_fraction=test_fraction,
            seed=self._seed,
        )

    def _use_split(self, split: Split) -> None:
        check_split(split, self._all_rows)
        kept = {
            name: tuple(s for s in split.slides(name) if s in self.label_table.index)
            for name in SPLIT_NAMES
        }
        if not kept["train"]:
            raise SplitError(
                f"none of the {len(split.train)} slides to train on has a label and features",
                expected="at least one",
            )
        self.split = Split(**kept)
        if self.task_record.kind == "discrete_time" and not self._time_edges:
            self.task_record = make_task(
                self.label_table,
                "discrete_time",
                self.task_record.label_columns,
                num_time_bins=self._num_time_bins,
                training_ids=self.split.train,
            )
        for name in SPLIT_NAMES:
            if self.split.slides(name):
                check_split_classes(self.task_record, self.targets(name), name)
        self.class_weights_tensor: Tensor | None = None
        if self._balanced_weights:
            self.class_weights_tensor = balanced_weights(self.task_record, self.targets("train"))


def _split_of_file(path: Path, fold: int, table: LabelTable) -> Split:
    splits = read_splits(path, table)
    if not 0 <= fold < len(splits):
        raise SplitError(
            f"fold {fold} of {path}, which holds {len(splits)}",
            expected=f"0 to {len(splits) - 1}",
        )
    return splits[fold]


def _check_balance(task: TaskKind, *, sampling: bool, class_weights: bool) -> None:
    if sampling and task not in ("binary", "multiclass", "ordinal"):
        raise ConfigError(
            f"sampling 'balanced' for a {task} task",
            expected="a task with one class per bag",
            remedy="use sampling 'natural'",
        )
    if class_weights and task not in CLASSIFICATION:
        raise ConfigError(
            f"class_weights 'balanced' for a {task} task",
            expected="a task of classes",
            remedy="use class_weights 'none'",
        )

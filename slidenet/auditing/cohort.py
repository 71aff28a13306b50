"""What an audit looks at: a table, a task, features files and splits, as far as they are there."""

import hashlib
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from slidenet.core.arrays import BoolArray, FeatureRows, row_blocks
from slidenet.core.errors import StoreError
from slidenet.data.labels.cells import has_label
from slidenet.data.labels.table import LabelTable
from slidenet.data.splits.record import Split
from slidenet.stores import FeatureFile, FeatureMemory, open_features
from slidenet.tasks import Task

_CRC_BYTES = ">u4"


@dataclass(frozen=True)
class AuditSettings:
    """What an audit tolerates.

    Args:
        min_patients: Fewer patients of a class (events, for survival) are a warning.
        significance: Chance that a clean cohort gets any warning that something other than the
            picture tells the label.
        least_effect: Cramer's V below which such an association is not worth a warning.
        duplicate_ratio: A slide this much nearer to one other slide than to its further neighbours
            is a near duplicate, unless the whole cohort is as uneven.
        ignore_columns: Columns that may tell the label (another label, a diagnosis).
        covariates: Columns that the model is to see beside the tiles.
        read_features: Read every feature, to find NaN and near duplicates; headers only otherwise.
    """

    min_patients: int = 10
    significance: float = 0.001
    least_effect: float = 0.3
    duplicate_ratio: float = 0.3
    ignore_columns: tuple[str, ...] = ()
    covariates: tuple[str, ...] = ()
    read_features: bool = True


DEFAULT_SETTINGS = AuditSettings()


@dataclass(frozen=True, eq=False)
class FeatureSummary:
    """One pass over the features of a slide.

    Attributes:
        signature: float64 (2 D,), mean and standard deviation of each feature over the real tiles.
        digest: The same for the same rows, in whatever order.
        constant: Whether all features are 0, or two real tiles and more all have the same.
    """

    signature: npt.NDArray[np.float64]
    digest: str
    constant: bool


@dataclass(frozen=True, eq=False)
class Cohort:
    """Everything the checks look at.

    Attributes:
        table: The labels, each slide once.
        task: What they mean; None where they make no task.
        files: The features file of each slide_id found, opened already or by its path; None where
            features are not looked at.
        splits: Train, val and test of each fold.
        settings: What is tolerated.
        given: Arguments of `open_features`: slide_mpp, tile_size_px, target_mpp.
        memory: Keeps the features that are read, as far as it has room.
    """

    table: LabelTable
    task: Task | None
    files: Mapping[str, Path | FeatureFile] | None
    splits: Sequence[Split] = ()
    settings: AuditSettings = DEFAULT_SETTINGS
    given: Mapping[str, Any] = field(default_factory=dict)
    memory: FeatureMemory = field(default_factory=lambda: FeatureMemory(0))

    @cached_property
    def labelled(self) -> LabelTable | None:
        """The rows that have a label; None without a task."""
        if self.task is None:
            return None
        return self.table.take(has_label(self.table, self.task))

    @cached_property
    def paths(self) -> dict[str, Path] | None:
        """Where the features file of each slide_id lies."""
        if self.files is None:
            return None
        return {s: f.path if isinstance(f, FeatureFile) else f for s, f in self.files.items()}

    @cached_property
    def opened(self) -> tuple[dict[str, FeatureFile], dict[str, StoreError]]:
        """The files of slides in the table whose header is sound, and why the others are not."""
        good: dict[str, FeatureFile] = {}
        bad: dict[str, StoreError] = {}
        for row in self.table.rows:
            if self.files is None or row.slide_id not in self.files:
                continue
            file = self.files[row.slide_id]
            given = {**self.given, **({} if row.mpp is None else {"slide_mpp": row.mpp})}
            try:
                if not isinstance(file, FeatureFile):
                    file = open_features(file, **given)
                file.check_any_tile()
                good[row.slide_id] = file
            except StoreError as error:
                bad[row.slide_id] = error
        return good, bad

    @cached_property
    def summaries(self) -> tuple[dict[str, FeatureSummary], dict[str, StoreError]]:
        """What one pass over the features of every sound file gives, and which failed it."""
        good: dict[str, FeatureSummary] = {}
        bad: dict[str, StoreError] = {}
        if self.settings.read_features:
            for slide_id, file in self.opened[0].items():
                try:
                    good[slide_id] = summarise(file, self.memory)
                except StoreError as error:
                    bad[slide_id] = error
        return good, bad

    @cached_property
    def comparable(self) -> dict[str, FeatureSummary]:
        """The summaries of slides whose features can be compared with those of others."""
        return {s: found for s, found in self.summaries[0].items() if not found.constant}

    def split_name(self, number: int) -> str:
        """What a split is called in findings."""
        return f"fold {number}" if len(self.splits) > 1 else "the split"

    def folds_apart(self, first: str, second: str) -> list[tuple[int, str, str]]:
        """Folds in which two slides are in different splits: the fold and the two splits."""
        found = []
        for number, names in enumerate(self._splits_by_slide):
            if names.get(first) and names.get(second) and names[first] != names[second]:
                found.append((number, names[first][0], names[second][-1]))
        return found

    @cached_property
    def _splits_by_slide(self) -> list[dict[str, list[str]]]:
        return [split.by_slide() for split in self.splits]


def summarise(file: FeatureFile, memory: FeatureMemory) -> FeatureSummary:
    """Goes over the features of a slide once: in memory where there is room, else block by block.

    Raises:
        StoreError: The file is broken, or holds NaN or infinite values.
    """
    if memory.has_room_for(file):
        features, _, mask = memory.read(file)
        return _summary(features, mask)
    with file:
        return _summary(file.features, file.mask)


def _summary(features: FeatureRows, mask: BoolArray) -> FeatureSummary:
    total, squares = np.zeros(features.shape[1]), np.zeros(features.shape[1])
    checksums: list[int] = []
    different: set[int] = set()
    for rows, block in row_blocks(features):
        sums = [zlib.crc32(row.tobytes()) for row in block]
        checksums += sums
        different |= {sums[i] for i in np.flatnonzero(mask[rows])}
        real = block[mask[rows]].astype(np.float64)
        total += real.sum(0)
        squares += (real**2).sum(0)
    count = max(int(mask.sum()), 1)
    mean = total / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 0))
    digest = hashlib.sha256(np.sort(np.array(checksums, _CRC_BYTES)).tobytes()).hexdigest()
    constant = not squares.any() or (count > 1 and len(different) == 1)
    return FeatureSummary(np.concatenate([mean, deviation]), digest, constant)

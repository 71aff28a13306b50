"""A cohort fit to be learned from: slides that have a label and a features file."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from slidenet.core.provenance import Identity
from slidenet.data.bags.files import BagFiles, open_bag_files
from slidenet.data.bags.parts import divide_cohort, split_parts
from slidenet.data.labels.cells import labelled_rows
from slidenet.data.labels.encoding import encode_targets
from slidenet.data.labels.table import LabelTable, read_label_table, read_region_table
from slidenet.data.labels.task import make_task
from slidenet.data.settings import DataSettings
from slidenet.data.splits.record import Split
from slidenet.stores import SMALL_COHORT_BYTES, FeatureFile, FeatureMemory
from slidenet.tasks import Task


@dataclass(frozen=True, eq=False)
class BagCohort:
    """Slides with labels and features, before they are split.

    Attributes:
        rows: Every row of the table of labels.
        table: The rows that have a label and a features file.
        task: What the labels mean.
        files: The features file of each slide of `table`; none is held open.
        memory: The features read so far that are kept.
        missing: slide_ids of the table that have no file.
        unused: Files of the folder that the table does not name.
        dropped: slide_ids left out because they have no label.
        slides: Where bags are parts of slides (regions, tiles): the slides, one row each. The names
            of parts then are the `slide_ids` of all else.
    """

    rows: LabelTable
    table: LabelTable
    task: Task
    files: Mapping[str, FeatureFile]
    memory: FeatureMemory
    missing: tuple[str, ...] = ()
    unused: tuple[Path, ...] = ()
    dropped: tuple[str, ...] = ()
    slides: LabelTable | None = None

    @property
    def first_file(self) -> FeatureFile:
        """A file like all others: of their length and cohort identity."""
        return next(iter(self.files.values()))

    def of_bags(self, split: Split) -> Split:
        """A split of slides as one of bags, where bags are parts of slides."""
        return split if self.slides is None else split_parts(split, self.rows, self.slides)

    @property
    def features_identity(self) -> Identity:
        """What the files have in common."""
        return self.first_file.cohort_identity


def read_cohort(settings: DataSettings) -> BagCohort:
    """Reads the table of labels and the headers of the features files.

    Whatever is wrong with them is raised here; NaN in features is found when a bag is read.

    Raises:
        LabelError: The table, or a label in it, does not fit the task.
        StoreError: A features file is missing, broken, empty, or does not fit the rest.
        IdentityMismatchError: Two features files were made in different ways.
    """
    slides, regions = None, None
    if settings.dividing is None:
        rows = read_label_table(settings.labels)
    else:
        slides, regions = read_region_table(settings.labels)
        found = _open(slides, settings)
        rows, parts = divide_cohort(
            slides, regions, found.files, settings.dividing, allow_missing=settings.allow_missing
        )
    # Every label is checked here; the edges of time bins are chosen again by train.
    task = make_task(
        rows,
        settings.task,
        settings.label_columns,
        settings.class_names,
        settings.time_edges,
        settings.num_time_bins,
    )
    labelled = rows
    if settings.drop_unlabelled:
        names = task.class_names
        labelled = labelled_rows(rows, settings.task, settings.label_columns, class_names=names)
    else:
        encode_targets(task, rows, rows.slide_ids)
    if slides is None:
        found = _open(labelled, settings)
        files = found.files
    else:
        files = {name: parts[name] for name in labelled.slide_ids}
    known = rows if slides is None else slides
    return BagCohort(
        rows=rows,
        table=labelled.select(files),
        task=task,
        files=files,
        memory=FeatureMemory(math.inf if settings.cache else SMALL_COHORT_BYTES),
        missing=found.missing,
        unused=tuple(path for path in found.unused if path.stem not in known.index),
        dropped=tuple(s for s in rows.slide_ids if s not in labelled.index),
        slides=slides,
    )


def _open(table: LabelTable, settings: DataSettings) -> BagFiles:
    return open_bag_files(
        table,
        settings.features,
        slide_mpp=settings.slide_mpp,
        tile_size_px=settings.tile_size_px,
        target_mpp=settings.target_mpp,
        allow_missing=settings.allow_missing,
    )

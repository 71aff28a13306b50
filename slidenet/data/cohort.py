"""A cohort fit to be learned from: slides that have a label and a features file."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from slidenet.core.errors import LabelError, StoreError
from slidenet.core.provenance import Identity
from slidenet.core.text import count_of, name_some, words_of_loss
from slidenet.core.vocabulary import usually_positive
from slidenet.data.bags.files import BagFiles, open_bag_files
from slidenet.data.bags.parts import SEPARATOR, divide_cohort, split_parts
from slidenet.data.covariates import (
    CovariateTable,
    contradicting_patients,
    describe_missing,
    find_kinds,
    read_covariates,
)
from slidenet.data.labels.cells import has_label
from slidenet.data.labels.classes import like_words
from slidenet.data.labels.encoding import encode_targets
from slidenet.data.labels.left_out import (
    NO_FILE,
    LeftOut,
    blank_cells,
    describe_left_out,
    without_label,
)
from slidenet.data.labels.table import (
    LabelTable,
    PatientsKnown,
    read_label_table,
    read_region_table,
)
from slidenet.data.labels.targets import (
    TargetSettings,
    columns_of,
    make_targets,
    read_targets,
    refuse_unlabelled,
)
from slidenet.data.labels.task import make_task
from slidenet.data.settings import DataSettings
from slidenet.data.splits.record import Split
from slidenet.stores import SMALL_COHORT_BYTES, FeatureFile, FeatureMemory
from slidenet.stores.manifest.patients import describe_patients
from slidenet.stores.objects import cache_of
from slidenet.tasks import MultiTask, Task


@dataclass(frozen=True, eq=False)
class BagCohort:
    """Slides with labels and features, before they are split.

    Attributes:
        rows: Every row of the table of labels.
        table: The rows that have a label and a features file.
        task: What the labels mean.
        files: The features file of each slide of `table`; none is held open.
        memory: The features read so far that are kept.
        left_out: Rows of the table that are in no bag, in its order, each with the reason.
        unused: Files of the folder that the table does not name.
        positive_given: The targets ("" where there is one) whose positive class the user has named.
        others: The files of each further feature set, of the same slides.
        covariates: What else a model sees of the slides; None where nothing.
        slides: Where bags are parts of slides (regions, tiles): the slides, one row each. The names
            of parts then are the `slide_ids` of all else.
    """

    rows: LabelTable
    table: LabelTable
    task: Task
    files: Mapping[str, FeatureFile]
    memory: FeatureMemory
    left_out: tuple[LeftOut, ...] = ()
    unused: tuple[Path, ...] = ()
    positive_given: frozenset[str] = frozenset()
    slides: LabelTable | None = None
    others: tuple[Mapping[str, FeatureFile], ...] = ()
    covariates: CovariateTable | None = None

    @property
    def first_file(self) -> FeatureFile:
        """A file like all others: of their length and cohort identity."""
        return next(iter(self.files.values()))

    @property
    def patients_known(self) -> PatientsKnown:
        """Whether the table says whose the slides are that have bags.

        "all", "some" or "none"; or "proposed": it does not, but their slide_ids are TCGA barcodes,
        which name the patients.
        """
        if self.slides is None:
            return self.table.patients_known
        return self.slides.select(self.slides_used).patients_known

    @property
    def slides_used(self) -> tuple[str, ...]:
        """The slides that have bags, in order of the table."""
        if self.slides is None:
            return self.table.slide_ids
        return tuple(dict.fromkeys(s.partition(SEPARATOR)[0] for s in self.table.slide_ids))

    def describe(self) -> list[str]:
        """What was taken for granted in reading the table: patients, classes, what is left out."""
        patients = {self.table.patient_of(slide) for slide in self.table.slide_ids}
        lines = [describe_patients(self.table.patient_column, len(patients))]
        if self.patients_known in ("none", "proposed"):
            lines[0] += ", so each slide counts as one (--data.patient-column)"
        targets = self.task.targets if isinstance(self.task, MultiTask) else {"": self.task}
        for name, task in targets.items():
            if task.has_positive_class:
                lines.append(_describe_positive(task, name, given=name in self.positive_given))
            if task.exclusive_classes and (pairs := like_words(task.class_names)):
                shown = name_some(f"{one!r} and {other!r}" for one, other in pairs)
                lines.append(f"classes that look alike (one class, mistyped?): {shown}")
        if isinstance(self.task, MultiTask):
            cells = encode_targets(self.task, self.table, self.table.slide_ids)
            counts = ((part.name, int(part.known(cells).sum())) for part in self.task.parts)
            known = ", ".join(f"{name} of {count}" for name, count in counts)
            lines.append(f"labels of {count_of('slide', len(self.table))}: {known}")
        if self.covariates is not None:
            kinds = ", ".join(f"{name} ({kind})" for name, kind in self.covariates.kinds.items())
            lines += [f"covariates: {kinds}", *self.covariates.notes]
        tiles: dict[str, tuple[int, int]] = {}
        for name, file in self.files.items():
            slide = name.partition(SEPARATOR)[0] if self.slides is not None else name
            lost, whole = tiles.get(slide, (0, 0))
            tiles[slide] = (lost + file.num_unreadable, whole + file.num_tiles)
        return lines + words_of_loss(tiles) + describe_left_out(self.left_out, patients)

    def of_bags(self, split: Split) -> Split:
        """A split of slides as one of bags, where bags are parts of slides."""
        return split if self.slides is None else split_parts(split, self.rows, self.slides)

    @property
    def features_identity(self) -> Identity:
        """What the files have in common."""
        return self.first_file.cohort_identity

    @property
    def more_identities(self) -> tuple[Identity, ...]:
        """What the files of each further feature set have in common."""
        return tuple(next(iter(files.values())).cohort_identity for files in self.others)


def _describe_positive(task: Task, target: str, *, given: bool) -> str:
    """Which class is the positive one, and how to take the other where nobody has chosen."""
    negative, positive = task.class_names
    line = f"positive class of {task.label_columns[0]!r}: {positive!r}"
    if given:
        return line
    line += f", the last of {negative!r} and {positive!r}"
    way = f"positive: {negative} of {target} in --data.targets" if target else ""
    way = way or f"--data.positive {negative}"
    if usually_positive(negative) and not usually_positive(positive):
        return line + f"; {negative!r} is the usual one: give {way}"
    return line + f" ({way} takes the other)"


def read_cohort(settings: DataSettings) -> BagCohort:
    """Reads the table of labels and the headers of the features files.

    Whatever is wrong with them is raised here; NaN in features is found when a bag is read.

    Raises:
        LabelError: The table, or a label in it, does not fit the task.
        StoreError: A features file is missing, broken, empty, or does not fit the rest.
        IdentityMismatchError: Two features files were made in different ways.
    """
    slides, regions = None, None
    files: Mapping[str, FeatureFile] = {}
    if settings.dividing is None:
        rows = read_label_table(settings.labels, patient_column=settings.patient_column)
    else:
        slides, regions = read_region_table(settings.labels, patient_column=settings.patient_column)
        found = _open(slides, settings)
        rows, files = divide_cohort(
            slides, regions, found.files, settings.dividing, allow_missing=settings.allow_missing
        )
    targets = None if settings.targets is None else read_targets(settings.targets)
    columns = settings.label_columns if targets is None else columns_of(targets)
    if settings.bag == "patient" and rows.patients_known in ("none", "proposed"):
        raise LabelError(
            f"{settings.labels} names no patients, and a bag is to hold all slides of one",
            expected="a column patient_id, or one named alike",
            remedy="name the column with --data.patient-column, or make bags of slides",
        )
    rows, words = blank_cells(rows, columns, settings.leave_out)
    # Every label is checked here; the edges of time bins are chosen again by train.
    task = _task(rows, settings, targets)
    labelled = rows.take(has_label(rows, task))
    if not settings.drop_unlabelled:
        kept = [s for s in rows.slide_ids if s in labelled.index or s not in words]
        if isinstance(task, MultiTask):
            refuse_unlabelled(rows.select(kept), task)
        encode_targets(task, rows, kept)
    left_out = without_label(rows, labelled, task, words)
    if slides is None:
        found = _open(labelled, settings)
        files = found.files
    whole = labelled if slides is None else slides
    left_out += [
        LeftOut(s, whole.row(s).patient_id, f"{NO_FILE}{hint}") for s, hint in found.missing.items()
    ]
    more = [_open(labelled, settings, folder) for folder in settings.more_features]
    lacking = {
        s: f"{NO_FILE} in {one.folder}{hint}" for one in more for s, hint in one.missing.items()
    }
    left_out += [
        LeftOut(s, whole.row(s).patient_id, why) for s, why in lacking.items() if s in files
    ]
    files = {s: files[s] for s in labelled.slide_ids if s in files and s not in lacking}
    if not files:
        raise StoreError(
            f"no slide is both in {settings.features} and in "
            f"{name_some(one.folder for one in more)}",
            expected="features of the same slides in every folder",
        )
    table = labelled.select(files)
    known = rows if slides is None else slides
    used = {s.partition(SEPARATOR)[0] for s in rows.slide_ids}
    if slides is not None:
        left_out += [
            LeftOut(s, slides.row(s).patient_id, "no tile in a region that is a bag")
            for s in slides.slide_ids
            if s not in used and s not in found.missing
        ]
    place = {slide_id: i for i, slide_id in enumerate((*known.slide_ids, *rows.slide_ids))}
    return BagCohort(
        rows=rows,
        table=table,
        task=task,
        files=files,
        memory=FeatureMemory(math.inf if settings.cache else SMALL_COHORT_BYTES),
        left_out=tuple(sorted(left_out, key=lambda one: place[one.slide_id])),
        unused=tuple(path for path in found.unused if path.stem not in known.index),
        positive_given=frozenset(
            name
            for name, positive, names in (
                [("", settings.positive, settings.class_names)]
                if targets is None
                else [(name, one.positive, one.class_names) for name, one in targets.items()]
            )
            if positive is not None or names
        ),
        slides=slides,
        others=tuple({slide_id: one.files[slide_id] for slide_id in files} for one in more),
        covariates=_read_covariates(table, settings) if settings.covariates else None,
    )


def _read_covariates(table: LabelTable, settings: DataSettings) -> CovariateTable:
    """The covariates of the slides; those of one patient that differ are told, or refused."""
    source = str(table.path)
    kinds = find_kinds(table.rows, settings.covariates, settings.categorical, source=source)
    found = read_covariates(table.rows, kinds, source=source)
    slides_of: dict[str, list[str]] = {}
    for slide_id in table.slide_ids:
        slides_of.setdefault(table.patient_of(slide_id), []).append(slide_id)
    of_patients = settings.bag == "patient"  # slides that contradict each other are refused then
    bags = slides_of.values() if of_patients else [[slide_id] for slide_id in table.slide_ids]
    missing = describe_missing(found, bags, noun="patient" if of_patients else "slide")
    notes = tuple(
        f"covariate {name!r}: slides of the same patient have different values (of "
        f"{count_of('patient', len(patients))}: {name_some(patients)})"
        for name, patients in contradicting_patients(found, slides_of).items()
    )
    return replace(found, notes=missing + notes)


def _task(
    rows: LabelTable, settings: DataSettings, targets: Mapping[str, TargetSettings] | None
) -> Task:
    if targets is not None:
        return make_targets(rows, targets)
    return make_task(
        rows,
        settings.task,
        settings.label_columns,
        settings.class_names,
        settings.time_edges,
        settings.num_time_bins,
        positive=settings.positive,
    )


def _open(table: LabelTable, settings: DataSettings, folder: Path | None = None) -> BagFiles:
    return open_bag_files(
        table,
        settings.features if folder is None else folder,
        slide_mpp=settings.slide_mpp,
        tile_size_px=settings.tile_size_px,
        target_mpp=settings.target_mpp,
        allow_missing=settings.allow_missing,
        objects=cache_of(settings.object_cache, settings.object_cache_limit),
    )

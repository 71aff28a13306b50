"""What the bags of a training run are made from: the flags `--data.*`, one field each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from slidenet.core.checks import check_share, check_whole, refused
from slidenet.core.errors import ConfigError
from slidenet.core.text import name_some
from slidenet.data.bags.parts import PART_BAGS, DividingRule
from slidenet.data.labels.targets import any_classes, columns_of, read_targets
from slidenet.mil.contract import BagKind
from slidenet.tasks import TASKS, ClassTask, TaskKind

DEFAULT_TOKEN_BUDGET = 131_072
"""What eight slides of 16,000 tiles need; ABMIL trains on such a batch with 3 GB."""


@dataclass(frozen=True, kw_only=True)
class LabelSettings:
    """What is predicted, and where the labels stand.

    Args:
        labels: Table of labels: CSV with a column slide_id (or slide_path), optionally patient_id
            and mpp, and the columns of labels. The manifest slides.csv will do.
        patient_column: Column that says whose slide it is; default: patient_id, or one named alike
            (case_id, PATIENT, submitter_id). "tcga" reads TCGA barcodes in slide_id; "slide_id"
            says that every slide is of another patient.
        task: What is predicted.
        label_columns: Columns of the labels: one; one per label for "multilabel"; time and event
            for "cox" and "discrete_time".
        class_names: Classes in order, for "binary" the negative one first; found in the table and
            sorted where not given.
        positive: For "binary" the positive class, whose probability is predicted; default: the last
            of class_names.
        time_edges: Upper edges of the bins of "discrete_time"; quantiles of the times of events in
            train where not given.
        num_time_bins: Number of those quantiles.
        drop_unlabelled: Whether slides without a label are left out; refused otherwise.
        leave_out: Words in the label columns (unknown, equivocal) whose slides are left out.
        targets: Several targets in one model, any of them missing of some slides, instead of task
            and label_columns: by name the kind of task, or a mapping of task, label_columns,
            class_names, positive, time_edges and weight, such as {msi: binary, grade: {task:
            ordinal, class_names: [low, high]}}. The first one leads.
    """

    labels: Path
    patient_column: str | None = None
    task: TaskKind = "binary"
    label_columns: Sequence[str] = ("label",)
    class_names: Sequence[str] | None = None
    positive: str | None = None
    time_edges: Sequence[float] | None = None
    num_time_bins: int = 4
    drop_unlabelled: bool = False
    leave_out: Sequence[str] = ()
    targets: dict[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class FeatureSettings:
    """Where the features lie, and what their files do not say.

    Args:
        features: Folder of the features, one file per slide named by slide_id, written by slidenet,
            CLAM, TRIDENT, STAMP or slide2vec. An address (s3://bucket/features, ...) names h5 files
            in an object store, which are fetched when they are read.
        allow_missing: Whether slides without a features file are left out; refused otherwise.
        slide_mpp: Microns per level-0 pixel of slides without mpp in the table, for files that do
            not say it.
        tile_size_px: Side of a tile at target_mpp, for files that do not say it.
        target_mpp: Microns per pixel of the tiles, for files that do not say it.
        cache: Whether all features stay in memory once read; those of small cohorts (256 MiB) do
            in any case. Best with num_workers 0.
        object_cache: Folder for copies of features that lie in an object store; default:
            ~/.cache/slidenet.
        object_cache_limit: What these copies may take; with less than the cohort, files are fetched
            again every epoch.
    """

    features: Path
    allow_missing: bool = False
    slide_mpp: float | None = None
    tile_size_px: int | None = None
    target_mpp: float | None = None
    cache: bool = False
    object_cache: Path | None = None
    object_cache_limit: str = "50GB"

    @property
    def given(self) -> dict[str, float]:
        """What is given of the sizes and resolutions that files may not say."""
        sizes = {name: getattr(self, name) for name in ("slide_mpp", "tile_size_px", "target_mpp")}
        return {name: float(value) for name, value in sizes.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class FusionSettings:
    """What a model sees beside the tiles of one features folder.

    Args:
        covariates: Columns of the table of labels that the model sees too, such as age, sex and
            stage: numbers or categories, found by what they hold; may be empty where not known.
        categorical: Covariates that are categories although they look like numbers.
        more_features: Folders of further features of the same slides, by another tile encoder or
            at another scale, each seen by a network of its own. Every slide must be in all.
    """

    covariates: Sequence[str] = ()
    categorical: Sequence[str] = ()
    more_features: Sequence[Path] = ()


@dataclass(frozen=True, kw_only=True)
class SplitSettings:
    """Which bags are for train, val and test.

    Args:
        splits: Splits to use: written by slidenet or CLAM, one file or a folder of them.
        fold: Which of the splits.
        val_fraction: Share of patients for val, where no splits are given.
        test_fraction: Share of patients for test, where no splits are given.
    """

    splits: Path | None = None
    fold: int = 0
    val_fraction: float = 0.2
    test_fraction: float = 0.2


@dataclass(frozen=True, kw_only=True)
class BatchSettings:
    """What one bag is, and how bags become batches.

    Args:
        bag: What is one bag: a slide, all slides of a patient side by side, a drawn region of a
            slide (features made with --regions), a tissue core (with --region-by core), or a single
            tile. Regions, cores and tiles take their label from the row of their slide; with a
            column region in the table, from the row of slide and region; and label_columns region
            makes the region itself the label.
        min_region_share: Tiles with a smaller share in their region are left out of bags of regions
            and tiles; default: 0 for regions, 0.5 for tiles.
        tiles_per_slide: With bags of single tiles: as many are drawn of each slide; default: all.
        batch_size: Bags per batch at most; default: 1, or with a token budget any number.
        token_budget: Tiles per batch at most, padding counted (the longest bag times the number of
            bags); a longer bag is a batch of its own. Default: 131072; 0 for no limit.
        max_tiles: In training, as many tiles are drawn from larger bags, others every epoch.
        turn_positions: In training, cells of a bag are mirrored and turned by chance.
        sampling: "natural" draws every training bag once per epoch; "balanced" draws as many of
            each class.
        class_weights: "balanced" weighs classes by the inverse of their number in training.
        num_workers: Processes that read bags ahead; 0 reads in the main process.
    """

    bag: BagKind = "slide"
    min_region_share: float | None = None
    tiles_per_slide: int | None = None
    batch_size: int | None = None
    token_budget: int | None = None
    max_tiles: int | None = None
    turn_positions: bool = False
    sampling: Literal["natural", "balanced"] = "natural"
    class_weights: Literal["none", "balanced"] = "none"
    num_workers: int = 0


@dataclass(frozen=True, kw_only=True)
class DataSettings(BatchSettings, SplitSettings, FusionSettings, FeatureSettings, LabelSettings):
    """Bags with labels: the table, the features, the split and the batches.

    Args:
        seed: Decides the split, the order of bags and the tiles drawn; default: the seed of the
            run, and 0 without one.

    Raises:
        ConfigError: A setting is out of range or contradicts another.
    """

    seed: int | None = None

    def __post_init__(self) -> None:
        check_whole(
            or_none=True,
            batch_size=self.batch_size,
            max_tiles=self.max_tiles,
        )
        check_whole(least=0, num_workers=self.num_workers, token_budget=self.token_budget or 0)
        check_whole(or_none=True, tiles_per_slide=self.tiles_per_slide)
        check_share(min_region_share=self.min_region_share or 0.0)
        for name, bags in (
            ("min_region_share", PART_BAGS),
            ("tiles_per_slide", ("tile",)),
        ):
            if getattr(self, name) is not None and self.bag not in bags:
                raise ConfigError(
                    f"{name} is given for bags of kind {self.bag!r}",
                    expected=f"--data.bag {' or '.join(bags)}",
                )
        self._check_fusion()
        if self.targets is not None:
            self._check_targets(self.targets)
            return
        if self.sampling == "balanced" and not TASKS[self.task].exclusive_classes:
            raise ConfigError(
                f"sampling 'balanced' for a {self.task} task",
                expected="a task with one class per bag",
                remedy="use sampling 'natural'",
            )
        if self.class_weights == "balanced" and not issubclass(TASKS[self.task], ClassTask):
            raise ConfigError(
                f"class_weights 'balanced' for a {self.task} task",
                expected="a task of classes",
                remedy="use class_weights 'none'",
            )

    def _check_fusion(self) -> None:
        """Refuses covariates that are labels, and feature sets that cannot be put together."""
        for name, values in (
            ("covariates", self.covariates),
            ("categorical", self.categorical),
            ("more_features", self.more_features),
        ):
            if isinstance(values, str | Path):
                raise refused(name, values, f"a list, such as [{str(values)!r}]")
        targets = self.targets
        labels = self.label_columns if targets is None else columns_of(read_targets(targets))
        for name in self.covariates:
            if name in labels or list(self.covariates).count(name) > 1:
                raise ConfigError(
                    f"covariates: {name!r} is a label column, which the model is to predict"
                    if name in labels
                    else f"covariates: {name!r} is named twice",
                    expected="columns that are known before the label is, each once",
                )
        unknown = [name for name in self.categorical if name not in self.covariates]
        if unknown:
            raise ConfigError(
                f"categorical: {name_some(map(repr, unknown))} is no covariate",
                expected=f"some of {name_some(self.covariates)}" if self.covariates else "none",
                remedy="name it in --data.covariates too",
            )
        folders = [Path(folder).resolve() for folder in (self.features, *self.more_features)]
        if len(set(folders)) < len(folders):
            raise ConfigError(
                f"more_features: {name_some(self.more_features)} names a folder twice, or the "
                "folder of --data.features",
                expected="other features of the same slides",
            )
        if self.more_features and self.bag in PART_BAGS:
            raise ConfigError(
                f"more_features for bags of kind {self.bag!r}",
                expected="bags of slides or patients",
                remedy="leave --data.more-features away, or take --data.bag slide",
            )

    def _check_targets(self, targets: Mapping[str, Any]) -> None:
        """Refuses settings of one target beside several, and what several cannot have."""
        found = read_targets(targets)
        usual = {f.name: f.default for f in fields(LabelSettings)}
        for name in ("task", "label_columns", "class_names", "time_edges", "positive"):
            value = getattr(self, name)
            if (tuple(value) if isinstance(value, list) else value) != usual[name]:
                raise ConfigError(
                    f"--data.{name.replace('_', '-')} beside --data.targets",
                    expected="one of them",
                    remedy=f"give {name} inside the target it is about",
                )
        if self.sampling == "balanced":
            raise ConfigError(
                "sampling 'balanced' for several targets",
                expected="sampling 'natural', as a bag is of a class of each",
                remedy="give class_weights 'balanced' instead",
            )
        if self.class_weights == "balanced" and not any_classes(found):
            raise ConfigError(
                "class_weights 'balanced' for targets without classes",
                expected="a target with classes",
                remedy="use class_weights 'none'",
            )

    @property
    def batching(self) -> tuple[int | None, int | None]:
        """Most bags and most tiles of a batch, as `plan_batches` takes them."""
        if self.token_budget is None:
            return self.batch_size or 1, DEFAULT_TOKEN_BUDGET
        if self.token_budget == 0:
            return self.batch_size or 1, None
        return self.batch_size, self.token_budget

    @property
    def dividing(self) -> DividingRule | None:
        """How slides are cut into bags; None where a bag holds whole slides."""
        if self.bag not in PART_BAGS:
            return None
        least = self.min_region_share
        if least is None:
            least = 0.5 if self.bag == "tile" else 0.0
        return DividingRule(self.bag, least, self.tiles_per_slide, self.seed or 0)

    def refuse_split(self) -> None:
        """Refuses settings of the split, where a cross-validation makes the splits.

        Raises:
            ConfigError: Naming the settings that were changed, and what to give instead.
        """
        changed = [f.name for f in fields(SplitSettings) if getattr(self, f.name) != f.default]
        if changed:
            flags = " and ".join("--data." + name.replace("_", "-") for name in changed)
            raise ConfigError(
                f"{flags} given for a cross-validation, which uses every fold",
                expected="settings of the folds",
                remedy="give --folds.only-folds instead"
                if "fold" in changed
                else "give --folds.num-folds and --folds.inner-val-fraction instead",
            )

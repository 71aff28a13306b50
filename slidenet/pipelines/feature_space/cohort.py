"""The features of a cohort, with or without a table of its slides."""

import difflib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from slidenet.core.errors import ConfigError, EmptyTissueError, SlidenetError, StoreError
from slidenet.core.provenance import Identity, identity_hash
from slidenet.core.records import SlideRow
from slidenet.core.text import name_some
from slidenet.data.bags.files import check_same_identity, find_bag_files
from slidenet.pipelines.applying.bags import read_rows
from slidenet.pipelines.cohort.slides import Slides
from slidenet.stores import FeatureFile, open_features
from slidenet.stores.h5.ancestors import check_tiles_of
from slidenet.stores.h5.validate import check_name


@dataclass(frozen=True, kw_only=True)
class GivenFeatures:
    """What files of other tools do not say of their tiles.

    Args:
        slide_mpp: Microns per pixel of level 0, where neither the features nor the table say it.
        tile_size_px: Side of a tile at target_mpp, in pixels, where the features do not say it.
        target_mpp: Microns per pixel of the tiles, where the features do not say it.
    """

    slide_mpp: float | None = None
    tile_size_px: int | None = None
    target_mpp: float | None = None


@dataclass(frozen=True, eq=False)
class FeatureCohort:
    """Slides and their features.

    Attributes:
        rows: Of every slide asked for, in order; the path is "" where it is not known.
        files: The features of the slides that have a usable file.
        failed: Why the others have none, by slide_id.
        folder: Where the features lie.
    """

    rows: Sequence[SlideRow]
    files: Mapping[str, FeatureFile]
    failed: Mapping[str, SlidenetError]
    folder: Path

    @property
    def features_identity(self) -> Identity:
        """What the features of all slides have in common."""
        return next(iter(self.files.values())).cohort_identity

    def row(self, slide_id: str) -> SlideRow:
        """The row of one slide.

        Raises:
            ConfigError: It is not of the cohort, or has no usable features.
        """
        found = {row.slide_id: row for row in self.rows}
        if slide_id not in found:
            near = difflib.get_close_matches(slide_id, found, n=1, cutoff=0.5)
            raise ConfigError(
                f"the cohort has no slide {slide_id!r}",
                expected=f"one of {name_some(found)}",
                remedy=f"did you mean {near[0]!r}?" if near else "",
            )
        if slide_id not in self.files:
            raise self.failed[slide_id].with_slide(slide_id)
        return found[slide_id]

    def content(self) -> str:
        """A short text for all features: another one where any of them is another one."""
        seen = {}
        for slide_id, file in self.files.items():
            about = file.path.stat()
            seen[slide_id] = file.digest or f"{about.st_size} bytes of {about.st_mtime_ns}"
        return identity_hash(seen)


def labels_beside(row: SlideRow, columns: Collection[str]) -> dict[str, str]:
    """The labels of a slide as further columns of a table of ours.

    Args:
        row: The slide.
        columns: Ours; a label named like one of them is called `label:NAME`.
    """
    return {f"label:{n}" if n in columns else n: value for n, value in row.labels.items()}


def open_cohort(
    features: str | Path,
    slides: Slides | None,
    given: GivenFeatures,
    *,
    patient_column: str | None = None,
) -> FeatureCohort:
    """Opens the features of a cohort; only headers are read.

    A file that cannot be used is a failed slide, not the end of the cohort.

    Args:
        features: Folder of the features, or an output folder.
        slides: The slides; None: those that have features.
        given: What files of other tools do not say.
        patient_column: Of the table of slides.

    Raises:
        StoreError: No folder of features, or no usable file in it.
        IdentityMismatchError: Features made in different ways.
    """
    features = Path(features)
    paths = find_bag_files(features)
    if slides is None:
        rows: Sequence[SlideRow] = [SlideRow(slide_id, "") for slide_id in paths]
    else:
        rows = read_rows(slides, features, patient_column)
    files: dict[str, FeatureFile] = {}
    failed: dict[str, SlidenetError] = {}
    for row in rows:
        try:
            files[row.slide_id] = _open(row, paths.get(row.slide_id), features, given)
        except SlidenetError as error:
            error.remedy = error.remedy.replace("--data.", "--")  # as the flags here are called
            failed[row.slide_id] = error
    if not files:
        first = next(iter(failed.values()))
        raise StoreError(
            f"no slide of {len(rows)} has features that can be used ({first.found})",
            expected=first.expected or f"a file per slide in {features}",
            remedy=first.remedy,
        )
    check_same_identity(files)
    return FeatureCohort(rows, files, failed, features)


def _open(row: SlideRow, path: Path | None, folder: Path, given: GivenFeatures) -> FeatureFile:
    if path is None:
        raise StoreError(
            f"{folder} holds no features of the slide {row.slide_id!r}",
            expected=f"a file named {row.slide_id}.h5",
            slide=row.slide_id,
        )
    file = open_features(
        path,
        slide_mpp=given.slide_mpp if row.mpp is None else row.mpp,
        tile_size_px=given.tile_size_px,
        target_mpp=given.target_mpp,
    )
    if file.layout == "slidenet":
        check_name(path, file.slide_id)
        check_tiles_of(path)
    if not file.num_tiles or not file.mask.any():
        raise EmptyTissueError(
            f"{path} holds no readable tile",
            expected="at least one",
            remedy="look at its overlay of `slidenet preprocess`, or leave the slide out",
            slide=row.slide_id,
        )
    return file

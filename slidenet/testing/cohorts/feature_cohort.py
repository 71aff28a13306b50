"""A cohort of feature files with labels and splits, clean or with planted faults, in a second."""

import csv
import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from slidenet.core.arrays import BoolArray, Float64Array, IntArray
from slidenet.core.provenance import JsonValue
from slidenet.core.records import SlideMpp, TileGeometry, TileRegions, TileSet
from slidenet.core.units import Mpp
from slidenet.stores import FeatureWriter
from slidenet.testing.cohorts.lesion_cohort import (
    LESION_CELLS,
    CohortRow,
    LesionRule,
    cohort_rows,
    place_blocks,
    place_lesions,
    write_rows,
)

CELL_PX = 256
NUM_FOLDS = 4
TISSUE_MEAN = 5.0
"""What all tissue has in common, in deviations between tiles; real encoders give such features."""
COLUMNS = ("slide_id", "patient_id", "label", "site", "scanner", "age")

Features = npt.NDArray[np.float32]


@dataclass
class GeneratedSlide:
    """One slide before it is written; faults change it.

    Attributes:
        row: Its row of `labels.csv`.
        coords: int64 (N, 2), level-0 pixels.
        features: float32 (N, D).
        fingerprint: Of the slide file there might have been.
        identity: What made the features; `tiles` and `tile_encoder` below it.
        splits: "train", "val", "test" or "" in each fold.
        in_table: Whether `labels.csv` has it.
        on_disk: Whether there is a features file.
        regions: In which region each tile lies.
        lesion: Bool (N,), the truth: which tiles are lesion. None where nothing is planted.
    """

    row: dict[str, str]
    coords: IntArray
    features: Features
    fingerprint: str
    identity: dict[str, dict[str, JsonValue]]
    splits: list[str]
    in_table: bool = True
    on_disk: bool = True
    regions: TileRegions | None = None
    lesion: BoolArray | None = None

    @property
    def slide_id(self) -> str:
        """Names its file."""
        return self.row["slide_id"]

    def keep_tiles(self, kept: slice | IntArray | BoolArray) -> None:
        """Leaves only some of the tiles."""
        self.coords, self.features = self.coords[kept], self.features[kept]
        if self.lesion is not None:
            self.lesion = self.lesion[kept]


@dataclass
class GeneratedCohort:
    """All slides of a cohort before they are written.

    Attributes:
        slides: In order of the table.
        split_rows: Further rows of `splits.csv`: a slide_id and its split in each fold.
    """

    slides: list[GeneratedSlide]
    split_rows: list[list[str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class FeatureCohort:
    """Where a written cohort lies.

    Attributes:
        labels: The table of labels: slide_id, patient_id, label (0, 1), site, scanner, age.
        features: Folder of one features file per slide.
        splits: Four folds by patient.
        lesions: Which tiles are lesion, see `read_lesion_tiles`.
    """

    labels: Path
    features: Path
    splits: Path
    lesions: Path


def generate_features(
    *,
    num_patients: int = 36,
    num_sites: int = 3,
    slides_per_patient: Sequence[int] = (1, 1, 2),
    num_tiles: int = 64,
    feature_dim: int = 24,
    signal: float = 3.0,
    rule: LesionRule = "present_vs_absent",
    num_lesions: tuple[int, int] = (2, 2),
    num_distractors: int = 0,
    seed: int = 0,
) -> GeneratedCohort:
    """The slides of `write_feature_cohort`, not yet written; each keeps which tiles are lesion."""
    rows = cohort_rows(num_patients, num_sites, seed, slides_per_patient)
    rng = np.random.default_rng((seed, 1))
    means = {f"site_{i}": rng.normal(0, 0.3, feature_dim) for i in range(num_sites)}
    direction = rng.normal(size=feature_dim)
    direction *= signal / np.linalg.norm(direction)
    tissue = rng.normal(0, TISSUE_MEAN, feature_dim)
    distraction = _beside(direction, np.random.default_rng((seed, 3)))
    ages = {row.patient_id: str(rng.integers(30, 90)) for row in rows}
    folds = _folds(rows)
    slides = []
    for row in rows:
        count = int(rng.integers(*num_lesions, endpoint=True)) if np.ptp(num_lesions) else 0
        coords, lesion, distractor = _tiles(
            num_tiles, rule, row.label, count or num_lesions[0], num_distractors, rng
        )
        base = tissue + means[row.site] + rng.normal(0, 0.5, feature_dim)
        features = base + rng.normal(size=(len(coords), feature_dim)) + lesion[:, None] * direction
        features = features + distractor[:, None] * distraction
        cells = {
            "slide_id": row.slide_id,
            "patient_id": row.patient_id,
            "label": str(row.label),
            "site": row.site,
            "scanner": f"scanner_{rng.integers(2)}",
            "age": ages[row.patient_id],
        }
        fingerprint = hashlib.sha256(f"{seed} {row.slide_id}".encode()).hexdigest()
        places = [(folds[row.patient_id] - fold) % NUM_FOLDS for fold in range(NUM_FOLDS)]
        splits = [{0: "test", 1: "val"}.get(place, "train") for place in places]
        stored = (features / TISSUE_MEAN).astype(np.float32)
        identity: dict[str, dict[str, JsonValue]] = {
            "tiles": {"segmenter": "all", "target_mpp": 0.5, "min_tissue_fraction": 0.1},
            "tile_encoder": {"id": "generated", "weights": "none", "precision": "fp32"},
        }
        slides.append(
            GeneratedSlide(cells, coords, stored, fingerprint, identity, splits, lesion=lesion)
        )
    return GeneratedCohort(slides)


def write_generated(cohort: GeneratedCohort, folder: str | os.PathLike[str]) -> FeatureCohort:
    """Writes `labels.csv`, `splits.csv`, `lesion_tiles.csv` and `features/*.h5` under `folder`.

    What rows hold beside the columns of every cohort becomes further columns of `labels.csv`.
    """
    folder = Path(folder)
    paths = FeatureCohort(
        folder / "labels.csv",
        folder / "features",
        folder / "splits.csv",
        folder / "lesion_tiles.csv",
    )
    paths.features.mkdir(parents=True, exist_ok=True)
    for slide in cohort.slides:
        if slide.on_disk:
            write_slide_file(paths.features / f"{slide.slide_id}.h5", slide)
    listed = [slide for slide in cohort.slides if slide.in_table]
    columns = list(dict.fromkeys([*COLUMNS, *(name for s in listed for name in s.row)]))
    write_rows(paths.labels, [columns, *([s.row[c] for c in columns] for s in listed)])
    folds = [f"fold_{i}" for i in range(NUM_FOLDS)]
    splits = [[slide.slide_id, *slide.splits] for slide in cohort.slides]
    write_rows(paths.splits, [["slide_id", *folds], *splits, *cohort.split_rows])
    truth = [
        [slide.slide_id, *map(int, place)]
        for slide in cohort.slides
        if slide.lesion is not None
        for place in slide.coords[slide.lesion]
    ]
    write_rows(paths.lesions, [["slide_id", "x", "y"], *truth])
    return paths


def read_lesion_tiles(path: str | os.PathLike[str], slide_id: str, coords: IntArray) -> BoolArray:
    """Which tiles of a slide are lesion, by what `write_generated` says of a cohort.

    Args:
        path: Its `lesion_tiles.csv`: slide_id, x and y in level-0 pixels, a row per lesion tile.
        slide_id: The slide.
        coords: int64 (N, 2), its tiles.

    Returns:
        Bool (N,).
    """
    with Path(path).open(encoding="utf-8", newline="") as file:
        places = {
            (int(row["x"]), int(row["y"]))
            for row in csv.DictReader(file)
            if row["slide_id"] == slide_id
        }
    return np.array([(int(x), int(y)) in places for x, y in coords], np.bool_)


def _tiles(
    num_tiles: int,
    rule: LesionRule,
    label: int,
    num_lesions: int,
    num_distractors: int,
    rng: np.random.Generator,
) -> tuple[IntArray, BoolArray, BoolArray]:
    """Coords of a slide's tiles, and which are lesion and distractor; their number varies."""
    side = max(round(num_tiles**0.5), 6)
    lesion, distractor = np.zeros((2, side, side), np.bool_)
    for column, line in place_lesions(rule, label, np.ones_like(lesion), rng, num_lesions):
        lesion[line : line + LESION_CELLS, column : column + LESION_CELLS] = True
    if num_distractors:
        for column, line in place_blocks(~lesion, num_distractors, rng):
            distractor[line : line + LESION_CELLS, column : column + LESION_CELLS] = True
    # Kept tiles are drawn so that their number and places say nothing of the label.
    kept = rng.random((side, side)) < rng.uniform(0.7, 0.95)
    kept |= lesion | distractor
    coords = (np.argwhere(kept)[:, ::-1] * CELL_PX).astype(np.int64)
    return coords, lesion[kept], distractor[kept]


def _beside(direction: Float64Array, rng: np.random.Generator) -> Float64Array:
    """A shift as long as another one, at 60 degrees to it."""
    length = np.linalg.norm(direction)
    if length == 0:
        return direction
    unit = direction / length
    across = rng.normal(size=len(direction))
    across -= (across @ unit) * unit
    beside: Float64Array = length * (0.5 * unit + 0.75**0.5 * across / np.linalg.norm(across))
    return beside


def _folds(rows: Sequence[CohortRow]) -> dict[str, int]:
    """The fold each patient is tested in, in proportion to labels and sites."""
    seen: Counter[tuple[str, int]] = Counter()
    folds: dict[str, int] = {}
    for row in rows:
        if row.patient_id not in folds:
            stratum = (row.site, row.label)
            offset = int(row.site.rpartition("_")[2]) + row.label
            folds[row.patient_id] = (seen[stratum] + offset) % NUM_FOLDS
            seen[stratum] += 1
    return folds


def write_slide_file(path: Path, slide: GeneratedSlide) -> None:
    """Writes the features of a slide; what else its row says is not looked at."""
    level0 = int(slide.coords.max(initial=0)) + CELL_PX
    half = Mpp(0.5)
    geometry = TileGeometry(
        SlideMpp(half, "override"), half, half, 0, CELL_PX, CELL_PX, CELL_PX, level0, level0
    )
    tile_set = TileSet(
        slide_id=slide.slide_id,
        slide_path=f"{slide.slide_id}.tif",
        fingerprint=slide.fingerprint,
        geometry=geometry,
        coords=slide.coords,
        tissue_fraction=np.ones(len(slide.coords), np.float32),
        identity=slide.identity["tiles"],
        regions=slide.regions,
    )
    num_tiles, feature_dim = slide.features.shape
    encoder = slide.identity["tile_encoder"]
    with FeatureWriter(
        path, tile_set, feature_dim, "float32", slide.identity, encoder, max(num_tiles, 1)
    ) as writer:
        if num_tiles:
            writer.append(slide.features)
        writer.finish()

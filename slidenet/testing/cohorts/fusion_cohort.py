"""A cohort whose label is told by three things together: two feature sets and the covariates.

Each patient has four independent severities. The first is in the tiles of one feature set, the
second in those of another (a different number of tiles, other features), the others in age and
stage. What is to be predicted follows from their weighted sum, so that each part helps, and none
is enough.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from slidenet.testing.cohorts.feature_cohort import CELL_PX, GeneratedSlide, write_slide_file
from slidenet.testing.cohorts.lesion_cohort import write_rows

STAGES = ("I", "II", "III", "IV")
COLUMNS = ("slide_id", "patient_id", "label", "grade", "score", "time", "event", "age", "sex",
           "stage")  # fmt: skip


@dataclass(frozen=True, slots=True)
class FusionCohort:
    """Where a written cohort lies.

    Attributes:
        labels: The table: label (no, yes), grade (g1 to g3), score, time and event, all of one
            severity; age and stage, which tell a part of it, and sex, which tells nothing.
        features: Folder of one features file per slide.
        more_features: The same slides in another feature set.
    """

    labels: Path
    features: Path
    more_features: Path


def write_fusion_cohort(
    folder: str | os.PathLike[str],
    *,
    num_patients: int = 120,
    num_tiles: tuple[int, int] = (24, 40),
    feature_dims: tuple[int, int] = (24, 12),
    weights: tuple[float, float, float] = (1.0, 1.0, 1.0),
    missing: float = 0.1,
    seed: int = 0,
) -> FusionCohort:
    """Writes `labels.csv`, `features/` and `more_features/` under `folder`.

    Args:
        folder: Where to.
        num_patients: One slide each.
        num_tiles: Of a slide in each feature set, give or take a quarter.
        feature_dims: Length of a feature vector in each.
        weights: Of the first features, the second, and the covariates in what is to be predicted.
        missing: Share of the cells of age and stage that are empty.
        seed: Decides all but what severity looks like in features.
    """
    rng, root = np.random.default_rng((seed, 7)), Path(folder)
    places = (root / "features", root / "more_features")
    for place in places:
        place.mkdir(parents=True, exist_ok=True)
    # The same in every cohort: one with another seed is another hospital, not other biology.
    directions = [np.random.default_rng(dim).normal(size=dim) for dim in feature_dims]
    directions = [1.5 * one / np.linalg.norm(one) for one in directions]
    severities = rng.normal(size=(num_patients, 4))
    parts = [severities[:, 0], severities[:, 1], severities[:, 2:].sum(axis=1) / np.sqrt(2)]
    scores = sum(weight * part for weight, part in zip(weights, parts, strict=True))
    scores = scores / np.linalg.norm(weights)
    thirds = np.searchsorted(np.quantile(scores, [1 / 3, 2 / 3]), scores)
    rows: list[list[str]] = [list(COLUMNS)]
    for i, (score, own) in enumerate(zip(scores, severities, strict=True)):
        slide_id = f"slide_{i:03d}"
        event = rng.random() < 0.7
        time = np.exp(-score) * rng.exponential() * (1 if event else rng.uniform(0.3, 1)) + 0.01
        age = f"{60 + 10 * own[2]:.0f}" if rng.random() >= missing else ""
        stage = STAGES[int(np.searchsorted([-0.67, 0, 0.67], own[3]))]
        sex, known = "FM"[rng.integers(2)], rng.random() >= missing
        rows.append(
            [slide_id, f"patient_{i:03d}", "yes" if score > 0 else "no", f"g{1 + thirds[i]}",
             f"{score:.4f}", f"{time:.4f}", str(int(event)), age, sex, stage if known else ""]
        )  # fmt: skip
        for number, place in enumerate(places):
            slide = _slide(slide_id, number, own[number] * directions[number], num_tiles, rng)
            write_slide_file(place / f"{slide_id}.h5", slide)
    write_rows(root / "labels.csv", rows)
    return FusionCohort(root / "labels.csv", *places)


def _slide(
    slide_id: str,
    number: int,
    shift: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    num_tiles: tuple[int, int],
    rng: np.random.Generator,
) -> GeneratedSlide:
    """A slide in one feature set: tiles in rows of eight, all of them shifted alike."""
    count = round(num_tiles[number] * rng.uniform(0.75, 1.25))
    cells = np.stack(np.divmod(np.arange(count), 8), axis=1)[:, ::-1]
    features = rng.normal(size=(count, len(shift))) + shift
    return GeneratedSlide(
        row={"slide_id": slide_id},
        coords=(cells * CELL_PX).astype(np.int64),
        features=features.astype(np.float32),
        fingerprint=hashlib.sha256(f"fusion {slide_id} {features[0, 0]}".encode()).hexdigest(),
        identity={
            "tiles": {"segmenter": "all", "target_mpp": 0.5, "min_tissue_fraction": 0.1},
            "tile_encoder": {"id": f"generated {number + 1}", "weights": "none"},
        },
        splits=[],
    )

"""A cohort in which a second target teaches what the first has too few labels for."""

import csv
import os
from pathlib import Path

import numpy as np

from slidenet.testing.cohorts.feature_cohort import (
    FeatureCohort,
    generate_features,
    write_generated,
)
from slidenet.testing.cohorts.lesion_cohort import write_rows

FIRST, SECOND = "mutation", "grade"
"""Columns of the two targets."""


def write_target_cohort(
    folder: str | os.PathLike[str],
    *,
    num_patients: int = 160,
    num_labelled: int = 16,
    noise: float = 0.1,
    test_share: float = 0.5,
    num_tiles: int = 36,
    feature_dim: int = 32,
    signal: float = 2.0,
    seed: int = 0,
) -> FeatureCohort:
    """Writes a cohort whose lesions are known by both targets, and one split of it.

    A patient is `mutated` where there are lesions. Of the patients to train on few have that label;
    all have a `grade`, which is `high` where there are lesions, but for some that are wrong. All
    patients to test on have both labels. One in four of those to train on is for val.

    Args:
        folder: Gets `labels.csv`, `splits.csv` and `features/*.h5`.
        num_patients: One slide each.
        num_labelled: Patients of train and val whose mutation is known, as many of each class.
        noise: Share of wrong grades.
        test_share: Share of the patients to test on.
        num_tiles: Of a slide, about.
        feature_dim: Length of a feature vector.
        signal: How far lesions lie from other tissue, in deviations between tiles.
        seed: Decides everything.
    """
    cohort = generate_features(
        num_patients=num_patients,
        slides_per_patient=(1,),
        num_tiles=num_tiles,
        feature_dim=feature_dim,
        signal=signal,
        seed=seed,
    )
    paths = write_generated(cohort, Path(folder))
    with paths.labels.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    rng = np.random.default_rng((seed, 2))
    lesions = np.array([row["label"] == "1" for row in rows])
    place = np.empty(len(rows), np.int64)  # of each patient among those of its class, shuffled
    for value in (False, True):
        members = rng.permutation(np.flatnonzero(lesions == value))
        place[members] = np.arange(len(members))
    num_tested = round(test_share * num_patients / 2)
    tested = place < num_tested
    known = tested | (place < num_tested + num_labelled // 2)
    high = lesions ^ (rng.random(len(rows)) < noise)
    labels = [["slide_id", "patient_id", FIRST, SECOND]]
    splits = [["slide_id", "split"]]
    for i, row in enumerate(rows):
        mutation = ("mutated" if lesions[i] else "wild type") if known[i] else ""
        labels.append([row["slide_id"], row["patient_id"], mutation, "high" if high[i] else "low"])
        for_val = (place[i] - num_tested) % 4 == 0
        splits.append([row["slide_id"], "test" if tested[i] else "val" if for_val else "train"])
    write_rows(paths.labels, labels)
    write_rows(paths.splits, splits)
    return paths

"""Faults planted in a generated cohort, each as real cohorts have them."""

import copy
import os
from collections.abc import Callable, Sequence

import h5py
import numpy as np

from slidenet.core.registry import Registry
from slidenet.testing.cohorts.feature_cohort import (
    FeatureCohort,
    GeneratedCohort,
    GeneratedSlide,
    generate_features,
    write_generated,
)
from slidenet.testing.cohorts.lesion_cohort import LesionRule
from slidenet.testing.pyramid import truncate_file

Plant = Callable[[GeneratedCohort, np.random.Generator], None]
FEATURE_FAULTS: Registry[Plant] = Registry("planted fault")
"""Faults of labels, splits and features, planted before anything is written."""

FILE_FAULTS = ("nan_features", "truncated_file")
"""Faults of a file, planted after it is written."""


def write_feature_cohort(
    folder: str | os.PathLike[str],
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
    faults: Sequence[str] = (),
    seed: int = 0,
) -> FeatureCohort:
    """Writes features files, labels and splits of a cohort whose every property is known.

    Tiles are drawn around what all tissue has in common, shifted a little by site and slide, and
    scaled to values around one. Lesions are blocks of two by two tiles, shifted by `signal`
    deviations between tiles along one direction.

    Args:
        folder: Gets `labels.csv`, `splits.csv` (four folds by patient), `lesion_tiles.csv` (the
            truth, see `read_lesion_tiles`) and `features/*.h5`.
        num_patients: Half of them have label 1.
        num_sites: Sites, each with both labels alike.
        slides_per_patient: Slides of the first patient, the second, ..., and over again.
        num_tiles: Tiles of a full slide, a square number; 5 to 30 % of them are missing.
        feature_dim: Length of a feature vector.
        signal: How far lesion tiles lie from others; 0 hides them.
        rule: What the label means, see `place_lesions`.
        num_lesions: Fewest and most lesions of a slide that has some.
        num_distractors: Blocks on every slide as large and as far from other tissue as lesions, at
            60 degrees to them, that say nothing of the label.
        faults: Names out of `FEATURE_FAULTS` and `FILE_FAULTS`.
        seed: Decides everything.

    Returns:
        Where everything lies.

    Raises:
        UnknownNameError: A fault nobody knows.
    """
    cohort = generate_features(
        num_patients=num_patients,
        num_sites=num_sites,
        slides_per_patient=slides_per_patient,
        num_tiles=num_tiles,
        feature_dim=feature_dim,
        signal=signal,
        rule=rule,
        num_lesions=num_lesions,
        num_distractors=num_distractors,
        seed=seed,
    )
    rng = np.random.default_rng((seed, 2))
    for fault in faults:
        if fault not in FILE_FAULTS:
            FEATURE_FAULTS[fault](cohort, rng)
    paths = write_generated(cohort, folder)
    spoilt = paths.features / f"{cohort.slides[1].slide_id}.h5"
    if "nan_features" in faults:
        with h5py.File(spoilt, "r+") as h5:
            h5["features"][3, 0] = np.nan
    if "truncated_file" in faults:
        truncate_file(spoilt)
    return paths


def _planted(plant: Plant) -> Plant:
    return FEATURE_FAULTS.add(plant.__name__.lstrip("_"), plant)


@_planted
def _patient_in_two_parts(cohort: GeneratedCohort, rng: np.random.Generator) -> None:
    first, second = _slides_of_one_patient(cohort)
    second.splits = ["train" if split == "test" else "test" for split in first.splits]


@_planted
def _slide_in_two_parts(cohort: GeneratedCohort, rng: np.random.Generator) -> None:
    slide = cohort.slides[0]
    cohort.split_rows.append([slide.slide_id, *_other_splits(slide)])


@_planted
def _unknown_slide_in_split(cohort: GeneratedCohort, rng: np.random.Generator) -> None:
    cohort.split_rows.append(["slide_nobody_knows", *cohort.slides[0].splits])


@_planted
def _same_slide_two_names(cohort: GeneratedCohort, rng: np.random.Generator) -> None:
    cohort.slides.append(_copied(cohort.slides[0], "copy", cohort.slides[0].fingerprint))


@_planted
def _near_duplicate(cohort: GeneratedCohort, rng: np.random.Generator) -> None:
    """The same section scanned again: other bytes, a few tiles less, nearly the same features."""
    twin = _copied(cohort.slides[0], "rescan", "f" * 64)
    kept = np.sort(rng.permutation(len(twin.coords))[: int(0.95 * len(twin.coords))])
    noise = rng.normal(0, 0.01, (len(kept), twin.features.shape[1]))
    twin.keep_tiles(kept)
    twin.features = (twin.features + noise).astype(np.float32)
    cohort.slides.append(twin)


@_planted
def _same_features_two_names(cohort: GeneratedCohort, rng: np.random.Generator) -> None:
    """A features file copied under another name, its slide said to be another one."""
    cohort.slides.append(_copied(cohort.slides[0], "twin", "e" * 64))


@_planted
def _rare_class(cohort: GeneratedCohort, rng: np.random.Generator) -> None:
    positive = dict.fromkeys(s.row["patient_id"] for s in cohort.slides if s.row["label"] == "1")
    for slide in cohort.slides:
        if slide.row["patient_id"] in list(positive)[2:]:
            slide.row["label"] = "0"


@_planted
def _site_tells_label(cohort: GeneratedCohort, rng: np.random.Generator) -> None:
    exceptions = {s.row["patient_id"] for s in cohort.slides[:6]}
    for slide in cohort.slides:
        if slide.row["patient_id"] not in exceptions:
            slide.row["site"] = "site_0" if slide.row["label"] == "1" else "site_1"


@_planted
def _age_tells_label(cohort: GeneratedCohort, rng: np.random.Generator) -> None:
    for slide in cohort.slides:
        slide.row["age"] = str(int(slide.row["age"]) // 2 + 30 * int(slide.row["label"]))


@_planted
def _tile_count_tells_label(cohort: GeneratedCohort, rng: np.random.Generator) -> None:
    for slide in cohort.slides:
        if slide.row["label"] == "0":
            slide.keep_tiles(slice(len(slide.coords) // 2))


@_planted
def _mixed_recipe(cohort: GeneratedCohort, rng: np.random.Generator) -> None:
    for slide in cohort.slides[3:5]:
        slide.identity["tiles"]["min_tissue_fraction"] = 0.5


@_planted
def _mixed_encoder(cohort: GeneratedCohort, rng: np.random.Generator) -> None:
    cohort.slides[4].identity["tile_encoder"]["id"] = "another"


@_planted
def _mixed_dims(cohort: GeneratedCohort, rng: np.random.Generator) -> None:
    cohort.slides[2].features = cohort.slides[2].features[:, 1:]


@_planted
def _row_without_file(cohort: GeneratedCohort, rng: np.random.Generator) -> None:
    cohort.slides[5].on_disk = False


@_planted
def _file_without_row(cohort: GeneratedCohort, rng: np.random.Generator) -> None:
    extra = _copied(cohort.slides[0], "unlisted", "d" * 64)
    extra.features = rng.normal(size=extra.features.shape).astype(np.float32)
    extra.in_table, extra.splits = False, [""] * len(extra.splits)
    cohort.slides.append(extra)


@_planted
def _contradicting_labels(cohort: GeneratedCohort, rng: np.random.Generator) -> None:
    _, second = _slides_of_one_patient(cohort)
    second.row["label"] = "1" if second.row["label"] == "0" else "0"


@_planted
def _missing_label(cohort: GeneratedCohort, rng: np.random.Generator) -> None:
    cohort.slides[7].row["label"] = ""


@_planted
def _duplicate_row(cohort: GeneratedCohort, rng: np.random.Generator) -> None:
    twice = copy.deepcopy(cohort.slides[6])
    twice.on_disk = False  # the file is there once, and so is the slide in the splits
    cohort.slides.append(twice)


@_planted
def _zero_tiles(cohort: GeneratedCohort, rng: np.random.Generator) -> None:
    cohort.slides[1].keep_tiles(slice(0))


@_planted
def _part_without_class(cohort: GeneratedCohort, rng: np.random.Generator) -> None:
    for slide in cohort.slides:
        if slide.row["label"] == "1" and slide.splits[0] == "test":
            slide.splits[0] = "train"


def _slides_of_one_patient(cohort: GeneratedCohort) -> tuple[GeneratedSlide, GeneratedSlide]:
    for first, second in zip(cohort.slides, cohort.slides[1:], strict=False):
        if first.row["patient_id"] == second.row["patient_id"]:
            return first, second
    raise AssertionError("this fault needs a patient with two slides")


def _other_splits(slide: GeneratedSlide) -> list[str]:
    return ["test" if split == "train" else "train" for split in slide.splits]


def _copied(slide: GeneratedSlide, name: str, fingerprint: str) -> GeneratedSlide:
    """The slide again, as a slide of another patient in other splits."""
    twin = copy.deepcopy(slide)
    twin.row |= {"slide_id": f"{slide.slide_id}_{name}", "patient_id": f"patient_{name}"}
    twin.fingerprint, twin.splits = fingerprint, _other_splits(slide)
    return twin

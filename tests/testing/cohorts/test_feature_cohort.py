import csv
from collections import Counter, defaultdict

import h5py
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from slidenet.core.errors import StoreError, UnknownNameError
from slidenet.stores import open_features, validate_file
from slidenet.testing import FEATURE_FAULTS, FILE_FAULTS, read_lesion_tiles, write_feature_cohort
from slidenet.testing.cohorts.feature_cohort import generate_features


def read(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    return write_feature_cohort(tmp_path_factory.mktemp("clean"), seed=2)


def test_a_clean_cohort_is_whole(clean):
    rows = read(clean.labels)
    assert len(rows) == 48
    assert len({row["patient_id"] for row in rows}) == 36
    files = sorted(clean.features.glob("*.h5"))
    assert [f.stem for f in files] == sorted(row["slide_id"] for row in rows)
    for file in files[:5]:
        assert validate_file(file) == []
        with open_features(file) as bag:
            assert bag.feature_dim == 24
            assert 40 <= bag.num_tiles <= 64


def test_splits_are_by_patient_and_hold_both_labels(clean):
    labels = {row["slide_id"]: row for row in read(clean.labels)}
    tested = Counter()
    for fold in range(4):
        sides = defaultdict(set)
        classes = defaultdict(set)
        for row in read(clean.splits):
            part = row[f"fold_{fold}"]
            sides[labels[row["slide_id"]]["patient_id"]].add(part)
            classes[part].add(labels[row["slide_id"]]["label"])
            tested[row["slide_id"]] += part == "test"
        assert all(len(found) == 1 for found in sides.values())
        assert classes == {part: {"0", "1"} for part in ("train", "val", "test")}
    assert set(tested.values()) == {1}


@pytest.mark.parametrize("rule", ["near_vs_far", "present_vs_absent"])
def test_lesion_tiles_lie_along_one_direction(tmp_path, rule):
    paths = write_feature_cohort(tmp_path, signal=40.0, rule=rule, num_patients=6, seed=4)
    for row in read(paths.labels):
        with open_features(paths.features / f"{row['slide_id']}.h5") as bag:
            features, coords = bag.features[:], bag.coords
        apart = np.linalg.norm(features - np.median(features, 0), axis=1) > 4
        truth = read_lesion_tiles(paths.lesions, row["slide_id"], coords)
        assert np.array_equal(truth, apart)
        has_lesions = rule == "near_vs_far" or row["label"] == "1"
        assert apart.sum() == (8 if has_lesions else 0)
        if rule == "near_vs_far":
            width = np.ptp(coords[apart] // 256, axis=0).max() + 1
            assert width <= 5 if row["label"] == "1" else width >= 5


def test_as_many_lesions_as_were_asked_for():
    cohort = generate_features(
        num_patients=40, slides_per_patient=(1,), num_tiles=144, num_lesions=(1, 3), signal=40.0
    )
    numbers = {"0": set(), "1": set()}
    for slide in cohort.slides:
        apart = np.linalg.norm(slide.features - np.median(slide.features, 0), axis=1) > 4
        assert np.array_equal(slide.lesion, apart)
        numbers[slide.row["label"]].add(int(slide.lesion.sum()))
    assert numbers == {"0": {0}, "1": {4, 8, 12}}


def test_distractors_are_as_far_as_lesions_but_elsewhere():
    cohort = generate_features(
        num_patients=6, num_tiles=144, rule="near_vs_far", signal=400.0, num_distractors=6
    )
    for slide in cohort.slides:
        shifts = slide.features - np.median(slide.features, 0)
        apart = np.linalg.norm(shifts, axis=1) > 4
        assert apart.sum() == 4 * (2 + 6)
        assert np.all(apart[slide.lesion])
        lesion, distractor = (shifts[apart & (slide.lesion == is_it)] for is_it in (True, False))
        assert len(lesion) == 8
        means = [part.mean(0) / np.linalg.norm(part.mean(0)) for part in (lesion, distractor)]
        assert means[0] @ means[1] == pytest.approx(0.5, abs=0.05)
        lengths = [np.linalg.norm(part, axis=1).mean() for part in (lesion, distractor)]
        assert lengths[0] == pytest.approx(lengths[1], rel=0.05)


def test_faults_keep_the_truth_beside_its_tiles():
    cohort = generate_features(num_patients=4, signal=40.0)
    slide = next(s for s in cohort.slides if s.row["label"] == "1")
    kept = np.arange(0, len(slide.coords), 3)
    slide.keep_tiles(kept)
    apart = np.linalg.norm(slide.features - np.median(slide.features, 0), axis=1) > 4
    assert np.array_equal(slide.lesion, apart)


def test_the_same_seed_gives_the_same_bytes(tmp_path, clean):
    again = write_feature_cohort(tmp_path, seed=2)
    for name in ("labels.csv", "splits.csv", "features/slide_003.h5"):
        assert (tmp_path / name).read_bytes() == (clean.labels.parent / name).read_bytes()
    other = write_feature_cohort(tmp_path / "other", seed=3)
    assert other.labels.read_text() != again.labels.read_text()


def test_faults_of_files(tmp_path):
    nan = write_feature_cohort(tmp_path / "nan", num_patients=6, faults=["nan_features"])
    with h5py.File(nan.features / "slide_001.h5") as h5:
        assert np.isnan(h5["features"][:]).sum() == 1
    cut = write_feature_cohort(tmp_path / "cut", num_patients=6, faults=["truncated_file"])
    with pytest.raises(StoreError):
        open_features(cut.features / "slide_001.h5").features[:]


def test_names_of_faults(tmp_path):
    assert len({*FEATURE_FAULTS, *FILE_FAULTS}) >= 10
    with pytest.raises(UnknownNameError, match="did you mean mixed_recipe"):
        write_feature_cohort(tmp_path, num_patients=4, faults=["mixed_recipes"])


def test_only_position_tells_near_from_far():
    """Means, extremes and numbers of tiles do no better than chance; places are enough."""
    cohort = generate_features(num_patients=240, rule="near_vs_far", signal=20.0, seed=5)
    labels, bags, widths = [], [], []
    for slide in cohort.slides:
        features = slide.features - np.median(slide.features, 0)
        bags.append(np.r_[features.mean(0), features.max(0), features.min(0), len(features)])
        lesion = np.argsort(-np.linalg.norm(features, axis=1))[:8]
        widths.append(np.hypot(*np.ptp(slide.coords[lesion], axis=0)))
        labels.append(int(slide.row["label"]))
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
    assert 0.4 < cross_val_score(probe, bags, labels, cv=5, scoring="roc_auc").mean() < 0.6
    assert roc_auc_score(labels, -np.array(widths)) > 0.99

import csv
from collections import Counter, defaultdict

import numpy as np
import pytest

from slidenet.core.errors import ConfigError
from slidenet.slides import open_slide
from slidenet.testing import place_lesions, write_lesion_cohort
from slidenet.testing.cohorts.lesion_cohort import cohort_rows


def read(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module", params=["near_vs_far", "present_vs_absent"])
def cohort(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    manifest = write_lesion_cohort(
        folder, num_patients=2, num_sites=2, slide_px=2304, rule=request.param, seed=3
    )
    return manifest, request.param


def test_the_truth_follows_the_rule(cohort):
    manifest, rule = cohort
    lesions = defaultdict(list)
    for row in read(manifest.parent / "lesions.csv"):
        lesions[row["slide_id"]].append((float(row["x"]), float(row["y"])))
    for row in read(manifest):
        found = lesions[row["slide_id"]]
        if rule == "present_vs_absent":
            assert len(found) == {"present": 2, "absent": 0}[row["label"]]
            continue
        first, second = np.array(found)
        distance = np.hypot(*(first - second)) / 256
        nearest, furthest = {"near": (2, 3), "far": (4.5, np.inf)}[row["label"]]
        assert nearest <= distance <= furthest


@pytest.mark.slow
def test_processes_decide_nothing(tmp_path):
    settings = {"num_patients": 2, "slide_px": 2304, "seed": 3}
    write_lesion_cohort(tmp_path / "one", **settings)
    write_lesion_cohort(tmp_path / "two", **settings, num_processes=2)
    names = sorted(p.relative_to(tmp_path / "one") for p in (tmp_path / "one").rglob("*.*"))
    assert len(names) == 4
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_lesions_are_where_the_truth_says(cohort):
    manifest, _ = cohort
    dark = defaultdict(set)
    for row in read(manifest.parent / "lesions.csv"):
        corner = int(float(row["x"])) - 256, int(float(row["y"])) - 256
        for dx in (0, 256):
            for dy in (0, 256):
                dark[row["slide_id"]].add((corner[0] + dx, corner[1] + dy))
    for row in read(manifest):
        with open_slide(manifest.parent / row["slide_path"]) as slide:
            assert slide.slide_mpp.value == pytest.approx(0.5)
            grey = {
                (x, y): slide.read_region((x, y), 0, (256, 256)).mean()
                for x in range(0, 2304, 256)
                for y in range(0, 2304, 256)
            }
        lesions = dark[row["slide_id"]]
        darkest_normal = min(value for place, value in grey.items() if place not in lesions)
        assert all(grey[place] < darkest_normal - 15 for place in lesions)
        assert darkest_normal > 125


def test_rows_are_balanced_and_patients_agree_with_themselves():
    rows = cohort_rows(36, 3, seed=1)
    assert len(rows) == 48
    assert len({row.slide_id for row in rows}) == 48
    labels = defaultdict(set)
    for row in rows:
        labels[row.patient_id].add((row.label, row.site))
    assert all(len(found) == 1 for found in labels.values())
    patients = [next(iter(found)) for found in labels.values()]
    assert Counter(patients) == {(label, f"site_{s}"): 6 for label in (0, 1) for s in range(3)}


@pytest.mark.parametrize("side", [6, 8, 16])
def test_near_and_far_never_meet(side):
    tissue = np.ones((side, side), bool)
    distance = {0: [], 1: []}
    for label in (0, 1):
        for seed in range(100):
            pair = place_lesions("near_vs_far", label, tissue, np.random.default_rng(seed))
            distance[label].append(np.hypot(*(pair[0] - pair[1])))
    assert max(distance[1]) <= 3
    assert min(distance[0]) >= max(4.5, side / 2)


def test_no_single_place_and_no_tile_tells_near_from_far():
    """The first lesion is drawn alike; two lesions never share a tile."""
    tissue = np.zeros((10, 10), bool)
    tissue[1:9, 1:9] = True
    firsts = {0: [], 1: []}
    for label in (0, 1):
        for seed in range(300):
            pair = place_lesions("near_vs_far", label, tissue, np.random.default_rng(seed))
            assert np.abs(pair[0] - pair[1]).max() >= 2
            firsts[label].append(tuple(pair[0]))
    assert firsts[0] == firsts[1]


def test_bad_settings(tmp_path):
    tissue = np.ones((8, 8), bool)
    with pytest.raises(ConfigError, match="rule is 'any'; expected one of near_vs_far"):
        place_lesions("any", 1, tissue, np.random.default_rng(0))
    with pytest.raises(ConfigError, match="larger slide"):
        place_lesions("near_vs_far", 0, tissue[:4, :4], np.random.default_rng(0))
    with pytest.raises(ConfigError, match="slide_px is 1000"):
        write_lesion_cohort(tmp_path, slide_px=1000)


@pytest.mark.slow
def test_a_linear_probe_on_real_features_tells_lesion_tiles(tmp_path):
    from sklearn.linear_model import LogisticRegression

    from slidenet.tile_encoders import load_tile_encoder

    manifest = write_lesion_cohort(tmp_path, num_patients=3, seed=5)
    corners = defaultdict(set)
    for row in read(tmp_path / "lesions.csv"):
        x, y = int(float(row["x"])), int(float(row["y"]))
        corners[row["slide_id"]] |= {(x - dx, y - dy) for dx in (0, 256) for dy in (0, 256)}
    encoder = load_tile_encoder("efficientnet_lite0", device="cpu")
    features, labels, groups = [], [], []
    rng = np.random.default_rng(0)
    import torch

    for row in read(manifest):
        lesion = sorted(corners[row["slide_id"]])
        lattice = [(x, y) for x in range(512, 2048, 256) for y in range(512, 2048, 256)]
        normal = [c for c in lattice if c not in corners[row["slide_id"]]]
        chosen = [*lesion, *(normal[i] for i in rng.choice(len(normal), 8, replace=False))]
        with open_slide(tmp_path / row["slide_path"]) as slide:
            tiles = np.stack([slide.read_region(c, 0, (256, 256)) for c in chosen])
        features.append(encoder.encode(torch.from_numpy(tiles).permute(0, 3, 1, 2)).numpy())
        labels += [1] * len(lesion) + [0] * 8
        groups += [row["patient_id"]] * len(chosen)
    x, y, groups = np.concatenate(features), np.array(labels), np.array(groups)
    test = np.isin(groups, ["patient_002"])
    probe = LogisticRegression(max_iter=2000).fit(x[~test], y[~test])
    assert probe.score(x[test], y[test]) >= 0.97


def test_any_number_of_lesions_without_a_cell_in_common():
    tissue = np.ones((8, 8), bool)
    for count in (1, 2, 3, 6):
        placed = place_lesions("present_vs_absent", 1, tissue, np.random.default_rng(0), count)
        gaps = np.abs(placed[:, None] - placed).max(-1)[~np.eye(count, dtype=bool)]
        assert len(placed) == count
        assert np.all(gaps >= 2)
    with pytest.raises(ConfigError, match="num_lesions"):
        place_lesions("near_vs_far", 1, tissue, np.random.default_rng(0), 3)

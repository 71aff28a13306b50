import csv
import json
import shutil

import numpy as np
import pytest

from slidenet.core.errors import ConfigError, IdentityMismatchError, StoreError
from slidenet.pipelines.feature_space.feature_maps import feature_maps
from slidenet.stores import open_features
from slidenet.stores.feature_space import read_feature_space
from slidenet.testing.qupath_file import read_qupath_file
from slidenet.visualisation.feature_space.palette import palette

pytestmark = pytest.mark.slow  # a dozen figures

SMALL = {"projection": "pca", "num_clusters": 2}


def read_rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def drawn(feature_cohort, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    settings = {**SMALL, "colour_by": "grade"}
    given = {"features": feature_cohort / "features", "slides": feature_cohort / "labels.csv"}
    return out, feature_maps(out=out, **given, **settings), given | settings


def test_every_slide_has_a_picture_and_a_table_in_the_same_clusters(drawn, feature_cohort):
    out, report, _ = drawn
    assert report.exit_code == 0, report.table()
    folder = out / "feature_maps"
    space = read_feature_space(folder / "feature_space.safetensors")
    assert sorted(path.name for path in folder.glob("*.*")) == [
        "drawn.json", "feature_space.safetensors", "slides.csv", "slides.png", "tiles.csv",
        "tiles.png",
    ]  # fmt: skip
    assert "no pictures of clusters: no slide is there (--slides)" in report.table()
    for number, (first, kind) in enumerate(zip((3, 6, 9, 6), "2121", strict=False)):
        rows = read_rows(folder / "csv" / f"s{number}.csv")
        assert (folder / "figures" / f"s{number}.png").is_file()
        clusters = [row["cluster"] for row in rows]
        assert clusters == [clusters[0]] * first + [clusters[-1]] * (12 - first), kind
        assert rows[5]["x"] == "256"
        file = open_features(feature_cohort / "features" / f"s{number}.h5")
        scores = space.scores(file.features[:])
        np.testing.assert_allclose([float(row["pc1"]) for row in rows], scores[:, 0], rtol=1e-5)
        assert {row["pc3"] for row in rows} == {""}, "two features have two components"
    firsts = {read_rows(folder / "csv" / f"s{n}.csv")[0]["cluster"] for n in range(4)}
    assert len(firsts) == 1, "a cluster means the same on every slide"


def test_qupath_opens_the_tiles_with_their_clusters(drawn):
    folder = drawn[0] / "feature_maps"
    said, found = read_qupath_file(folder / "geojson" / "s1.geojson")
    rows = read_rows(folder / "csv" / "s1.csv")
    assert said["frame"] == "level0", "the slide is not there to say its bounds"
    for tile, row in zip(found, rows, strict=True):
        assert tile.class_name == f"cluster {row['cluster']}"
        assert tile.colour == tuple(palette(2)[int(row["cluster"]) - 1].tolist())
        assert tile.measurements == pytest.approx(
            {name: float(row[name]) for name in ("pc1", "pc2")}, rel=1e-5
        )


def test_tables_of_the_cohort(drawn):
    folder = drawn[0] / "feature_maps"
    slides = read_rows(folder / "slides.csv")
    assert [row["slide_id"] for row in slides] == ["s0", "s1", "s2", "s3"]
    assert [sorted([row["cluster_1"], row["cluster_2"]]) for row in slides] == [
        ["0.2500", "0.7500"], ["0.5000", "0.5000"], ["0.2500", "0.7500"], ["0.5000", "0.5000"],
    ]  # fmt: skip
    assert [row["grade"] for row in slides] == ["low", "high", "high", "high"]
    assert slides[0]["tile"] == "'=x", "no formula"
    assert slides[0]["pca_1"]
    assert len(read_rows(folder / "tiles.csv")) == 48


def test_a_second_run_does_nothing_and_other_settings_are_refused(drawn):
    out, _, settings = drawn
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.*g")}
    report = feature_maps(out=out, **settings)
    assert {outcome.status for outcome in report.outcomes} == {"already done"}
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.*g")} == before
    with pytest.raises(IdentityMismatchError, match=r"num_clusters: 2 -> 3\).*--space .*\.safet"):
        feature_maps(out=out, **{**settings, "num_clusters": 3})
    with pytest.raises(ConfigError, match="colour_by is 'stage'; expected one of 'grade', 'tile'"):
        feature_maps(out=out, **{**settings, "colour_by": "stage"})


def test_colours_mean_the_same_in_a_later_cohort_and_a_bad_file_is_a_failed_slide(
    drawn, feature_cohort, tmp_path
):
    space = drawn[0] / "feature_maps" / "feature_space.safetensors"
    (tmp_path / "new").mkdir()
    shutil.copy(feature_cohort / "features" / "s2.h5", tmp_path / "new")
    (tmp_path / "new" / "bad.h5").write_bytes(b"no h5")
    report = feature_maps(tmp_path / "new", tmp_path / "out", space=space, **SMALL)
    assert report.exit_code == 1
    assert [outcome.status for outcome in report.outcomes] == ["failed", "done"]
    again = tmp_path / "out" / "feature_maps"
    assert (again / "feature_space.safetensors").read_bytes() == space.read_bytes()
    assert (again / "csv" / "s2.csv").read_text() == ((space.parent / "csv" / "s2.csv").read_text())
    record = json.loads((again / "slides" / "s2.json").read_text())
    assert sorted(record["tiles_in_cluster"]) == [3, 9]
    assert not (again / "slides.png").exists(), "of one slide there is no map of slides"
    with pytest.raises(ConfigError, match=r"num_clusters is 3; expected 2, as .* has, or nothing"):
        feature_maps(tmp_path / "new", tmp_path / "out", space=space, num_clusters=3)
    with pytest.raises(IdentityMismatchError, match=r"otherwise \(on other slides or features\)"):
        feature_maps(tmp_path / "new", tmp_path / "out", **SMALL)


def test_a_cohort_without_a_usable_file_is_refused(tmp_path):
    (tmp_path / "bad.h5").write_bytes(b"no h5")
    with pytest.raises(StoreError, match="no slide of 1 has features that can be used"):
        feature_maps(tmp_path, tmp_path / "out", **SMALL)
    assert not (tmp_path / "out").exists()

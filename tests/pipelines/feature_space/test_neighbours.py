import csv

import numpy as np
import pytest

from slidenet.core.errors import ConfigError, CoordinateError
from slidenet.pipelines.feature_space.neighbours import neighbours
from slidenet.stores import open_features
from slidenet.testing import write_feature_cohort
from slidenet.testing.cohorts.feature_cohort import generate_features, write_slide_file


@pytest.fixture
def ask(feature_cohort, tmp_path):
    def ask(slide="s0", **settings):
        settings = {"slides": feature_cohort / "labels.csv", "progress": "none", **settings}
        return neighbours(feature_cohort / "features", tmp_path, slide, **settings)

    return ask


def test_the_nearest_tiles_of_other_slides(ask, feature_cohort, tmp_path):
    report = ask(tile=[0, 11], num=5)
    assert report.exit_code == 0
    unit = {}
    for name in ("s0", "s1", "s2", "s3"):
        rows = open_features(feature_cohort / "features" / f"{name}.h5").features[:]
        unit[name] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    for tile in (0, 11):
        with (tmp_path / "neighbours" / "s0" / f"tile_{tile}.csv").open(newline="") as file:
            found = list(csv.DictReader(file))
        cosines = sorted(
            (float(unit["s0"][tile] @ row) for name in unit if name != "s0" for row in unit[name]),
            reverse=True,
        )
        np.testing.assert_allclose([float(row["cosine"]) for row in found], cosines[:5], atol=1e-5)
        assert [row["rank"] for row in found] == list("12345")
        for row in found:
            x, y, place = int(row["x"]), int(row["y"]), int(row["tile"])
            assert (x // 256 + 4 * (y // 256)) == place
            assert row["label:tile"] == "'=x", "a label named like a column of ours"
    assert "no pictures: no slides were given (--slides with a column slide_path)" in report.table()


def test_a_place_is_the_tile_around_it(ask):
    report = ask(place=[300, 511, 0, 0], num=1)
    assert [query.tile for query in report.queries] == [5, 0]
    with pytest.raises(CoordinateError, match=r"no tile of 's0' is at \(2000, 0\); .* tile is 3"):
        ask(place=[2000, 0])
    with pytest.raises(ConfigError, match="place is 1,2,3; expected x and y"):
        ask(place=[1, 2, 3])


def test_what_may_not_be_near(ask):
    def slides(**settings):
        return {row["slide_id"] for row in ask(tile=[0], num=36, **settings).found[0]}

    assert slides() == {"s1", "s2", "s3"}
    assert slides(exclude="tile") == {"s0", "s1", "s2", "s3"}
    assert slides(exclude="patient") == {"s2", "s3"}
    assert len(ask(tile=[0], num=36, per_slide=2).found[0]) == 6
    with pytest.raises(ConfigError, match=r"patient of slide 's0' is not known.*--patient-column"):
        ask(exclude="patient", slides=None)


def test_the_nearest_slides_are_those_of_the_nearest_mean(ask):
    report = ask("s1")
    assert [row["slide_id"] for row in report.found[0]] == ["s3", "s0", "s2"] or [
        row["slide_id"] for row in report.found[0]
    ] == ["s3", "s2", "s0"]
    assert report.queries[0].name == "slide"
    assert "nearest to s1" in report.table()
    assert [row["slide_id"] for row in ask("s1", exclude="patient", num=1).found[0]] == ["s3"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"slide": "S0"}, r"the cohort has no slide 'S0'.*did you mean 's0'\?"),
        ({"tile": [12]}, "tile is 12; expected a row of the features of 's0', 0 to 11"),
        ({"tile": [-1]}, "tile is -1; expected a whole number of at least 0"),
        ({"tile": [1], "place": [0, 0]}, "--tile and --place are given; expected one of them"),
        ({"exclude": "case"}, "exclude is 'case'; expected one of tile, slide, patient"),
    ],
)
def test_questions_that_cannot_be_answered(ask, settings, words):
    with pytest.raises(ConfigError, match=words):
        ask(**settings)


def test_a_tile_of_zeros_is_like_nothing(tmp_path):
    cohort = write_feature_cohort(tmp_path / "c", num_patients=2, num_tiles=16, feature_dim=4)
    paths = sorted(cohort.features.glob("*.h5"))
    cohort_of_zeros = generate_features(num_patients=2, num_tiles=16, feature_dim=4)
    first = cohort_of_zeros.slides[0]
    first.features[3] = 0
    write_slide_file(paths[0], first)
    with pytest.raises(ConfigError, match=f"tile 3 of '{first.slide_id}' are zero"):
        neighbours(cohort.features, tmp_path / "out", first.slide_id, tile=[3], progress="none")

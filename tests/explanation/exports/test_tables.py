import csv

import numpy as np
import pytest
from scipy.special import expit, softmax

from slidenet.core.errors import ConfigError
from slidenet.explanation.exports import tile_probabilities, write_tile_table
from slidenet.stores.csv_table import csv_lines


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_wsinfers_columns_and_raw_numbers(tmp_path, maps):
    rows = rows_of(write_tile_table(tmp_path / "a.csv", maps, exclusive=False))
    assert list(rows[0]) == [
        "minx", "miny", "width", "height", "tile", "prob_tumour",
        "evidence tumour", "single_tile tumour", "attention tumour (not evidence)",
    ]  # fmt: skip
    places = [[int(row[name]) for name in ("minx", "miny", "width", "height")] for row in rows]
    assert places == [[x, y, 64, 64] for x, y in maps.coords.tolist()]
    for name, each in zip(list(rows[0])[6:], maps.maps, strict=True):
        values = [np.float32(row[name] or "nan") for row in rows]
        np.testing.assert_array_equal(values, each.values)
    chances = [float(row["prob_tumour"] or "nan") for row in rows]
    np.testing.assert_allclose(chances, expit([2, -1, 0.5, np.nan]), rtol=1e-6)


def test_probabilities_of_classes_are_their_softmax(making):
    make_map, _, make_maps = making
    logits = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32) * 4
    relative = logits - (logits.sum(axis=0) - logits) / 2  # minus the mean of the others
    relative[:, 3] = np.nan
    each = [make_map(row, "single_tile", f"class {i}") for i, row in enumerate(relative)]
    found = tile_probabilities(make_maps(*each), exclusive=True)
    assert list(found) == ["class 0", "class 1", "class 2"]
    expected = softmax(logits.astype(float), axis=0)
    expected[:, 3] = np.nan
    np.testing.assert_allclose(list(found.values()), expected, rtol=1e-5)
    assert tile_probabilities(make_maps(*each[:2]), exclusive=True) == {}


def test_there_are_no_probabilities_of_what_is_none(tmp_path, maps, making):
    make_map, _, make_maps = making
    alone = make_maps(make_map([1, 2, 3, 4]))
    assert tile_probabilities(alone, exclusive=False) == {}
    rows = rows_of(write_tile_table(tmp_path / "a.csv", maps))
    assert not [name for name in rows[0] if name.startswith("prob_")]


def test_odd_names_no_tiles_and_no_places(tmp_path, odd_names, no_tiles, unplaced):
    path = write_tile_table(tmp_path / "a.csv", odd_names, exclusive=False)
    (_, header), *rows = csv_lines(path, error=ConfigError)
    assert len(rows) == 4
    assert len(set(header)) == len(header) == 10
    assert all(name.isprintable() for name in header)
    path = write_tile_table(tmp_path / "b.csv", no_tiles, exclusive=True)
    assert len(path.read_text().splitlines()) == 1
    rows = rows_of(write_tile_table(tmp_path / "c.csv", unplaced))
    assert (rows[0]["minx"], rows[0]["width"], rows[0]["evidence tumour"]) == ("", "", "1.5")


@pytest.mark.parametrize("exclusive", [True, False])
def test_a_slide_without_a_single_readable_tile(tmp_path, making, exclusive):
    make_map, _, make_maps = making
    maps = make_maps(*(make_map([np.nan] * 4, "single_tile", name) for name in "ab"))
    rows = rows_of(write_tile_table(tmp_path / "a.csv", maps, exclusive=exclusive))
    assert set(rows[0].values()) == {"128", "64", "0", ""}

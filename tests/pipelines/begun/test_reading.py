"""Which reading an output folder gets, and that it never holds two."""

import dataclasses

import numpy as np
import pytest

from slidenet.core.errors import ConfigError, IdentityMismatchError
from slidenet.core.records import SlideMpp, SlideRow, TileGeometry, TileSet
from slidenet.pipelines.begun.reading import check_one_reading, reading_of_folder
from slidenet.pipelines.cohort.layout import OutputLayout
from slidenet.pipelines.run import _reading
from slidenet.pipelines.settings import RunSettings
from slidenet.stores import write_tile_set

GEOMETRY = TileGeometry(SlideMpp(0.5, "override"), 0.5, 0.5, 0, 256, 256, 256, 4000, 4000)
ROWS = [SlideRow("a", "a.svs"), SlideRow("b", "b.svs")]


@pytest.fixture
def folder(tmp_path):
    layout = OutputLayout(tmp_path)

    def with_tiles(**readings):
        for slide_id, reading in readings.items():
            geometry = dataclasses.replace(GEOMETRY, reading=reading)
            tiles = TileSet(slide_id, "x.svs", "f", geometry, np.zeros((1, 2), np.int64),
                            np.ones(1, np.float32), {})  # fmt: skip
            write_tile_set(layout.tiles(slide_id), tiles)
        return layout

    return with_tiles


@pytest.mark.parametrize(
    ("there", "asked", "overwrite", "wanted"),
    [
        ({}, None, False, 2),
        ({}, 1, False, 1),
        ({"a": 1}, None, False, 1),
        ({"a": 2}, None, False, 2),
        ({"a": 1, "z": 1}, 1, False, 1),
        ({"a": 1, "b": 1}, None, True, 2),  # all of it is made anew
        ({"a": 1, "b": 2}, 2, True, 2),
        ({"a": 1, "z": 1}, None, True, 1),  # z stays
    ],
)
def test_a_folder_goes_on_as_it_was_begun(folder, there, asked, overwrite, wanted):
    layout = folder(**there)
    assert reading_of_folder(layout, ROWS, asked, overwrite=overwrite) == wanted


def test_it_is_said_once_that_slides_are_read_in_the_old_way(folder, caplog):
    reading_of_folder(folder(a=1), ROWS, None)
    assert [r.message for r in caplog.records if "was begun with reading 1" in r.message]


@pytest.mark.parametrize(
    ("there", "asked", "overwrite", "message"),
    [
        ({"a": 1, "b": 2, "c": 2}, None, False, r"two ways \(reading 1: a; reading 2: b, c\)"),
        ({"a": 2}, 1, False, r"another reading \(reading 2: a\); expected reading 1.*--reading 2"),
        ({"z": 1}, 2, True, r"another reading \(reading 1: z\)"),
    ],
)
def test_two_readings_in_one_folder_are_refused_by_name(folder, there, asked, overwrite, message):
    with pytest.raises(IdentityMismatchError, match=message):
        reading_of_folder(folder(**there), ROWS, asked, overwrite=overwrite)
    with pytest.raises(ConfigError, match="reading is 5; expected one of 1, 2"):
        reading_of_folder(folder(), ROWS, 5)


def test_features_are_not_made_of_tiles_of_two_readings(folder):
    check_one_reading(folder(a=2, z=1), ROWS)
    with pytest.raises(IdentityMismatchError, match="reading 2: a; reading 1: b"):
        check_one_reading(folder(a=2, b=1), ROWS)


@pytest.mark.parametrize(
    ("recipe", "asked", "wanted"),
    [("mean", None, 2), ("gigapath", None, 2), ("trident", None, 1), ("trident", 2, 2)],
)
def test_recipes_that_copy_a_tool_read_as_it_does(folder, recipe, asked, wanted):
    settings = RunSettings(recipe=recipe, reading=asked)
    assert _reading(folder(), ROWS, settings, overwrite=False) == wanted
    if recipe == "trident" and asked is None:
        with pytest.raises(IdentityMismatchError, match=r"the recipe trident copies.*--reading 2"):
            _reading(folder(a=2), ROWS, settings, overwrite=False)

"""Regions of tiles in files: exact there and back, absent where none were asked for, checked."""

import dataclasses
import pickle

import h5py
import numpy as np
import pytest

from slidenet.core.errors import StoreError
from slidenet.core.records import TileRegions
from slidenet.stores import open_features, read_tile_set, validate_file, write_tile_set
from slidenet.testing.cohorts.edited import edited

NAMES = ("Immune cells", "Größe: <2 µm>", "Tumor")


@pytest.fixture
def with_regions(toy):
    tiles = toy.make_tile_set(36)
    index = np.arange(36, dtype=np.uint16) % 2 + 1
    share = np.linspace(0.01, 1, 36, dtype=np.float32)
    return dataclasses.replace(tiles, regions=TileRegions(NAMES, index, share, "name"))


@pytest.fixture
def files(toy, with_regions, tmp_path):
    """The tiles, and their features after a stop on the way."""
    features = tmp_path / "features" / "slide_1.h5"
    toy.write_features(features, with_regions, stop_at=32)
    toy.write_features(features, with_regions)
    return write_tile_set(tmp_path / "tiles" / "slide_1.h5", with_regions), features


def assert_same(found, wanted):
    assert (found.names, found.by) == (wanted.names, wanted.by)
    for name in ("index", "share"):
        assert getattr(found, name).dtype == getattr(wanted, name).dtype
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))


def test_round_trip_is_exact(files, with_regions):
    tiles, features = files
    assert_same(read_tile_set(tiles).regions, with_regions.regions)
    file = pickle.loads(pickle.dumps(open_features(features)))
    assert (file.region_names, file.region_by) == (NAMES, "name")
    assert_same(file.regions, with_regions.regions)
    assert validate_file(tiles) == validate_file(features) == []


def test_plain_h5py_reads_them(files):
    with h5py.File(files[1]) as h5:
        assert h5["slidenet/region"].dtype == np.uint16
        assert h5["slidenet/region"].fletcher32
        assert h5["slidenet/region_share"][-1] == 1
        assert h5["slidenet"].attrs["region_by"] == b"name"


def test_files_without_regions_hold_nothing_of_them(features_file, with_regions, tmp_path):
    assert open_features(features_file).regions is None
    bare = write_tile_set(tmp_path / "bare.h5", dataclasses.replace(with_regions, regions=None))
    with h5py.File(bare) as h5:
        assert sorted(h5["slidenet"]) == ["tissue_fraction"]
        assert not [name for name in h5["slidenet"].attrs if name.startswith("region")]
    assert read_tile_set(bare).regions is None


def test_a_slide_of_version_1_can_have_regions(tmp_path, with_regions):
    geometry = dataclasses.replace(with_regions.geometry, reading=1)
    path = write_tile_set(
        tmp_path / "slide_1.h5", dataclasses.replace(with_regions, geometry=geometry)
    )
    assert_same(read_tile_set(path).regions, with_regions.regions)
    assert validate_file(path) == []


PROBLEMS = {
    "/slidenet/region_share is missing": lambda h5: h5.pop("slidenet/region_share"),
    "attribute 'region_by' is missing": lambda h5: h5["slidenet"].attrs.pop("region_by"),
    "is no JSON list of texts": lambda h5: h5["slidenet"].attrs.modify("region_names", "[1, 2]"),
    "two of one name": lambda h5: h5["slidenet"].attrs.modify("region_names", '["a","b","a"]'),
    "told apart by 'area'": lambda h5: h5["slidenet"].attrs.modify("region_by", "area"),
    "a tile in region 3 of 3": lambda h5: h5["slidenet/region"].__setitem__(0, 3),
    "region shares outside": lambda h5: h5["slidenet/region_share"].__setitem__(0, np.nan),
}


@pytest.mark.parametrize("message", PROBLEMS)
def test_what_is_wrong_is_found(message, with_regions, tmp_path):
    path = write_tile_set(tmp_path / "slide_1.h5", with_regions)
    with h5py.File(path, "r+") as h5:
        PROBLEMS[message](h5)
    (problem,) = validate_file(path)
    assert message in problem
    with pytest.raises(StoreError, match=message.split(" ", 1)[1]):
        read_tile_set(path)


def test_features_with_wrong_regions(files):
    with edited(files[1]) as h5:
        h5["slidenet/region"][0] = 3
    with pytest.raises(StoreError, match="a tile in region 3 of 3"):
        assert open_features(files[1]).regions
    with h5py.File(files[1], "r+") as h5:
        del h5["slidenet/region"]
        h5["slidenet/region"] = np.zeros(35, np.uint16)
    with pytest.raises(StoreError, match=r"region has shape \(35,\); expected \(36,\)"):
        open_features(files[1])

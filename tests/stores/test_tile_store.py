import dataclasses

import h5py
import numpy as np
import pytest

from slidenet.core.errors import OutputError, StoreError
from slidenet.core.records import TileGeometry
from slidenet.stores import read_tile_set, write_tile_set
from slidenet.stores.h5 import schema


@pytest.fixture
def path(tmp_path, tile_set):
    return write_tile_set(tmp_path / "tiles" / "slide_1.h5", tile_set)


def test_round_trip_is_exact(path, tile_set):
    found = read_tile_set(path)
    for field in dataclasses.fields(tile_set):
        wanted, got = getattr(tile_set, field.name), getattr(found, field.name)
        if isinstance(wanted, np.ndarray):
            assert got.dtype == wanted.dtype
            np.testing.assert_array_equal(got, wanted)
        else:
            assert got == wanted, field.name
    assert found.identity_hash == tile_set.identity_hash


def test_numbers_that_no_decimal_holds_come_back(tmp_path, tile_set):
    geometry = dataclasses.replace(tile_set.geometry, target_mpp=1 / 3, read_mpp=0.1 + 0.2)
    odd = dataclasses.replace(tile_set, geometry=geometry, identity={"mpp": 1 / 3, "name": "Größe"})
    found = read_tile_set(write_tile_set(tmp_path / "odd.h5", odd))
    assert found.geometry == geometry
    assert found.identity == odd.identity


def test_no_tiles(tmp_path, toy):
    found = read_tile_set(write_tile_set(tmp_path / "none.h5", toy.make_tile_set(0)))
    assert found.coords.shape == (0, 2)


def test_a_recipe_of_any_length(tmp_path, tile_set):
    long = dataclasses.replace(tile_set, identity={"polygons": ["x" * 1000] * 500})
    assert read_tile_set(write_tile_set(tmp_path / "long.h5", long)).identity == long.identity


def test_same_tiles_same_bytes(path, tmp_path, tile_set):
    other = write_tile_set(tmp_path / "elsewhere" / "slide_1.h5", tile_set)
    assert other.read_bytes() == path.read_bytes()
    assert [p.name for p in path.parent.iterdir()] == ["slide_1.h5"]


def test_the_schema_names_every_field_of_the_geometry():
    fields = {field.name for field in dataclasses.fields(TileGeometry)}
    known = {*schema.GEOMETRY_ATTRIBUTES_2, *schema.CUT_ATTRIBUTES}
    assert known == fields | {"slide_mpp_source"}


def test_trident_reads_the_tiles(path):
    with h5py.File(path) as file:
        assert file["coords"].attrs["patch_size_level0"] == 257
        assert set(file["coords"].attrs) == set(schema.COORDS_ATTRIBUTES)


def test_missing(tmp_path):
    with pytest.raises(StoreError, match=r"nothing.h5 does not exist"):
        read_tile_set(tmp_path / "nothing.h5")
    with pytest.raises(StoreError, match="is not a file"):
        read_tile_set(tmp_path)


def test_not_h5(tmp_path):
    path = tmp_path / "text.h5"
    path.write_text("hello")
    with pytest.raises(StoreError, match=r"text.h5 cannot be read as HDF5"):
        read_tile_set(path)


def test_another_kind(features_file):
    with pytest.raises(StoreError, match=r"slidenet.features file, not a slidenet.tiles file"):
        read_tile_set(features_file)


def test_negative_coords_name_the_file(path):
    with h5py.File(path, "r+") as file:
        file["coords"][3, 0] = -1
    with pytest.raises(StoreError, match=r"slide_1.h5: coords hold the negative value -1"):
        read_tile_set(path)


def test_the_folder_is_a_file(tmp_path, tile_set):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match=r"'slide_1': .* choose another output folder"):
        write_tile_set(tmp_path / "file" / "slide_1.h5", tile_set)

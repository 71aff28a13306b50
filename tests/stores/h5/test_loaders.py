"""Others read our files by these conventions, with h5py alone and without knowing slidenet."""

import h5py
import numpy as np
import pytest


def test_clam_reads_features_and_coords(features_file, toy):
    with h5py.File(features_file, "r") as file:
        features = file["features"][:]
        coords = file["coords"][:]
    assert features.shape == (600, toy.FEATURE_DIM)
    assert features.dtype == np.float16
    assert np.isfinite(features).all()
    assert coords.dtype == np.int64
    np.testing.assert_array_equal(coords, toy.make_tile_set().coords)


def test_trident_reads_the_attributes_of_coords(features_file):
    with h5py.File(features_file, "r") as file:
        attrs = dict(file["coords"].attrs)
        name = file["features"].attrs["name"]
    assert {key: type(value) for key, value in attrs.items()} == {
        "patch_size": np.int64,
        "patch_size_level0": np.int64,
        "level0_magnification": np.float64,
        "target_magnification": np.float64,
        "overlap": np.int64,
        "name": str,
        "savetodir": str,
        "level0_width": np.int64,
        "level0_height": np.int64,
    }
    assert attrs["patch_size"] == 256
    assert attrs["patch_size_level0"] == 257  # 256 * 0.5 / 0.499 = 256.51
    assert attrs["target_magnification"] == 20.0
    assert attrs["level0_magnification"] == pytest.approx(20.04008, abs=1e-5)
    assert attrs["overlap"] == 32
    assert (attrs["level0_width"], attrs["level0_height"]) == (20000, 30000)
    assert attrs["name"] == name == "slide_1"
    # The side of a tile on level 0, as TRIDENT works it out from the two magnifications.
    ratio = attrs["level0_magnification"] / attrs["target_magnification"]
    assert round(attrs["patch_size"] * ratio) == attrs["patch_size_level0"]


def test_no_path_of_this_machine_leaks(features_file, tmp_path):
    data = features_file.read_bytes()
    assert str(tmp_path).encode() not in data
    assert b"/data/slides" not in data
    with h5py.File(features_file, "r") as file:
        assert file["coords"].attrs["savetodir"] == "."
        assert file["slidenet"].attrs["slide_name"] == b"slide_1.svs"


def test_the_documented_attributes_are_all_there_is(features_file):
    with h5py.File(features_file, "r") as file:
        attrs = {
            key: value.decode() if isinstance(value, bytes) else value
            for key, value in file["slidenet"].attrs.items()
        }
        assert sorted(file) == ["coords", "features", "slidenet"]
        assert sorted(file["slidenet"]) == ["status", "tissue_fraction"]
    attrs.pop("software_version")
    assert attrs == {
        "format": "slidenet.features",
        "format_version": 2,
        "slide_id": "slide_1",
        "slide_name": "slide_1.svs",
        "slide_fingerprint": "sha256:feed",
        "recipe": '{"dtype":"float16","encoder":{"id":"toy","precision":"float32",'
        '"weights":"sha256:0123"},"tiles":{"filters":["blank"],"margin":null,'
        '"segmenter":"otsu","target_mpp":0.5}}',
        "recipe_hash": attrs["recipe_hash"],
        "tiles_recipe": '{"filters":["blank"],"margin":null,"segmenter":"otsu","target_mpp":0.5}',
        "tiles_recipe_hash": attrs["tiles_recipe_hash"],
        "tiles_digest": attrs["tiles_digest"],
        "digests": attrs["digests"],
        "encoder": '{"id":"toy","precision":"float32","weights":"sha256:0123"}',
        "slide_mpp": 0.499,
        "slide_mpp_source": "vendor property aperio.MPP",
        "target_mpp": 0.5,
        "read_mpp": 0.499,
        "reading": 2,
        "shrinking": "area",
        "level": 0,
        "tile_size_px": 256,
        "stride_px": 224,
        "read_size_px": 256,
        "level0_width": 20000,
        "level0_height": 30000,
        "num_tiles": 600,
        "num_unreadable": 2,
        "num_empty": 0,
        "feature_dim": 12,
        "dtype": "float16",
    }

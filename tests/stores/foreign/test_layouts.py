"""What each tool says of its tiles, and in which words: sizes, mpp, coords, identity."""

import numpy as np
import pytest
import torch

from slidenet.stores import open_features


def test_clam_with_its_patches_needs_only_the_mpp(writers, tmp_path):
    path = writers.write_clam(tmp_path, step=1024, patches={"patch_level": 1, "downsample": 4.0})
    with open_features(path, slide_mpp=0.25) as bag:
        assert (bag.layout, bag.slide_id, bag.num_tiles, bag.feature_dim) == (
            "clam",
            "slide_1",
            12,
            8,
        )
        assert (bag.slide_mpp, bag.tile_size_px, bag.target_mpp) == (0.25, 256, 1.0)
        assert bag.coords.dtype == np.int64
        np.testing.assert_array_equal(bag.coords, writers.grid(12, 1024))
        np.testing.assert_array_equal(bag.features[:], writers.features(12))
        np.testing.assert_array_equal(bag.features[3:5], writers.features(12)[3:5])
        np.testing.assert_array_equal(bag.features[np.array([1, 4])], writers.features(12)[[1, 4]])
        assert bag.mask.all()
        assert bag.mask.shape == (12,)
        assert bag.fingerprint is None
        assert bag.identity["magnification"] == 10.0


def test_clam_without_patches_needs_size_and_resolution(writers, tmp_path):
    path = writers.write_clam(tmp_path, batch_axis=True)
    bag = open_features(path, slide_mpp=0.5, tile_size_px=256, target_mpp=0.5)
    assert (bag.num_tiles, bag.feature_dim) == (12, 8)
    np.testing.assert_array_equal(bag.features[2:4], writers.features(12)[2:4])
    np.testing.assert_array_equal(bag.coords, writers.grid(12, 256))


def test_a_clam_tensor_is_read_from_the_h5_beside_it(writers, tmp_path):
    h5 = writers.write_clam(tmp_path, patches={})
    (tmp_path / "pt_files").mkdir()
    path = tmp_path / "pt_files" / "slide_1.pt"
    torch.save(torch.from_numpy(writers.features(12)), path)
    bag = open_features(path, slide_mpp=0.5)
    assert bag.path == h5
    assert bag.target_mpp == 0.5


def test_trident_says_magnifications_and_takes_a_better_mpp(writers, tmp_path):
    path = writers.write_trident(tmp_path)
    bag = open_features(path)
    assert (bag.layout, bag.slide_mpp, bag.tile_size_px, bag.target_mpp) == (
        "trident",
        0.25,
        256,
        0.5,
    )
    np.testing.assert_array_equal(bag.coords, writers.grid(12, 512))
    assert bag.identity == {
        "layout": "trident",
        "encoder": "uni_v1",
        "tile_size_px": 256,
        "target_magnification": 20,
        "overlap": 0,
    }
    exact = open_features(path, slide_mpp=0.2527)
    assert (exact.slide_mpp, exact.target_mpp) == (0.2527, pytest.approx(0.5054))


def test_stamp_microns_become_the_pixels_they_came_from(writers, tmp_path):
    path = writers.write_stamp(tmp_path, num_tiles=400, slide_mpp=0.2527)
    bag = open_features(path, slide_mpp=0.2527)
    assert (bag.layout, bag.tile_size_px) == ("stamp", 224)
    assert bag.target_mpp == pytest.approx(256 / 224)
    assert bag.features[:].dtype == np.float16
    wanted = np.rint(writers.grid(400, 256.0) / 0.2527).astype(np.int64)
    np.testing.assert_array_equal(bag.coords, wanted)


def test_stamp_2_0_called_the_size_tile_size(writers, tmp_path):
    path = writers.write_stamp(tmp_path, tile_size_um=None, tile_size=256.0)
    assert open_features(path, slide_mpp=0.25).target_mpp == pytest.approx(256 / 224)


@pytest.mark.parametrize("ending", ["pt", "npz"])
def test_slide2vec_finds_its_coordinates_in_the_folder_tiles(writers, tmp_path, ending):
    path = writers.write_slide2vec(tmp_path, ending=ending)
    bag = open_features(path)
    assert (bag.layout, bag.slide_mpp, bag.tile_size_px, bag.target_mpp) == (
        "slide2vec",
        0.25,
        224,
        0.5,
    )
    np.testing.assert_array_equal(bag.coords, writers.grid(12, 448))
    np.testing.assert_array_equal(bag.features[:], writers.features(12).astype(np.float16))
    np.testing.assert_array_equal(bag.features[4:6], writers.features(12)[4:6].astype(np.float16))


def test_slide2vec_archives_name_their_tiles(writers, tmp_path):
    order = [3, 0, 11, *range(4, 11), 1, 2]
    path = writers.write_slide2vec(tmp_path, ending="npz", tile_index=order)
    np.testing.assert_array_equal(open_features(path).coords, writers.grid(12, 448)[order])

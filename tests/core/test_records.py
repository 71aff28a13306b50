import dataclasses

import numpy as np
import pytest

from slidenet.core.errors import CoordinateError
from slidenet.core.records import SlideMpp, TileGeometry, TileRegions, TileSet

GEOMETRY = TileGeometry(
    slide_mpp=SlideMpp(0.25, "override"),
    target_mpp=0.5,
    read_mpp=0.25,
    level=0,
    tile_size_px=256,
    stride_px=128,
    read_size_px=512,
    level0_width=5000,
    level0_height=4000,
)


def tile_set(coords, fraction=None):
    fraction = np.ones(len(coords), np.float32) if fraction is None else fraction
    return TileSet("a", "a.svs", "f", GEOMETRY, coords, fraction, {})


def test_geometry_in_level0_pixels():
    assert GEOMETRY.scale == 2.0
    assert GEOMETRY.tile_size_level0 == 512
    assert GEOMETRY.stride_level0 == 256.0
    assert GEOMETRY.resampled


def test_tile_sets_are_frozen():
    tiles = tile_set(np.array([[0, 0], [512, 0]]))
    assert tiles.num_tiles == 2
    with pytest.raises(ValueError, match="read-only"):
        tiles.coords[0, 0] = 1


@pytest.mark.parametrize(
    ("coords", "message"),
    [
        (np.zeros((2, 2), np.float16), "float16"),
        (np.zeros((2, 3), np.int64), r"\(2, 3\)"),
        (np.array([[0, -1]]), "negative"),
    ],
)
def test_wrong_coords_are_refused_naming_the_slide(coords, message):
    with pytest.raises(CoordinateError, match=f"slide 'a'.*{message}"):
        tile_set(coords)


def test_one_tissue_fraction_per_tile():
    with pytest.raises(CoordinateError, match=r"\(1,\)"):
        tile_set(np.zeros((2, 2), np.int64), np.ones(1, np.float32))


def tile_regions(index=(1, 0, 1), share=(0.5, 1.0, 0.25), names=("Stroma", "Tumor", "Fat")):
    return TileRegions(names, np.array(index, np.uint16), np.array(share, np.float32), "class")


def test_regions_of_some_tiles():
    regions = tile_regions().take(np.array([True, False, True]))
    assert regions.index.tolist() == [1, 1]
    assert regions.share.tolist() == [0.5, 0.25]
    assert regions.counts() == {"Stroma": 0, "Tumor": 2, "Fat": 0}
    with pytest.raises(ValueError, match="read-only"):
        regions.share[0] = 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"names": ("a", "a", "b")}, "two of one name"),
        ({"names": ("a", "", "b")}, "without a name"),
        ({"index": (0, 3, 1)}, "a tile in region 3 of 3"),
        ({"share": (0.5, 0.0, 1.0)}, "outside"),
        ({"share": (0.5, np.nan, 1.0)}, "outside"),
        ({"share": (0.5, 1.01, 1.0)}, "outside"),
        ({"share": (0.5, 1.0)}, r"float32 of shape \(2,\)"),
    ],
)
def test_wrong_regions_are_refused(wrong, message):
    with pytest.raises(CoordinateError, match=message):
        tile_regions(**wrong)


def test_one_region_per_tile():
    with pytest.raises(CoordinateError, match=r"slide 'a': regions has shape \(3,\)"):
        dataclasses.replace(tile_set(np.zeros((2, 2), np.int64)), regions=tile_regions())

import numpy as np
import pytest

from slidenet.core.errors import CoordinateError
from slidenet.core.records import SlideMpp, TileGeometry, TileSet

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

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slidenet.core.errors import ConfigError, CoordinateError
from slidenet.slide_encoders import grid_cells
from slidenet.slide_encoders.coords.grid import FRAMES, TileScale


def lattice(slide_mpp, cells, tile_px=256, target_mpp=0.5):
    """Corners as the tiling writes them: exact physical steps, rounded to level-0 pixels."""
    step = tile_px * target_mpp / slide_mpp
    return np.array([[round(i * step), round(j * step)] for i, j in cells], dtype=np.int64)


CELLS = np.array([[i, (7 * i) % 1000] for i in range(1000)])


@pytest.mark.parametrize("slide_mpp", [0.25, 0.5, 1.0, 0.499, 0.2457, 0.69, 0.2528, 0.1725])
def test_rounded_lattice_points_fall_into_their_cell(slide_mpp):
    coords = lattice(slide_mpp, CELLS)
    np.testing.assert_array_equal(grid_cells(coords, slide_mpp=slide_mpp), CELLS)


@pytest.mark.parametrize("slide_mpp", [0.499, 0.2457, 0.69])
def test_plain_floor_would_collide(slide_mpp):
    coords = lattice(slide_mpp, CELLS)
    plain = np.floor(coords * slide_mpp / 0.5 / 256).astype(np.int64)
    assert (plain < CELLS).any()
    assert len(np.unique(plain[:, 0])) < len(CELLS)


@given(slide_mpp=st.floats(0.1, 1.0), column=st.integers(0, 999), row=st.integers(0, 999))
def test_any_resolution(slide_mpp, column, row):
    coords = lattice(slide_mpp, [(column, row)])
    assert grid_cells(coords, slide_mpp=slide_mpp).tolist() == [[column, row]]


@pytest.mark.parametrize(("slide_mpp", "side"), [(0.5, 256), (0.25, 512), (1.0, 128)])
def test_whole_steps_equal_plain_floor(slide_mpp, side):
    coords = np.random.default_rng(0).integers(0, 10**6, size=(5000, 2))
    np.testing.assert_array_equal(grid_cells(coords, slide_mpp=slide_mpp), coords // side)


@pytest.mark.parametrize(
    ("frame", "cells"),
    [
        # One tile at x = 5120, y = 1024 level-0 px of a 0.25-mpp slide: 1280 x 256 microns.
        ("physical", [10, 2]),
        ("physical_floor", [10, 2]),
        ("level0", [20, 4]),
        ("tile_side", [10, 2]),
        ("micron_fp16", [4, 0]),  # 1120 px of 8/7 micron is column 4, 224 px is row 0
    ],
)
def test_frames(frame, cells):
    coords = np.array([[5120, 1024]])
    found = grid_cells(coords, slide_mpp=0.25, tile_size_px=256, target_mpp=0.5, frame=frame)
    assert found.tolist() == [cells]


@pytest.mark.parametrize("name", list(FRAMES))
@pytest.mark.parametrize("slide_mpp", [0.25, 0.5, 0.2457])
def test_the_side_of_a_cell_is_that_of_the_cells(name, slide_mpp):
    """What the contract says of a frame is what the frame does."""
    frame, scale = FRAMES[name], TileScale(slide_mpp, tile_size_px=224, target_mpp=0.6)
    middles = np.array([[round((i + 0.5) * frame.side(scale)), 0] for i in range(6)])
    assert frame.cells(middles, scale)[:, 0].tolist() == list(range(6))


def test_half_precision_positions_collide_as_in_the_tool():
    # Column 17: 17 000 is no half-precision number (spacing 16); 16 992 is row 992 of column 16.
    tile = round(256 * (256 / 224) * 1000)  # one cell of that frame, in nanometre pixels
    coords = np.array([[17 * tile, 0], [17 * tile, 5 * tile], [2 * tile, 3 * tile]])
    found = grid_cells(coords, slide_mpp=0.001, frame="micron_fp16")
    assert found.tolist() == [[16, 992], [16, 992], [2, 3]]


def test_half_precision_positions_overflow():
    coords = np.array([[39_000, 0]])
    assert grid_cells(coords - [[500, 0]], slide_mpp=0.5, frame="micron_fp16").shape == (1, 2)
    with pytest.raises(CoordinateError, match=r"slide 's1': tiles reach 19.5 mm"):
        grid_cells(coords, slide_mpp=0.5, frame="micron_fp16", slide="s1")


@pytest.mark.parametrize("coords", [[[0.5, 1.0]], [[1, 2, 3]], [[-1, 0]], [1, 2]])
def test_coords_of_wrong_dtype_shape_or_sign(coords):
    with pytest.raises(CoordinateError):
        grid_cells(np.array(coords), slide_mpp=0.5)


@pytest.mark.parametrize(
    "settings",
    [{"slide_mpp": 0.0}, {"slide_mpp": float("nan")}, {"slide_mpp": 0.5, "frame": "wsi"}],
)
def test_settings_that_make_no_sense(settings):
    with pytest.raises(ConfigError):
        grid_cells(np.zeros((1, 2), dtype=np.int64), **settings)


def test_no_tiles():
    assert grid_cells(np.zeros((0, 2), dtype=np.int64), slide_mpp=0.5).shape == (0, 2)

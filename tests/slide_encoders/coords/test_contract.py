import re
import warnings

import numpy as np
import pytest

from slidenet.core.errors import CoordinateError
from slidenet.core.records import SlideMpp, TileGeometry
from slidenet.slide_encoders import RECIPES, CoordinateWarning, checked_grid_xy


def geometry(slide_mpp=0.25, width=40_000, height=20_000, *, tile=256, stride=256, target=0.5):
    return TileGeometry(
        slide_mpp=SlideMpp(slide_mpp, "override"),
        target_mpp=target,
        read_mpp=slide_mpp,
        level=0,
        tile_size_px=tile,
        stride_px=stride,
        read_size_px=tile,
        level0_width=width,
        level0_height=height,
    )


def corners(g, columns=8, rows=5):
    step = g.stride_level0
    pairs = [(round(i * step), round(j * step)) for j in range(rows) for i in range(columns)]
    return np.array(pairs, dtype=np.int64)


def check(coords, g, recipe="gigapath"):
    return checked_grid_xy(coords, g, recipe=RECIPES[recipe], slide="S-7")


@pytest.mark.parametrize("slide_mpp", [0.25, 0.5, 0.499, 0.2457, 0.69])
def test_a_sound_slide_passes_silently(slide_mpp):
    g = geometry(slide_mpp)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        grid_xy = check(corners(g), g)
    assert grid_xy.tolist() == [[i, j] for j in range(5) for i in range(8)]


def test_swapped_axes():
    g = geometry()
    coords = np.array([[512, 30_720], [1024, 30_720]])
    with pytest.raises(
        CoordinateError,
        match=r"slide 'S-7': coords reach x=1024, y=30720 on a slide of 40000 x 20000 .* swapped",
    ):
        check(coords, g)


def test_coords_of_another_slide():
    with pytest.raises(CoordinateError, match="x=51200, y=0 on a slide of 40000 x 20000"):
        check(np.array([[51_200, 0]]), geometry())


def test_coords_at_the_tile_resolution_instead_of_level_0():
    g = geometry()
    coords = corners(g) // 2  # 256-px steps at 0.5 mpp on a slide of 0.25 mpp
    with pytest.raises(
        CoordinateError, match=r"256 px apart; expected a multiple of 512.0 level-0"
    ):
        check(coords, g)


def test_a_wrong_mpp():
    # Cut at 0.25 mpp, declared 0.2: the steps do not fit the declared resolution.
    with pytest.raises(CoordinateError, match=r"512 px apart; expected a multiple of 640\.0"):
        check(corners(geometry(0.25)), geometry(0.2))


def test_gaps_in_the_tissue_are_no_problem():
    g = geometry(0.2457)
    coords = corners(g, 30, 12)[np.random.default_rng(3).choice(360, 25, replace=False)]
    assert len(check(coords, g)) == 25


def test_overlap_is_refused_by_ours_and_warned_about_elsewhere():
    g = geometry(0.5, stride=128)
    coords = corners(g)
    message = r"28 of 40 tiles share a cell .*cell \(0, 0\) holds 4, the first at x=0, y=0"
    with pytest.raises(CoordinateError, match=message):
        check(coords, g)
    with pytest.warns(CoordinateWarning) as caught:
        assert len(check(coords, g, "gigapath-official")) == 40
    assert re.search(message, str(caught[0].message))
    assert "tiles are 0.50 cells apart" in str(caught[1].message)


def test_tiles_unlike_the_cell():
    g = geometry(0.5, tile=512, stride=512)
    with pytest.warns(CoordinateWarning, match=r"S-7.*tiles are 2.00 cells apart"):
        assert check(corners(g), g)[1].tolist() == [2, 0]


def test_a_frame_of_another_resolution():
    g = geometry(0.25)
    with pytest.warns(CoordinateWarning) as caught:
        grid_xy = check(corners(g), g, "gigapath-official")
    text = " | ".join(str(w.message) for w in caught)
    assert "tiles are 2.00 cells apart" in text
    assert "counts cells of 256 px at 0.250 mpp on this slide of 0.25 mpp" in text
    assert grid_xy[1].tolist() == [2, 0]


def test_cells_beyond_the_lattice():
    g = geometry(0.25, 700_000, 20_000)
    coords = np.array([[0, 0], [512 * 1000, 512]])
    with pytest.raises(
        CoordinateError, match=r"1 of 2 tiles lie beyond .*last column 1000.*128 mm"
    ):
        check(coords, g)
    assert check(np.array([[512 * 999, 0]]), g).tolist() == [[999, 0]]


def test_no_tiles_and_one_tile():
    g = geometry()
    assert check(np.zeros((0, 2), dtype=np.int64), g).shape == (0, 2)
    assert check(np.array([[512, 1024]]), g).tolist() == [[1, 2]]

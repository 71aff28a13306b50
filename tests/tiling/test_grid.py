import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slidenet.core.errors import SlideError
from slidenet.core.records import SlideMpp, TileGeometry
from slidenet.tiling import grid, tissue_fractions
from slidenet.tissue import Tissue


def geometry_of(width, height, *, slide_mpp=0.5, target_mpp=0.5, tile=256, stride=None):
    return TileGeometry(
        SlideMpp(slide_mpp, "override"), target_mpp, slide_mpp, 0,
        tile, stride or tile, round(tile * target_mpp / slide_mpp), width, height,
    )  # fmt: skip


def tissue_of(*rows, downsample_xy=(1.0, 1.0)):
    return Tissue(np.array([[c == "#" for c in row] for row in rows]), downsample_xy, {})


def fractions(tissue, coords, side):
    return tissue_fractions(tissue, np.array(coords, np.int64), side)


class TestGrid:
    @pytest.mark.parametrize(
        ("width", "height", "columns", "rows"),
        [(256, 256, 1, 1), (511, 512, 1, 2), (512, 767, 2, 2), (1000, 256, 3, 1)],
    )
    def test_only_tiles_wholly_inside(self, width, height, columns, rows):
        coords = grid(geometry_of(width, height))
        assert coords.dtype == np.int64
        assert len(coords) == columns * rows
        assert (coords.max(axis=0) + 256 <= (width, height)).all()

    def test_rows_first_then_columns(self):
        coords = grid(geometry_of(600, 520))
        assert coords.tolist() == [[0, 0], [256, 0], [0, 256], [256, 256]]

    def test_the_stride_is_not_rounded_before_it_is_multiplied(self):
        geometry = geometry_of(300_000, 600, slide_mpp=0.2277)
        x = grid(geometry)[:, 0]
        stride = 256 * 0.5 / 0.2277  # 562.14...: rounding it first would drift 75 px away
        np.testing.assert_array_equal(x, [round(i * stride) for i in range(len(x))])
        assert len(x) == 533

    def test_halves_round_as_the_record_says(self):
        x = grid(geometry_of(40, 8, tile=5, stride=5, slide_mpp=1.0, target_mpp=0.5))[:, 0]
        np.testing.assert_array_equal(x[:5], [round(i * 2.5) for i in range(5)])

    def test_overlapping_and_gapped_tiles(self):
        half = grid(geometry_of(512, 256, stride=128))
        assert half[:, 0].tolist() == [0, 128, 256]
        gap = grid(geometry_of(1000, 256, stride=300))
        assert gap[:, 0].tolist() == [0, 300, 600]

    @pytest.mark.parametrize(("width", "height"), [(255, 300), (300, 255), (10, 10)])
    def test_a_slide_smaller_than_a_tile_says_so(self, width, height):
        with pytest.raises(SlideError, match=rf"{width} x {height} .*smaller than one tile of 256"):
            grid(geometry_of(width, height), slide="tiny")

    @settings(deadline=None, max_examples=60)
    @given(
        width=st.integers(40, 1000),
        height=st.integers(40, 1000),
        mpp=st.floats(0.1, 1.0),
        tile=st.integers(8, 64),
        stride=st.integers(5, 90),
    )
    def test_every_lattice_tile_that_fits_and_no_other(self, width, height, mpp, tile, stride):
        geometry = geometry_of(width, height, slide_mpp=mpp, tile=tile, stride=stride)
        side, step = geometry.tile_size_level0, geometry.stride_level0

        def starts(length):
            candidates = (round(i * step) for i in range(math.ceil(length / step) + 3))
            return [start for start in candidates if start + side <= length]

        expected = [(x, y) for y in starts(height) for x in starts(width)]
        if not expected:
            with pytest.raises(SlideError):
                grid(geometry)
        else:
            assert grid(geometry).tolist() == [list(c) for c in expected]


class TestTissueFractions:
    @pytest.mark.parametrize(
        ("location", "side", "expected"),
        [
            ((0, 0), 1, 1.0),
            ((1, 0), 1, 0.0),
            ((0, 0), 2, 0.25),
            ((0, 0), 4, 7 / 16),
            ((2, 2), 2, 1.0),
            ((1, 1), 2, 0.5),
            ((2, 2), 4, 0.25),  # three quarters lie outside the slide: no tissue there
            ((9, 9), 2, 0.0),
            ((0, 0), 1.5, 1 / 2.25),
            ((1, 2), 1.5, (1.0 + 0.5 + 0.5 * 0.5) / 2.25),  # (1, 2), half (2, 2), a quarter (2, 3)
        ],
    )
    def test_whole_pixels_by_hand(self, location, side, expected):
        tissue = tissue_of("#...", "...#", ".###", "..##")
        found = fractions(tissue, [location], side)
        assert found.dtype == np.float32
        assert found[0] == np.float32(expected)

    def test_tiles_that_cut_mask_pixels(self):
        tissue = tissue_of("#.", "..", downsample_xy=(10.0, 20.0))
        assert fractions(tissue, [(5, 5)], 10)[0] == np.float32(0.5)
        assert fractions(tissue, [(5, 15)], 10)[0] == np.float32(0.25)
        assert fractions(tissue, [(9, 19)], 4)[0] == np.float32(1 / 16)

    def test_one_pixel_for_the_whole_slide(self):
        tissue = Tissue(np.ones((1, 1), np.bool_), (1000.0, 700.0), {})
        np.testing.assert_array_equal(fractions(tissue, [(0, 0), (744, 444)], 256), [1, 1])

    def test_no_tiles(self):
        assert fractions(tissue_of("#"), np.zeros((0, 2)), 4).shape == (0,)

    @settings(deadline=None, max_examples=60)
    @given(
        seed=st.integers(0, 2**32 - 1),
        scale=st.tuples(st.floats(1.0, 40.0), st.floats(1.0, 40.0)),
        side=st.floats(1.0, 300.0),
    )
    def test_against_the_area_of_every_overlap(self, seed, scale, side):
        rng = np.random.default_rng(seed)
        mask = rng.random(rng.integers(1, 12, 2)) < 0.5
        coords = rng.integers(0, 400, (8, 2))
        found = fractions(Tissue(mask, scale, {}), coords, side)
        expected = [overlap(mask, scale, x, y, side) / side**2 for x, y in coords]
        np.testing.assert_allclose(found, expected, atol=2e-6)

    def test_the_integral_does_not_lose_precision_on_large_masks(self):
        mask = np.ones((4096, 4096), np.bool_)
        mask[-1, -1] = False
        found = fractions(Tissue(mask, (1.0, 1.0), {}), [(4094, 4094), (4000, 4000)], 2)
        np.testing.assert_array_equal(found, [0.75, 1.0])


def overlap(mask, scale, x, y, side):
    """Area of the tile on tissue, summed pixel by pixel: the definition, not the method."""

    def lengths(count, step, start):
        edges = np.arange(count + 1) * step
        shared = np.minimum(edges[1:], start + side) - np.maximum(edges[:-1], start)
        return np.clip(shared, 0, None)

    down = lengths(mask.shape[0], scale[1], y)
    across = lengths(mask.shape[1], scale[0], x)
    return float(down @ mask @ across)

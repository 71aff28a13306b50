import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from shapely.geometry import Polygon, box

from slidenet.tissue import Tissue, rasterize, tissue_polygons


def mask_of(*rows):
    return np.array([[c == "#" for c in row] for row in rows])


def polygons_of(mask, downsample_xy=(1.0, 1.0)):
    return tissue_polygons(Tissue(mask, downsample_xy, {}))


def test_a_pixel_becomes_its_own_square():
    (polygon,) = polygons_of(mask_of("...", ".#.", "..."), (16.0, 16.5))
    assert polygon.equals(box(16.0, 16.5, 32.0, 33.0))


def test_outlines_run_along_pixel_edges_and_keep_holes():
    (polygon,) = polygons_of(mask_of("####", "#..#", "####"))
    assert polygon.equals(Polygon(box(0, 0, 4, 3).exterior, [box(1, 1, 3, 2).exterior]))
    assert len(polygon.exterior.coords) == 5


def test_an_island_in_a_hole_is_its_own_polygon_and_the_largest_comes_first():
    polygons = polygons_of(mask_of("#....", ".....", "#####", "#...#", "#.#.#", "#...#", "#####"))
    assert [p.area for p in polygons] == [16, 1, 1]


def test_pieces_that_touch_in_a_corner_become_valid_polygons():
    polygons = polygons_of(mask_of("##..", "##..", "..##", "..##"))
    assert sorted(p.bounds for p in polygons) == [(0, 0, 2, 2), (2, 2, 4, 4)]


def test_an_empty_mask_has_no_polygons():
    assert polygons_of(np.zeros((3, 3), np.bool_)) == []


def test_the_whole_slide_from_one_pixel():
    (polygon,) = polygons_of(np.ones((1, 1), np.bool_), (1000.0, 700.0))
    assert polygon.equals(box(0, 0, 1000, 700))


@settings(deadline=None, max_examples=150)
@given(
    mask=arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=14)),
    scale=st.tuples(st.floats(0.3, 70), st.floats(0.3, 70)),
)
def test_mask_to_polygons_to_mask_is_the_identity(mask, scale):
    polygons = polygons_of(mask, scale)
    assert all(p.is_valid and p.area > 0 for p in polygons)
    np.testing.assert_allclose(
        sum(p.area for p in polygons), mask.sum() * scale[0] * scale[1], rtol=1e-9
    )
    back = rasterize(polygons, shape=mask.shape, downsample_xy=scale)
    np.testing.assert_array_equal(back, mask)


def test_a_large_speckled_mask_round_trips():
    rng = np.random.default_rng(0)
    mask = rng.random((110, 150)) < 0.55
    polygons = polygons_of(mask, (11.59, 11.61))
    back = rasterize(polygons, shape=mask.shape, downsample_xy=(11.59, 11.61))
    np.testing.assert_array_equal(back, mask)


@pytest.mark.parametrize(
    "polygon",
    [
        Polygon([(1, 1), (17.2, 3.1), (11.4, 14.9), (2.2, 12)]),
        Polygon([(-5, -3), (40, 4), (25, 30)], [[(5, 3), (15, 5), (8, 9)]]),
        Polygon([(0.5, 0.5), (12.5, 0.5), (12.5, 9.5), (6.5, 4.5), (0.5, 9.5)]),
    ],
)
def test_pixels_are_those_whose_centres_lie_inside(polygon):
    y, x = np.mgrid[:20, :24] + 0.5
    expected = shapely.contains_xy(polygon, x, y)
    on_the_line = shapely.intersects_xy(polygon, x, y) & ~expected
    found = rasterize([polygon], shape=(20, 24), downsample_xy=(1.0, 1.0))
    np.testing.assert_array_equal(found[~on_the_line], expected[~on_the_line])


def test_overlapping_polygons_are_joined_not_cancelled():
    found = rasterize([box(0, 0, 3, 3), box(1, 1, 4, 4)], shape=(4, 4), downsample_xy=(1.0, 1.0))
    assert found.sum() == 14


def test_no_polygons_and_polygons_outside_give_an_empty_mask():
    assert not rasterize([], shape=(3, 3), downsample_xy=(1.0, 1.0)).any()
    assert not rasterize([box(5, 5, 9, 9)], shape=(3, 3), downsample_xy=(1.0, 1.0)).any()
    assert rasterize([box(-9, -9, 99, 99)], shape=(3, 3), downsample_xy=(1.0, 1.0)).all()

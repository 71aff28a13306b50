import numpy as np
import pytest
from shapely.geometry import Polygon, box

from slidenet.core.records import TileSet
from slidenet.slides import plan_tiles
from slidenet.visualisation import tissue_overlay
from slidenet.visualisation.overlay.damage import DAMAGE_RGB, HATCH_RGB
from slidenet.visualisation.overlay.tissue import (
    CONTOUR_RGB,
    GRID_OPACITY,
    GRID_RGB,
    VEIL,
    cell_boxes,
)

PINK = (214, 150, 190)


@pytest.fixture
def slide(flat_slide):
    return flat_slide(np.full((120, 160, 3), PINK, np.uint8), mpp=1.0)


def overlay(slide, polygons, tile_set=None, *, max_side_px=1600):
    """The overlay on the thumbnail of a slide."""
    width = slide.level_dimensions[0][0]
    return tissue_overlay(slide.thumbnail(max_side_px), polygons, tile_set, level0_width=width)


def tile_set_of(slide, coords, **planned):
    geometry = plan_tiles(slide, **({"target_mpp": 1.0, "tile_size_px": 40} | planned))
    coords = np.array(coords, np.int64).reshape(-1, 2)
    return TileSet(
        "s", str(slide.path), "f", geometry, coords, np.ones(len(coords), np.float32), {}
    )  # fmt: skip


def blended(rgb, color, opacity):
    return np.rint(np.array(rgb) * (1 - opacity) + np.array(color) * opacity).astype(np.uint8)


def test_nothing_to_draw_is_the_bare_slide(slide):
    np.testing.assert_array_equal(overlay(slide, []), slide.thumbnail(1600))


def test_outside_of_tiles_the_slide_fades(slide):
    picture = overlay(slide, [], tile_set_of(slide, [(40, 40)]))
    assert picture[60, 60].tolist() == list(PINK)
    assert picture[10, 10].tolist() == blended(PINK, (255, 255, 255), VEIL).tolist()


def test_one_thin_line_lies_between_two_tiles(slide):
    picture = overlay(slide, [], tile_set_of(slide, [(0, 0), (40, 0)]))
    row = picture[20]
    assert row[40].tolist() == blended(PINK, GRID_RGB, GRID_OPACITY).tolist()
    assert row[39].tolist() == row[41].tolist() == list(PINK)


def test_lines_between_dark_tiles_are_light(flat_slide):
    slide = flat_slide(np.full((60, 100, 3), (0, 0, 40), np.uint8), mpp=1.0)
    row = overlay(slide, [], tile_set_of(slide, [(0, 0), (40, 0)]))[20]
    assert row[40].mean() > row[39].mean() + 60
    assert row[90].mean() > row[39].mean() + 60  # the veil


def test_tiny_tiles_get_no_lines(slide):
    tile_set = tile_set_of(slide, [(0, 0), (40, 0)])
    picture = overlay(slide, [], tile_set, max_side_px=20)
    assert picture.shape == (15, 20, 3)
    np.testing.assert_array_equal(picture[:5, :10], np.broadcast_to(PINK, (5, 10, 3)))


def test_outlines_lie_on_the_edge_of_the_tissue(slide):
    picture = overlay(slide, [box(20, 30, 120, 100)])
    darkness = (np.array(PINK) - picture.astype(int)).sum(axis=2)
    assert abs(int(darkness[60].argmax()) - 20) <= 1
    assert abs(int(darkness[:, 70].argmax()) - 30) <= 1
    distance = np.abs(picture[60, 18:23].astype(int) - np.array(CONTOUR_RGB)).sum(axis=1)
    assert distance.min() < 160
    np.testing.assert_array_equal(picture[60, 40:100], np.broadcast_to(PINK, (60, 3)))


def test_corners_that_are_no_stairs_stay_sharp(slide):
    darkness = np.array(PINK) - overlay(slide, [box(20, 30, 120, 100)]).astype(int)
    assert (darkness[29:31, 19:21].sum(axis=2) > 100).any()


def test_holes_are_outlined_and_specks_are_not(slide):
    with_hole = Polygon(box(20, 20, 140, 100).exterior, [box(60, 40, 100, 80).exterior])
    whole = Polygon(box(20, 20, 140, 100).exterior)
    difference = (overlay(slide, [with_hole]) != overlay(slide, [whole])).any(axis=2)
    assert difference[60, 58:63].any()
    speck = box(5, 5, 8, 8)
    np.testing.assert_array_equal(overlay(slide, [speck]), slide.thumbnail(1600))


def test_stairs_of_a_mask_flow_in_the_picture(slide):
    corners = [(10 * i, 10 * j) for i in range(2, 10) for j in (i, i + 1)]
    stairs = Polygon([*corners, (90, 120), (20, 120)])
    darkness = (np.array(PINK) - overlay(slide, [stairs]).astype(int)).sum(axis=2)
    row = darkness[50, 30:70]
    assert abs(int(row.argmax()) + 30 - 45) <= 1, "on the line through the middle of the steps"
    assert darkness[50, 50] <= 0, "not in the corner of a step"


@pytest.mark.parametrize(
    ("coords", "planned", "scale", "overlap", "expected"),
    [
        ([(0, 0), (40, 80)], {}, 1.0, False, [[0, 0, 40, 40], [40, 80, 80, 120]]),
        ([(40, 80)], {}, 0.25, False, [[10, 20, 20, 30]]),
        ([(40, 80)], {}, 0.001, False, [[0, 0, 1, 1]]),
        ([(20, 0)], {"stride_px": 20}, 1.0, False, [[30, 10, 50, 30]]),
        ([(20, 0)], {"stride_px": 20}, 1.0, True, [[20, 0, 60, 40]]),
        ([(60, 0)], {"stride_px": 60}, 1.0, False, [[60, 0, 100, 40]]),
        ([(13, 17)], {}, 1.0, False, [[13, 17, 53, 57]]),
    ],
)
def test_where_tiles_lie(slide, coords, planned, scale, overlap, expected):
    tile_set = tile_set_of(slide, coords, **planned)
    boxes = cell_boxes(tile_set.coords, tile_set.geometry, scale, overlap=overlap)
    assert boxes.tolist() == expected


def test_neighbours_share_their_edge_although_coordinates_are_rounded(slide):
    geometry = plan_tiles(slide, target_mpp=1.03, tile_size_px=30)
    coords = np.array([[round(i * 30.9), 0] for i in range(5)], np.int64)
    boxes = cell_boxes(coords, geometry, 7.3)
    np.testing.assert_array_equal(boxes[1:, 0], boxes[:-1, 2])


def test_what_cannot_be_read_is_hatched_and_said(flat_slide):
    slide = flat_slide(np.full((300, 400, 3), PINK, np.uint8), mpp=1.0)
    unreadable = np.zeros((300, 400), bool)
    unreadable[100:200, 100:200] = True
    tile_set = tile_set_of(slide, [(80, 80), (240, 80), (240, 200)])

    def drawn(**damage):
        width = slide.level_dimensions[0][0]
        return tissue_overlay(slide.thumbnail(400), [], tile_set, level0_width=width, **damage)

    plain = drawn()
    np.testing.assert_array_equal(drawn(unreadable=unreadable & False), plain)
    hurt = drawn(unreadable=unreadable, unreadable_tiles=np.array([[240, 200]]))
    colours = {tuple(rgb) for rgb in hurt[unreadable].tolist()}
    assert colours == {DAMAGE_RGB, HATCH_RGB}
    tile = hurt[200:240, 240:280]
    assert 0.3 < (tile == HATCH_RGB).all(axis=2).mean() < 0.7, "the tile shows through"
    assert (hurt[85:115, 245:275] == plain[85:115, 245:275]).all(), "a good tile is as it was"
    changed = (hurt != plain).any(axis=2)
    assert changed[:20, :100].mean() > 0.5, "the word in the corner"

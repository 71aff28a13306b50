import dataclasses

import numpy as np
import pytest

from slidenet.core.errors import CoordinateError
from slidenet.visualisation.heatmaps.scales import scale_of
from slidenet.visualisation.heatmaps.views import FAINTEST, PAPER, paint_map, view_of


def test_a_view_shows_where_the_tiles_are(tile_map, maps_of):
    maps = maps_of(tile_map([1.0] * 6))
    overview = np.zeros((300, 500, 3), np.uint8)
    overview[..., 0] = np.arange(500) // 2  # columns tell their place: 4 level-0 pixels a step
    view = view_of(maps, overview)
    # Tiles cover 300 to 600 by 200 to 400; around them lies a tile's width.
    assert (view.left, view.top, view.width, view.height) == (200, 100, 500, 400)
    assert view.width_um == 250
    assert view.shape == view.picture.shape[:2]
    middle = view.picture[:, view.shape[1] // 2, 0]
    assert abs(int(middle[0]) - 450 // 4) <= 1


def test_a_view_ends_where_the_slide_does(tile_map, maps_of):
    geometry = dataclasses.replace(
        maps_of(tile_map([1.0])).geometry, level0_width=620, level0_height=480
    )
    view = view_of(maps_of(tile_map([1.0] * 6), geometry=geometry), None)
    assert (view.left + view.width, view.top + view.height) == (620, 480)


def test_tiles_lie_where_they_are_and_have_their_colours(tile_map, maps_of):
    one = tile_map([2.0, -2.0, 0.0, np.nan, 1.0, -1.0])
    maps, colours = maps_of(one), scale_of(one)
    view = view_of(maps, None)
    painted = paint_map(one, maps.coords, view, colours)
    expected = np.rint(colours.rgb(one.values) / np.float32(255) * PAPER)
    for number, (x, y) in enumerate(maps.coords):
        place = (np.array((y + 50, x + 50)) - (view.top, view.left)) * view.scale
        row, column = place.astype(int)
        square = painted[row - 20 : row + 20, column - 20 : column + 20]
        if number == 3:
            assert len(np.unique(square.reshape(-1, 3), axis=0)) == 2  # hatched
        else:
            assert np.abs(square - expected[number]).max() <= 1
    assert (painted[:5] == PAPER).all()


def test_the_slide_shows_through_and_white_stays_white(tile_map, maps_of):
    one = tile_map([2.0] * 6)
    overview = np.full((600, 1000, 3), 250, np.uint8)
    overview[:, :450] = 20
    maps = maps_of(one)
    view = view_of(maps, overview)
    painted = paint_map(one, maps.coords, view, scale_of(one))
    row = round((250 - view.top) * view.scale)
    dark, bright = (painted[row, round((x - view.left) * view.scale), :2] for x in (350, 550))
    assert dark / bright == pytest.approx([FAINTEST] * 2, rel=0.03)
    assert (painted[2, -2] == PAPER).all()


def test_marks_lie_in_the_middle_of_their_tiles(tile_map, maps_of):
    view = view_of(maps := maps_of(tile_map([1.0] * 6)), None)
    assert view.centres(maps.coords)[0] == pytest.approx([0.3, (500 - 250) / 500])


@pytest.mark.parametrize("frame", ["none", None])
def test_tiles_without_places_are_no_picture(tile_map, maps_of, frame):
    maps = maps_of(tile_map([1.0] if frame else []))
    if frame:
        maps = dataclasses.replace(
            maps, geometry=dataclasses.replace(maps.geometry, tile_frame=frame)
        )
    with pytest.raises(CoordinateError, match=r"'S1': (no tiles|tiles without places)"):
        view_of(maps, None)

import numpy as np
import pytest
import shapely

from slidenet.visualisation import draw_regions
from slidenet.visualisation.overlay.regions import REGION_COLOURS
from slidenet.visualisation.overlay.tissue import CONTOUR_RGB

GLASS = np.full((300, 400, 3), 244, np.uint8)
LEFT = shapely.MultiPolygon([shapely.box(200, 400, 1200, 2000), shapely.box(1600, 400, 1700, 500)])
RIGHT = shapely.box(2400, 400, 3800, 2600)


def colours_at(picture, row, column):
    """The darkest pixel around a place."""
    near = picture[row - 2 : row + 3, column - 2 : column + 3].reshape(-1, 3)
    return near[near.astype(int).sum(axis=1).argmin()]


def test_each_region_has_lines_in_its_colour_along_its_outline():
    picture = draw_regions(GLASS, [("Tumor", LEFT), ("Größe", RIGHT)], level0_width=4000)
    for column, colour in ((20, 0), (120, 0), (160, 0), (240, 1), (380, 1)):
        row = 45 if column == 160 else 120
        assert (
            np.abs(colours_at(picture, row, column) - np.array(REGION_COLOURS[colour])).max() < 90
        )
    np.testing.assert_array_equal(picture[100:180, 30:110], GLASS[100:180, 30:110])


def test_a_name_stands_above_its_largest_part():
    bare = draw_regions(GLASS, [("", LEFT), ("", RIGHT)], level0_width=4000)
    named = draw_regions(GLASS, [("Tumor", LEFT), ("Größe", RIGHT)], level0_width=4000)
    rows, columns = np.nonzero((bare != named).any(axis=2))
    assert rows.min() >= 18
    assert rows.max() <= 40
    for left, right in ((0, 140), (200, 400)):
        here = columns[(columns >= left) & (columns < right)]
        assert abs((here.min() + here.max()) / 2 - {0: 70, 200: 310}[left]) < 3


@pytest.mark.parametrize("box", [(0, 0, 400, 300), (3800, 0, 4000, 3000)])
def test_names_stay_in_the_picture(box):
    picture = draw_regions(GLASS, [("A rather long name", shapely.box(*box))], level0_width=4000)
    assert picture.shape == GLASS.shape
    assert (picture[2:20] != 244).any()


def test_no_regions_and_no_shared_colours():
    np.testing.assert_array_equal(draw_regions(GLASS, [], level0_width=4000), GLASS)
    apart = [np.abs(np.subtract(colour, CONTOUR_RGB)).max() for colour in REGION_COLOURS]
    assert min(apart) > 40

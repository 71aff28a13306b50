"""Shares of tiles in drawn regions, against numbers worked out by hand and against GEOS."""

import numpy as np
import pytest
import shapely

from slidenet.core.errors import SlideError
from slidenet.tiling import region_shares
from slidenet.tiling.region_shares import largest_shares, regions_of_tiles
from slidenet.tissue import ChosenRegions


def lattice(columns, rows, step, *, origin=(0, 0)):
    y, x = np.meshgrid(np.arange(rows) * step, np.arange(columns) * step, indexing="ij")
    return np.stack([x.ravel(), y.ravel()], axis=1).astype(np.int64) + np.array(origin)


def by_geos(shapes, coords, side):
    boxes = shapely.box(*coords.T, *(coords + side).T)
    return (
        np.stack([shapely.area(shapely.intersection(shape, boxes)) for shape in shapes]) / side**2
    )


def ragged(x, y, radius, *, corners, seed):
    """An outline like one drawn by hand, with a hole."""
    rng = np.random.default_rng(seed)
    angle = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    far = radius * (1 + 0.2 * np.sin(5 * angle) + 0.02 * rng.normal(size=corners))
    outline = np.stack([x + far * np.cos(angle), y + far * np.sin(angle)], axis=1)
    hole = shapely.Point(x + radius / 7, y).buffer(radius / 3)
    return shapely.difference(shapely.make_valid(shapely.Polygon(outline)), hole)


def test_by_hand():
    triangle = shapely.Polygon([(0, 0), (200, 0), (0, 200)])
    best, share = largest_shares([triangle], lattice(2, 2, 100), 100)
    assert best.tolist() == [0, 0, 0, -1]
    np.testing.assert_allclose(share, [1, 0.5, 0.5, 0], atol=1e-12)


def test_a_hole_does_not_count_whichever_way_its_ring_runs():
    for hole in (
        [(25, 25), (75, 25), (75, 75), (25, 75)],
        [(25, 25), (25, 75), (75, 75), (75, 25)],
    ):
        for shell in (
            [(0, 0), (100, 0), (100, 100), (0, 100)],
            [(0, 0), (0, 100), (100, 100), (100, 0)],
        ):
            share = largest_shares([shapely.Polygon(shell, [hole])], lattice(1, 1, 0), 100)[1]
            np.testing.assert_allclose(share, 0.75)


def test_the_larger_share_wins_and_the_first_of_equal_ones():
    left, right = shapely.box(0, 0, 60, 100), shapely.box(60, 0, 200, 100)
    best, share = largest_shares([left, right, right], lattice(2, 1, 100), 100)
    assert best.tolist() == [0, 1]
    np.testing.assert_allclose(share, [0.6, 1])


def test_edges_along_the_sides_of_tiles():
    best, share = largest_shares([shapely.box(100, 0, 200, 300)], lattice(3, 3, 100), 100)
    assert best.tolist() == [-1, 0, -1] * 3
    np.testing.assert_array_equal(share, [0, 1, 0] * 3)


@pytest.mark.parametrize(("step", "side"), [(97, 97.0), (50, 100.25), (130, 99.7)])
def test_as_geos_cuts_them(step, side, monkeypatch):
    coords = lattice(30, 25, step, origin=(13, 40))
    coords = coords[np.random.default_rng(0).random(len(coords)) < 0.7]
    shapes = [
        shapely.union_all([ragged(1300, 900, 800, corners=400, seed=1), shapely.box(0, 0, 5, 5)]),
        ragged(400, 2000, 500, corners=50, seed=2),
        shapely.box(-500, -500, 300, 9000),  # reaches beyond the slide
        shapely.box(2400, -500, 9000, 9000),
        shapely.box(1e6, 1e6, 2e6, 2e6),
    ]
    shares = by_geos(shapes, coords, side)
    wanted = np.where(shares.max(axis=0) > 1e-9, shares.round(9).argmax(axis=0), -1)
    for few in (False, True):  # the work in many groups gives the same
        if few:
            monkeypatch.setattr(region_shares, "MOST_CELLS", 100)
            monkeypatch.setattr(region_shares, "MOST_PIECES", 50)
        best, share = largest_shares(shapes, coords, side)
        np.testing.assert_array_equal(best, wanted)
        np.testing.assert_allclose(share, shares.max(axis=0), atol=1e-9)


def test_no_tiles():
    best, share = largest_shares([shapely.box(0, 0, 1, 1)], np.empty((0, 2), np.int64), 100)
    assert best.shape == share.shape == (0,)


def test_endless_outlines_are_refused_at_once(monkeypatch):
    regions = ChosenRegions(("T",), (shapely.box(0, 0, 300, 300),), "class", {})
    inside, found = regions_of_tiles(regions, lattice(3, 3, 100), 100, min_share=0.5)
    assert inside.all()
    assert found.counts() == {"T": 9}
    monkeypatch.setattr(region_shares, "MOST_LENGTH", 11)
    with pytest.raises(SlideError, match=r"run along 12 sides of tiles; expected at most 11"):
        regions_of_tiles(regions, lattice(3, 3, 100), 100, min_share=0.5)

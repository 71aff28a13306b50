"""How much of every tile lies in which drawn region: exact areas of polygons in squares.

The sides of all tiles divide the slide into cells. An edge of a polygon is cut where it crosses
from cell to cell; a piece of it adds to its own cell the area between it and the cell's left side,
and to every cell left of it a full width, with the sign of its direction (as font renderers fill
outlines). The work grows with corners and crossings, not with corners times tiles.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import shapely
from shapely.geometry.base import BaseGeometry

from slidenet.core.arrays import BoolArray, Float64Array, IntArray
from slidenet.core.errors import SlideError
from slidenet.core.records import TileRegions
from slidenet.tissue import ChosenRegions

MOST_CELLS = 2**22
MOST_PIECES = 2**20
"""Tiles and edges are taken in groups of about this many, so that memory stays small."""

MOST_LENGTH = 10_000_000
"""Sides of a tile; all sides of all tiles of the largest slides are fewer."""

LEAST_SHARE = 1e-9
"""Smaller shares, and smaller differences between shares, are rounding and count as none."""

Edges = Float64Array
"""(E, 4): x and y of the start, x and y of the end; the inside is on the same hand of all."""


def regions_of_tiles(
    regions: ChosenRegions, coords: IntArray, side: float, *, min_share: float
) -> tuple[BoolArray, TileRegions]:
    """Which tiles lie enough in a region, and in which one these lie most.

    Args:
        regions: The regions of the slide.
        coords: int64 (N, 2), (x, y) top-left corners, level-0 pixels.
        side: Side of a tile in level-0 pixels; may be fractional.
        min_share: Least share of a tile that lies in one region.

    Returns:
        bool (N,), and the regions of the tiles where it is True.

    Raises:
        SlideError: The outlines are so long that following them would take minutes.
    """
    length = shapely.length(np.array(regions.shapes, dtype=object)).sum() / side
    if length > MOST_LENGTH:
        raise SlideError(
            f"the outlines of the regions run along {length:,.0f} sides of tiles",
            expected=f"at most {MOST_LENGTH:,}",
            remedy="simplify them in QuPath with Objects > Annotations... > Simplify shape",
        )
    best, exact = largest_shares(regions.shapes, coords, side)
    share: npt.NDArray[np.float32] = exact.astype(np.float32)
    inside = (share >= np.float32(min_share)) & (best >= 0)
    found = TileRegions(regions.names, best[inside].astype(np.uint16), share[inside], regions.by)
    return inside, found


def largest_shares(
    shapes: Sequence[BaseGeometry], coords: IntArray, side: float
) -> tuple[npt.NDArray[np.int64], Float64Array]:
    """The region that has the largest share of every tile, and that share.

    Args:
        shapes: One valid polygon or multipolygon per region, level-0 pixels.
        coords: int64 (N, 2), (x, y) top-left corners, level-0 pixels.
        side: Side of a tile in level-0 pixels; may be fractional.

    Returns:
        int64 (N,), place in `shapes`, -1 where a tile touches none; of equal shares the first one
        counts. float64 (N,), the share of the tile's area, in [0, 1].
    """
    best = np.full(len(coords), -1, np.int64)
    share = np.zeros(len(coords))
    if not len(coords):
        return best, share
    corners = coords.astype(np.float64)
    tree = shapely.STRtree(shapely.box(*corners.T, *(corners + side).T))
    for region, shape in enumerate(shapes):
        near = np.sort(tree.query(shape))
        if not len(near):
            continue
        found = np.minimum(_areas(_edges(shape), corners[near], side) / side**2, 1.0)
        larger = found > share[near] + LEAST_SHARE
        best[near[larger]] = region
        share[near[larger]] = found[larger]
    return best, share


def _edges(shape: BaseGeometry) -> Edges:
    """Edges of all rings, shells one way round and holes the other."""
    rings, part = shapely.get_rings(shapely.get_parts(shape), return_index=True)
    hole = np.diff(part, prepend=-1) == 0  # the first ring of a part is its shell
    points, ring = shapely.get_coordinates(rings, return_index=True)
    same = ring[1:] == ring[:-1]
    edges: Edges = np.concatenate([points[:-1], points[1:]], axis=1)[same]
    turned = (shapely.is_ccw(rings) == hole)[ring[1:][same]]
    edges[turned] = edges[turned][:, [2, 3, 0, 1]]
    return edges


def _areas(edges: Edges, corners: Float64Array, side: float) -> Float64Array:
    """Area inside the edges of every tile (N,)."""
    lines = [np.unique(np.concatenate([starts, starts + side])) for starts in corners.T]
    if (len(lines[0]) - 1) * (len(lines[1]) - 1) > MOST_CELLS and len(corners) > 1:
        order = np.argsort(corners[:, 1], kind="stable")
        areas = np.empty(len(corners))
        for half in np.array_split(order, 2):
            areas[half] = _areas(edges, corners[half], side)
        return areas
    sums = np.zeros((len(lines[1]), len(lines[0])))
    sums[1:, 1:] = _cell_areas(edges, *lines).cumsum(axis=0).cumsum(axis=1)
    left, top = (np.searchsorted(line, start) for line, start in zip(lines, corners.T, strict=True))
    right, bottom = (
        np.searchsorted(line, start + side) for line, start in zip(lines, corners.T, strict=True)
    )
    return np.asarray(sums[bottom, right] - sums[bottom, left] - sums[top, right] + sums[top, left])


def _cell_areas(edges: Edges, xs: Float64Array, ys: Float64Array) -> Float64Array:
    """Area inside the edges of every cell between lines xs and ys: (len(ys) - 1, len(xs) - 1)."""
    shape = (len(ys) - 1, len(xs))
    own, cover = np.zeros((2, shape[0] * shape[1]))
    low, high = np.minimum(edges[:, 1], edges[:, 3]), np.maximum(edges[:, 1], edges[:, 3])
    rightmost = np.maximum(edges[:, 0], edges[:, 2])
    matter = (low < ys[-1]) & (high > ys[0]) & (low < high) & (rightmost > xs[0])
    edges = edges[matter]
    crossings = sum(_crossed(edges[:, axis::2], line)[1] for axis, line in enumerate((xs, ys)))
    groups = np.cumsum(crossings + 1) // MOST_PIECES
    for group in np.split(edges, np.flatnonzero(np.diff(groups)) + 1):
        start, end = _pieces(group, xs, ys)
        middle = (start + end) / 2
        column = np.searchsorted(xs, middle[:, 0], side="right") - 1
        row = np.searchsorted(ys, middle[:, 1], side="right") - 1
        inside = (column >= 0) & (row >= 0) & (row < shape[0])
        cell = (row * shape[1] + column)[inside]
        height = (end[:, 1] - start[:, 1])[inside]
        cover += np.bincount(cell, height, len(cover))
        width = (middle[:, 0] - xs[column])[inside]
        own += np.bincount(cell, height * width, len(own))
    # A piece right of the last line is in the last column, which is no cell.
    to_the_right = np.cumsum(cover.reshape(shape)[:, :0:-1], axis=1)[:, ::-1]
    return np.asarray(own.reshape(shape)[:, :-1] + to_the_right * np.diff(xs))


def _pieces(edges: Edges, xs: Float64Array, ys: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Start and end (P, 2) of the pieces between crossings of lines."""
    edge = [np.arange(len(edges)), np.arange(len(edges))]
    place = [np.zeros(len(edges)), np.ones(len(edges))]
    for axis, line in enumerate((xs, ys)):
        first, count = _crossed(edges[:, axis::2], line)
        which = np.repeat(np.arange(len(edges)), count)
        crossed = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + first[which]
        begin, end = edges[which, axis], edges[which, axis + 2]
        edge.append(which)
        place.append((line[crossed] - begin) / (end - begin))
    edges_of, places = np.concatenate(edge), np.concatenate(place)
    order = np.lexsort((places, edges_of))
    edges_of, places = edges_of[order], places[order, None]
    points = edges[edges_of, :2] * (1 - places) + edges[edges_of, 2:] * places
    same = edges_of[1:] == edges_of[:-1]
    return points[:-1][same], points[1:][same]


def _crossed(
    ends: Float64Array, lines: Float64Array
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """The first line strictly between the ends (E, 2) of every edge, and how many there are."""
    first = np.searchsorted(lines, ends.min(axis=1), side="right")
    stop = np.searchsorted(lines, ends.max(axis=1), side="left")
    return first, np.maximum(stop - first, 0)

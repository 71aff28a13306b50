"""Masks to polygons and back, exact to the mask pixel.

A polygon runs along the *edges* of mask pixels, and a pixel belongs to a polygon when its centre
lies inside, so mask -> polygons -> mask is the identity.
"""

from collections.abc import Iterable, Iterator

import cv2
import numpy as np
import numpy.typing as npt
import shapely
from shapely.geometry import Polygon

from slidenet.core.arrays import BoolArray, Float64Array
from slidenet.tissue.tissue import Tissue

BLOCK_CROSSINGS = 2**18
"""How many crossings of outlines with rows are worked on at once."""


def tissue_polygons(tissue: Tissue) -> list[Polygon]:
    """Outlines of the tissue with their holes.

    Returns:
        Valid polygons in level-0 pixels, largest first; empty for an empty mask.
    """
    shapes: list[Polygon] = []
    for shell, holes in _outlines(tissue.mask):
        outline = Polygon(shell, holes)
        # An outline that touches itself in a corner is no valid polygon; this takes it apart there.
        sound = outline if outline.is_valid else outline.buffer(0)
        shapes += shapely.get_parts(sound).tolist()
    scaled = [shapely.transform(shape, lambda xy: xy * tissue.downsample_xy) for shape in shapes]
    return sorted(scaled, key=lambda shape: (-shape.area, shape.bounds))


def rasterize(
    polygons: Iterable[Polygon], *, shape: tuple[int, int], downsample_xy: tuple[float, float]
) -> BoolArray:
    """The pixels whose centres lie inside any of the polygons.

    A scanline fill by winding number: every edge adds its direction where it crosses the centre
    line of a row, and the running sum along the row is the number of polygons around the pixel.
    Exact where drawing routines thicken outlines, and overlapping polygons need no union.

    Args:
        polygons: Valid polygons, level-0 pixels; parts outside the picture are cut off.
        shape: (h, w) of the mask.
        downsample_xy: Level-0 pixels per mask pixel, (x, y).

    Returns:
        bool (h, w).
    """
    height, width = shape
    winding = np.zeros((height, width + 1), dtype=np.int32)
    for polygon in polygons:
        for number, ring in enumerate((polygon.exterior, *polygon.interiors)):
            # Left edges of shells run towards larger y, those of holes the other way.
            right_way = ring.is_ccw == (number > 0)
            points = shapely.get_coordinates(ring)[:: 1 if right_way else -1]
            points = points / np.array(downsample_xy)
            for rows, crossings, directions in _row_crossings(points[:-1], points[1:], height):
                columns = np.clip(np.ceil(crossings - 0.5), 0, width).astype(np.intp)
                np.add.at(winding, (rows, columns), directions)
    return np.cumsum(winding, axis=1, out=winding)[:, :width] > 0


def _outlines(mask: BoolArray) -> list[tuple[Float64Array, list[Float64Array]]]:
    """Shell and holes of every piece, along pixel edges, in mask pixels.

    OpenCV follows pixel centres. On the mask doubled in size the centre 2k is the near and 2k + 1
    the far half of pixel k, so (c + 1) // 2 is the pixel edge the contour passes; at inner
    corners, which OpenCV cuts, both ends of the cut map to the corner itself.
    """
    doubled = np.repeat(np.repeat(mask.astype(np.uint8), 2, axis=0), 2, axis=1)
    contours, hierarchy = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:
        return []
    edges: list[Float64Array] = []
    for contour in contours:
        ring = ((np.asarray(contour).reshape(-1, 2) + 1) // 2).astype(np.float64)
        edges.append(ring[(ring != np.roll(ring, 1, axis=0)).any(axis=1)])
    parents = np.asarray(hierarchy).reshape(-1, 4)[:, 3]
    pieces: dict[int, tuple[Float64Array, list[Float64Array]]] = {
        index: (edges[index], []) for index in np.flatnonzero(parents < 0).tolist()
    }
    for hole in np.flatnonzero(parents >= 0):
        pieces[int(parents[hole])][1].append(edges[hole])
    return list(pieces.values())


def _row_crossings(
    start: Float64Array, end: Float64Array, height: int
) -> Iterator[tuple[npt.NDArray[np.intp], Float64Array, npt.NDArray[np.int32]]]:
    """Row, x and direction (+1 or -1) of every crossing of an edge with a row's centre line.

    In blocks, so that memory does not grow with the length of the outline.
    """
    low, high = np.minimum(start[:, 1], end[:, 1]), np.maximum(start[:, 1], end[:, 1])
    # Half-open in y, so that a corner on a centre line counts once.
    first = np.clip(np.ceil(low - 0.5), 0, height).astype(np.intp)
    stop = np.clip(np.ceil(high - 0.5), 0, height).astype(np.intp)
    count = stop - first
    block = np.cumsum(count) // BLOCK_CROSSINGS
    for edges in np.split(np.arange(len(start)), np.flatnonzero(np.diff(block)) + 1):
        edge = np.repeat(edges, count[edges])
        before = np.repeat(np.cumsum(count[edges]) - count[edges], count[edges])
        rows = np.arange(len(edge)) - before + first[edge]
        slope = (rows + 0.5 - start[edge, 1]) / (end[edge, 1] - start[edge, 1])
        crossings = start[edge, 0] + slope * (end[edge, 0] - start[edge, 0])
        yield rows, crossings, np.where(end[edge, 1] > start[edge, 1], 1, -1).astype(np.int32)

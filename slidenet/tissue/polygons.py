"""Masks to polygons and back, exact to the mask pixel.

A polygon runs along the *edges* of mask pixels, and a pixel belongs to a polygon when its centre
lies inside, so mask -> polygons -> mask is the identity.
"""

from collections.abc import Iterable

import cv2
import numpy as np
import numpy.typing as npt
import shapely
from shapely.geometry import Polygon

from slidenet.tissue.cleaning import BoolArray
from slidenet.tissue.tissue import Tissue

FloatArray = npt.NDArray[np.float64]


def tissue_polygons(tissue: Tissue) -> list[Polygon]:
    """Outlines of the tissue with their holes.

    Returns:
        Valid polygons in level-0 pixels, largest first; empty for an empty mask.
    """
    shapes: list[Polygon] = []
    for shell, holes in _outlines(tissue.mask):
        scale = np.array(tissue.downsample_xy)
        outline = Polygon(shell * scale, [hole * scale for hole in holes])
        shapes += _valid_parts(outline)
    return sorted(shapes, key=lambda shape: (-shape.area, shape.bounds))


def rasterize(
    polygons: Iterable[Polygon], *, shape: tuple[int, int], downsample_xy: tuple[float, float]
) -> BoolArray:
    """The pixels whose centres lie inside any of the polygons.

    An even-odd scanline fill: every edge toggles its crossing of each row's centre line, and the
    running parity along the row is the inside. Exact where drawing routines thicken outlines.

    Args:
        polygons: Valid polygons, level-0 pixels; parts outside the picture are cut off.
        shape: (h, w) of the mask.
        downsample_xy: Level-0 pixels per mask pixel, (x, y).

    Returns:
        bool (h, w).
    """
    height, width = shape
    toggles = np.zeros((height, width + 1), dtype=np.uint8)
    for ring in _rings(shapely.union_all(list(polygons))):
        points = ring / np.array(downsample_xy)
        rows, crossings = _row_crossings(points[:-1], points[1:], height)
        columns = np.clip(np.ceil(crossings - 0.5), 0, width).astype(np.intp)
        np.bitwise_xor.at(toggles, (rows, columns), 1)
    return np.bitwise_xor.accumulate(toggles, axis=1)[:, :width].astype(np.bool_)


def _outlines(mask: BoolArray) -> list[tuple[FloatArray, list[FloatArray]]]:
    """Shell and holes of every piece, along pixel edges, in mask pixels.

    OpenCV follows pixel centres. On the mask doubled in size the centre 2k is the near and 2k + 1
    the far half of pixel k, so (c + 1) // 2 is the pixel edge the contour passes; at inner
    corners, which OpenCV cuts, both ends of the cut map to the corner itself.
    """
    doubled = np.repeat(np.repeat(mask.astype(np.uint8), 2, axis=0), 2, axis=1)
    contours, hierarchy = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:
        return []
    edges = [(np.asarray(c, np.int64).reshape(-1, 2) + 1) // 2 for c in contours]
    parents = np.asarray(hierarchy).reshape(-1, 4)[:, 3]
    pieces: dict[int, tuple[FloatArray, list[FloatArray]]] = {
        index: (edges[index].astype(np.float64), [])
        for index in np.flatnonzero(parents < 0).tolist()
    }
    for hole in np.flatnonzero(parents >= 0):
        pieces[int(parents[hole])][1].append(edges[hole].astype(np.float64))
    return list(pieces.values())


def _valid_parts(outline: Polygon) -> list[Polygon]:
    """Splits outlines that touch themselves in a corner, and drops points on straight lines."""
    sound = outline if outline.is_valid else shapely.make_valid(outline)
    parts = shapely.get_parts(sound.simplify(0))
    return [part for part in parts if isinstance(part, Polygon)]


def _rings(geometry: shapely.Geometry) -> list[FloatArray]:
    rings = []
    for part in shapely.get_parts(geometry):
        if isinstance(part, Polygon) and not part.is_empty:
            rings += [shapely.get_coordinates(r) for r in (part.exterior, *part.interiors)]
    return rings


def _row_crossings(
    start: FloatArray, end: FloatArray, height: int
) -> tuple[npt.NDArray[np.intp], FloatArray]:
    """Rows whose centre line each edge crosses, and the x of every crossing."""
    low, high = np.minimum(start[:, 1], end[:, 1]), np.maximum(start[:, 1], end[:, 1])
    # Half-open in y, so that a corner on a centre line counts once.
    first = np.clip(np.ceil(low - 0.5), 0, height).astype(np.intp)
    stop = np.clip(np.ceil(high - 0.5), 0, height).astype(np.intp)
    count = stop - first
    edge = np.repeat(np.arange(len(start)), count)
    rows = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + first[edge]
    slope = (rows + 0.5 - start[edge, 1]) / (end[edge, 1] - start[edge, 1])
    return rows, start[edge, 0] + slope * (end[edge, 0] - start[edge, 0])

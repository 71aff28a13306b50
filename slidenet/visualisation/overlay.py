"""The slide with its tissue outlines and tile grid drawn on it."""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt
import shapely
from shapely.geometry import Polygon

from slidenet.core.arrays import BoolArray, Float64Array, UInt8Array
from slidenet.core.records import TileGeometry, TileSet
from slidenet.visualisation.damage import fill_unreadable, hatch_boxes, label_unreadable

CONTOUR_RGB = (0, 118, 112)
HALO_RGB = (255, 255, 255)
LINE_PER_PX = 800
"""Outlines are one pixel wide per this many pixels of the picture's longer side."""

GRID_RGB = (28, 34, 52)
GRID_OPACITY = 0.38
VEIL = 0.55
"""How far pixels outside every tile fade towards white."""

MIN_GRID_CELL_PX = 6
"""Cells smaller than this in the picture get no lines, which would cover the tissue."""

MIN_RING_PX = 6
"""Outlines and holes smaller than this in the picture are left out; they would be blots."""

MAX_STAIR_PX = 20
"""Outlines whose shortest edge is longer than this are no stairs but corners, and stay sharp."""

_SUBPIXEL_BITS = 4


def tissue_overlay(
    picture: UInt8Array,
    polygons: Sequence[Polygon],
    tile_set: TileSet | None = None,
    *,
    level0_width: int,
    unreadable: BoolArray | None = None,
    unreadable_tiles: npt.NDArray[np.int64] | None = None,
) -> UInt8Array:
    """The slide with tissue outlines and, where given, its tiles drawn on it.

    What lies outside every tile fades, so the eye sees at once what the encoder will see.

    Args:
        picture: uint8 RGB (h, w, 3), the whole slide (`Slide.thumbnail`).
        polygons: Tissue outlines, level-0 pixels.
        tile_set: Tiles to draw; None draws the outlines only.
        level0_width: Width of the slide, level-0 pixels.
        unreadable: bool (h, w), True where the picture could not be read; hatched.
        unreadable_tiles: int64 (N, 2), corners of those tiles of `tile_set` that are known not to
            be readable, level-0 pixels; hatched too.

    Returns:
        uint8 RGB (h, w, 3), a new picture.
    """
    scale = picture.shape[1] / level0_width
    if tile_set is not None:
        boxes = cell_boxes(tile_set.coords, tile_set.geometry, scale, overlap=True)
        picture = _with_tiles(picture, boxes)
    damaged = unreadable is not None and bool(unreadable.any())
    if unreadable is not None and damaged:
        picture = fill_unreadable(picture, unreadable)
    if tile_set is not None and unreadable_tiles is not None and len(unreadable_tiles):
        hurt = cell_boxes(unreadable_tiles, tile_set.geometry, scale, overlap=True)
        picture, damaged = hatch_boxes(picture, hurt), True
    picture = _with_contours(picture, polygons, scale)
    return label_unreadable(picture) if damaged else picture


def cell_boxes(
    coords: npt.NDArray[np.int64], geometry: TileGeometry, scale: float, *, overlap: bool = False
) -> npt.NDArray[np.intp]:
    """Where tiles lie in a picture, as (left, top, right, bottom), right and bottom excluded.

    Args:
        coords: int64 (N, 2), level-0 pixels.
        geometry: Sizes of the tiles.
        scale: Picture pixels per level-0 pixel.
        overlap: Whole tiles; otherwise, where tiles overlap, only the middle of one stride, so
            that neighbours share the picture fairly.

    Returns:
        (N, 4); every box is at least one pixel wide and high.
    """
    side = geometry.tile_size_px * geometry.scale
    cell = side if overlap else min(side, geometry.stride_level0)
    # Coordinates are rounded to whole pixels; on the exact lattice neighbours share their edge.
    exact = np.rint(coords / geometry.stride_level0) * geometry.stride_level0
    start = np.where(np.abs(exact - coords) <= 1, exact, coords)
    near = start + (side - cell) / 2
    low = np.rint(near * scale).astype(np.intp)
    high = np.maximum(np.rint((near + cell) * scale).astype(np.intp), low + 1)
    return np.concatenate([low, high], axis=1)


def _with_tiles(image: UInt8Array, boxes: npt.NDArray[np.intp]) -> UInt8Array:
    """The picture with a veil over what lies outside every box, and a line around each box."""
    inside = np.zeros(image.shape[:2], dtype=np.bool_)
    for left, top, right, bottom in boxes:
        inside[top:bottom, left:right] = True
    outside = image[~inside]
    veiled = image.copy()
    veiled[~inside] = np.rint(outside + (255 - outside.astype(np.float32)) * VEIL)
    if not len(boxes) or (boxes[:, 2] - boxes[:, 0]).min() < MIN_GRID_CELL_PX:
        return veiled
    lines = np.zeros(image.shape[:2], dtype=np.uint8)
    for left, top, right, bottom in boxes.tolist():
        # A neighbour's left edge is this tile's right edge: one line between two tiles.
        cv2.rectangle(lines, (left, top), (right, bottom), 255, 1)
    return _blend(veiled, lines, GRID_RGB, GRID_OPACITY)


def _with_contours(image: UInt8Array, polygons: Sequence[Polygon], scale: float) -> UInt8Array:
    rings = [
        shapely.get_coordinates(ring) * scale
        for polygon in polygons
        for ring in (polygon.exterior, *polygon.interiors)
    ]
    rings = [ring for ring in rings if np.ptp(ring, axis=0).max() >= MIN_RING_PX]
    if not rings:
        return image
    # Outlines of masks are stairs one mask pixel high; in the picture they should flow.
    stair = min(np.hypot(*np.diff(ring, axis=0).T).min() for ring in rings)
    drawn = rings
    if stair <= MAX_STAIR_PX:
        drawn = [_smoothed(ring, window=round(3 * stair)) for ring in rings]
    fixed_point = [np.rint((r - 0.5) * 2**_SUBPIXEL_BITS).astype(np.int32) for r in drawn]
    width = max(1, round(max(image.shape) / LINE_PER_PX))
    for color, opacity, thickness in ((HALO_RGB, 0.6, width + 2), (CONTOUR_RGB, 1.0, width)):
        lines = np.zeros(image.shape[:2], dtype=np.uint8)
        cv2.polylines(lines, fixed_point, True, 255, thickness, cv2.LINE_AA, _SUBPIXEL_BITS)
        image = _blend(image, lines, color, opacity)
    return image


def _smoothed(ring: Float64Array, *, window: int) -> Float64Array:
    """The closed ring in steps of a pixel, each point the mean of its `window` neighbours."""
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(ring, axis=0).T))])
    steps = np.arange(0.0, along[-1], 1.0)
    even = np.stack([np.interp(steps, along, ring[:, axis]) for axis in (0, 1)], axis=1)
    window = min(window, len(even) // 4)
    if window < 2:
        return ring
    wrapped = np.concatenate([even[-(window // 2) :], even, even[: window - 1 - window // 2]])
    kernel = np.full(window, 1 / window)
    return np.stack([np.convolve(wrapped[:, axis], kernel, "valid") for axis in (0, 1)], axis=1)


def _blend(
    image: UInt8Array, coverage: UInt8Array, color: tuple[int, int, int], opacity: float
) -> UInt8Array:
    covered = coverage > 0  # lines are a small part of a picture
    alpha = coverage[covered, None].astype(np.float32) * (opacity / 255)
    mixed = image[covered] * (1 - alpha) + np.array(color, np.float32) * alpha
    blended = image.copy()
    blended[covered] = np.rint(mixed)
    return blended

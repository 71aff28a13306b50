"""Outlines of polygons drawn on a picture, with a halo so that they show on any stain."""

from collections.abc import Sequence

import cv2
import numpy as np
import shapely
from shapely.geometry import Polygon

from slidenet.core.arrays import Float64Array, UInt8Array

HALO_RGB = (255, 255, 255)
LINE_PER_PX = 800
"""Outlines are one pixel wide per this many pixels of the picture's longer side."""

MIN_RING_PX = 6
"""Outlines and holes smaller than this in the picture are left out; they would be blots."""

MAX_STAIR_PX = 20
"""Outlines whose shortest edge is longer than this are no stairs but corners, and stay sharp."""

_SUBPIXEL_BITS = 4


def draw_outlines(
    image: UInt8Array,
    polygons: Sequence[Polygon],
    scale: float,
    color: tuple[int, int, int],
    *,
    flow: bool = True,
    thicker: int = 0,
) -> UInt8Array:
    """The picture with the outlines of polygons, their holes included.

    Args:
        image: uint8 RGB (h, w, 3).
        polygons: Level-0 pixels.
        scale: Picture pixels per level-0 pixel.
        color: (r, g, b) of the lines.
        flow: Whether outlines of masks, which are stairs, become smooth lines.
        thicker: Added to the width of the lines, pixels.
    """
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
    if flow and stair <= MAX_STAIR_PX:
        drawn = [_smoothed(ring, window=round(3 * stair)) for ring in rings]
    fixed_point = [np.rint((r - 0.5) * 2**_SUBPIXEL_BITS).astype(np.int32) for r in drawn]
    width = max(1, round(max(image.shape) / LINE_PER_PX)) + thicker
    for rgb, opacity, thickness in ((HALO_RGB, 0.6, width + 2), (color, 1.0, width)):
        lines = np.zeros(image.shape[:2], dtype=np.uint8)
        cv2.polylines(lines, fixed_point, True, 255, thickness, cv2.LINE_AA, _SUBPIXEL_BITS)
        image = blend(image, lines, rgb, opacity)
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


def blend(
    image: UInt8Array, coverage: UInt8Array, color: tuple[int, int, int], opacity: float
) -> UInt8Array:
    """The picture with a colour where lines cover it (0 to 255), as strongly as they do."""
    covered = coverage > 0  # lines are a small part of a picture
    alpha = coverage[covered, None].astype(np.float32) * (opacity / 255)
    mixed = image[covered] * (1 - alpha) + np.array(color, np.float32) * alpha
    blended = image.copy()
    blended[covered] = np.rint(mixed)
    return blended

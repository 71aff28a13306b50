"""The slide with its tissue outlines and tile grid drawn on it."""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt
from shapely.geometry import Polygon

from slidenet.core.arrays import BoolArray, UInt8Array
from slidenet.core.records import TileGeometry, TileSet
from slidenet.tissue import Reason, rasterize
from slidenet.visualisation.overlay.damage import (
    UNREADABLE_WORDS,
    draw_legend,
    fill_unreadable,
    hatch_boxes,
)
from slidenet.visualisation.overlay.outlines import blend, draw_outlines
from slidenet.visualisation.overlay.reasons import REASON_RGB, tint_reasons

CONTOUR_RGB = (0, 118, 112)
GRID_RGB = (28, 34, 52)
LIGHT_GRID_RGB = (226, 232, 245)
"""Of tiles that are mostly dark (fluorescence), where a dark line would not be seen."""
DARK_LEVEL = 90
"""Tiles are dark whose median pixel has no channel above this."""
GRID_OPACITY = 0.38
VEIL = 0.55
"""How far pixels outside every tile fade towards white."""

MIN_GRID_CELL_PX = 6
"""Cells smaller than this in the picture get no lines, which would cover the tissue."""


def tissue_overlay(
    picture: UInt8Array,
    polygons: Sequence[Polygon],
    tile_set: TileSet | None = None,
    *,
    level0_width: int,
    unreadable: BoolArray | None = None,
    unreadable_tiles: npt.NDArray[np.int64] | None = None,
    reasons: UInt8Array | None = None,
    drawn_out: Sequence[Polygon] = (),
) -> UInt8Array:
    """The slide with tissue outlines and, where given, its tiles drawn on it.

    What lies outside every tile fades, so the eye sees at once what the encoder will see. What was
    dropped is tinted by its reason; a box in the emptiest corner says what colours are.

    Args:
        picture: uint8 RGB (h, w, 3), the whole slide (`Slide.thumbnail`).
        polygons: Tissue outlines, level-0 pixels.
        tile_set: Tiles to draw; None draws the outlines only.
        level0_width: Width of the slide, level-0 pixels.
        unreadable: bool (h, w), True where the picture could not be read; hatched.
        unreadable_tiles: int64 (N, 2), corners of those tiles of `tile_set` that are known not to
            be readable, level-0 pixels; hatched too.
        reasons: uint8 of any size that covers the slide, codes of `tissue.Reason`.
        drawn_out: What a person drew out, level-0 pixels: outlined, also where it is no tissue.

    Returns:
        uint8 RGB (h, w, 3), a new picture.
    """
    scale = picture.shape[1] / level0_width
    if tile_set is not None:
        boxes = cell_boxes(tile_set.coords, tile_set.geometry, scale, overlap=True)
        picture = _with_tiles(picture, boxes)
    legend: list[tuple[str, tuple[int, int, int] | None]] = []
    if reasons is not None:
        picture, colours = tint_reasons(picture, reasons)
        legend += colours
    damaged = unreadable is not None and bool(unreadable.any())
    if unreadable is not None and damaged:
        picture = fill_unreadable(picture, unreadable)
    if tile_set is not None and unreadable_tiles is not None and len(unreadable_tiles):
        hurt = cell_boxes(unreadable_tiles, tile_set.geometry, scale, overlap=True)
        picture, damaged = hatch_boxes(picture, hurt), True
    picture = draw_outlines(picture, polygons, scale, CONTOUR_RGB)
    if drawn_out:
        rgb = REASON_RGB[Reason.EXCLUDED]
        picture = draw_outlines(picture, drawn_out, scale, rgb, flow=False)
        legend = list(dict.fromkeys([*legend, (Reason.EXCLUDED.words, rgb)]))
    if damaged:
        legend.insert(0, (UNREADABLE_WORDS, None))
    if not legend:
        return picture
    height, width = picture.shape[:2]
    tissue = rasterize(polygons, shape=(height, width), downsample_xy=(1 / scale, 1 / scale))
    return draw_legend(picture, legend, avoid=tissue)


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
    levels = np.arange(256, dtype=np.float32)
    veil = np.rint(levels + (255 - levels) * VEIL).astype(np.uint8)
    veiled = cv2.LUT(image, veil).astype(np.uint8, copy=False)
    np.copyto(veiled, image, where=inside[..., None])
    if not len(boxes) or (boxes[:, 2] - boxes[:, 0]).min() < MIN_GRID_CELL_PX:
        return veiled
    lines = np.zeros(image.shape[:2], dtype=np.uint8)
    for left, top, right, bottom in boxes.tolist():
        # A neighbour's left edge is this tile's right edge: one line between two tiles.
        cv2.rectangle(lines, (left, top), (right, bottom), 255, 1)
    dark = np.median(image[inside].max(axis=1)) <= DARK_LEVEL
    return blend(veiled, lines, LIGHT_GRID_RGB if dark else GRID_RGB, GRID_OPACITY)

"""A slide's tiles as a picture that is painted strip by strip, at any level of a pyramid.

Level 0 of the picture is a whole power of two coarser than the slide's, so that a tile is some
pixels wide and no more: a map says nothing finer than its tiles. Each smaller level is the average
of the painted level 0, of which one strip is in memory at a time.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from slidenet.core.arrays import IntArray, UInt8Array
from slidenet.core.errors import CoordinateError
from slidenet.core.units import Mpp
from slidenet.stores.tile_maps import TileMaps
from slidenet.visualisation.overlay import cell_boxes

FILE_TILE_PX = 256
PX_PER_TILE = 16
"""Least number of canvas pixels across a tile, where the slide has as many."""
MAX_SIDE_PX = 16384
SMALLEST_LEVEL_PX = 512
PAPER = 255.0

Area = tuple[int, int, int, int]
Pixels = npt.NDArray[np.float32]
Painter = Callable[[int, int], Pixels]
"""From the first row and the row after the last, on level 0, to float32 (rows, width, channels);
NaN where nothing is."""


@dataclass(frozen=True, slots=True)
class Canvas:
    """The picture that a map is painted on.

    Attributes:
        area: (x, y, width, height) of the slide that it shows, level-0 pixels.
        downsample: Level-0 pixels per pixel of the canvas, a power of two.
        slide_mpp: Microns per pixel of the slide's level 0.
    """

    area: Area
    downsample: int
    slide_mpp: Mpp

    @property
    def mpp(self) -> Mpp:
        """Microns per pixel of the canvas."""
        return Mpp(self.slide_mpp * self.downsample)

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """(width, height) of each level, largest first, halved down to 512 pixels."""
        _, _, width, height = self.area
        sizes = [(-(-width // self.downsample), -(-height // self.downsample))]
        while max(sizes[-1]) > SMALLEST_LEVEL_PX and min(sizes[-1]) > 1:
            sizes.append((sizes[-1][0] // 2, sizes[-1][1] // 2))
        return sizes

    def boxes(self, maps: TileMaps) -> IntArray:
        """Where the tiles lie: (N, 4), (left, top, right, bottom), canvas pixels."""
        shift = np.array(self.area[:2] * 2, np.float64) / self.downsample
        boxes = cell_boxes(maps.coords, maps.geometry, 1 / self.downsample)
        return np.asarray(boxes - np.rint(shift), np.int64)

    def tiles(self, level: int, paint: Painter, dtype: npt.DTypeLike) -> Iterator[npt.NDArray]:
        """The file's own tiles of one level, row by row: (256, 256, channels), 0 past the edge."""
        width, height = self.sizes[level]
        shrink = 2**level
        for top in range(0, height, FILE_TILE_PX):
            rows = min(FILE_TILE_PX, height - top)
            strip = _shrunk(paint, top, rows, width, shrink)
            if np.issubdtype(dtype, np.integer):
                strip = np.rint(strip)
            for left in range(0, width, FILE_TILE_PX):
                part = strip[:, left : left + FILE_TILE_PX]
                tile = np.zeros((FILE_TILE_PX, FILE_TILE_PX, strip.shape[2]), dtype)
                tile[: part.shape[0], : part.shape[1]] = part
                yield tile


def canvas_of(maps: TileMaps, area: Area | None) -> Canvas:
    """The canvas for the tiles of a slide.

    Args:
        maps: The maps, with places.
        area: (x, y, width, height) of what it shall show, level-0 pixels; None or without extent:
            the whole slide.

    Raises:
        CoordinateError: The area lies beyond the slide.
    """
    geometry = maps.geometry
    whole = (0, 0, geometry.level0_width, geometry.level0_height)
    x, y, width, height = area if area is not None and min(area[2:]) > 0 else whole
    if min(x, y) < 0 or x + width > whole[2] or y + height > whole[3]:
        raise CoordinateError(
            f"an area at {(x, y)} of {width} x {height} pixels",
            expected=f"an area within the slide, which has {whole[2]} x {whole[3]} pixels",
            slide=maps.slide_id,
        )
    cell = min(geometry.tile_size_px * geometry.scale, geometry.stride_level0)
    downsample = 2 ** max(math.floor(math.log2(max(cell / PX_PER_TILE, 1))), 0)
    while max(width, height) / downsample > MAX_SIDE_PX:
        downsample *= 2
    return Canvas((x, y, width, height), downsample, geometry.slide_mpp.value)


def value_painter(canvas: Canvas, maps: TileMaps, values: npt.NDArray[np.float32]) -> Painter:
    """Paints each tile with its own numbers.

    Args:
        canvas: What is painted on.
        maps: Where the tiles lie.
        values: float32 (N, channels).
    """
    boxes, (width, _) = canvas.boxes(maps), canvas.sizes[0]

    def paint(first: int, last: int) -> Pixels:
        strip = np.full((last - first, width, values.shape[1]), np.nan, np.float32)
        touched = (boxes[:, 3] > first) & (boxes[:, 1] < last) & (boxes[:, 2] > 0)
        clipped = np.clip(boxes[touched] - (0, first, 0, first), 0, None)
        for (left, top, right, bottom), value in zip(
            clipped.tolist(), values[touched], strict=True
        ):
            strip[top:bottom, left:right] = value
        return strip

    return paint


def colour_painter(
    canvas: Canvas, maps: TileMaps, colours: UInt8Array, overview: UInt8Array | None
) -> Painter:
    """Paints each tile in its colour, over the slide where its overview is there.

    The slide shows through the colours as a grey relief that they are multiplied with; glass is
    white, so that a colour over it is that of the scale. Beside the tiles the slide is as it is.

    Args:
        canvas: What is painted on.
        maps: Where the tiles lie.
        colours: uint8 (N, 3).
        overview: uint8 RGB (h, w, 3), the whole slide; None: white paper.
    """
    paint_tiles = value_painter(canvas, maps, colours.astype(np.float32))

    def paint(first: int, last: int) -> Pixels:
        painted = paint_tiles(first, last)
        beneath = np.full_like(painted, PAPER)
        if overview is not None:
            beneath = _enlarged(overview, canvas, maps, first, last)
        light = beneath @ np.array([0.299, 0.587, 0.114], np.float32)
        relief = _FAINTEST + (1 - _FAINTEST) * light[..., None] / PAPER
        return np.where(np.isnan(painted), beneath, painted * relief)

    return paint


_FAINTEST = 0.6
"""How much of a colour black tissue lets through."""


def _enlarged(
    overview: UInt8Array, canvas: Canvas, maps: TileMaps, first: int, last: int
) -> Pixels:
    """The overview as it lies under some rows of the canvas, bilinear."""
    across = overview.shape[1] / maps.geometry.level0_width
    down = overview.shape[0] / maps.geometry.level0_height
    x, y, _, _ = canvas.area
    step = canvas.downsample
    # Centres of pixels lie at halves.
    matrix = np.array(
        [
            [step * across, 0, (x + step / 2) * across - 0.5],
            [0, step * down, (y + (first + 0.5) * step) * down - 0.5],
        ]
    )
    picture = cv2.warpAffine(
        overview,
        matrix,
        (canvas.sizes[0][0], last - first),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return picture.astype(np.float32)


def _shrunk(paint: Painter, top: int, rows: int, width: int, shrink: int) -> Pixels:
    """Rows of a smaller level: the average of what level 0 has there, NaN only where all is NaN."""
    if shrink == 1:
        return paint(top, top + rows)[:, :width]
    step = max(FILE_TILE_PX // shrink, 1)  # rows at a time, so that a strip of level 0 is no higher
    parts = []
    for first in range(top, top + rows, step):
        last = min(first + step, top + rows)
        strip = paint(first * shrink, last * shrink)[:, : width * shrink]
        blocks = strip.reshape(last - first, shrink, width, shrink, -1)
        known = ~np.isnan(blocks)
        total = np.where(known, blocks, 0).sum(axis=(1, 3))
        count = known.sum(axis=(1, 3))
        mean = np.full(total.shape, np.nan, np.float32)
        parts.append(np.divide(total, count, out=mean, where=count > 0))
    return np.concatenate(parts)

"""A slide's tiles as a picture that is painted strip by strip, with the levels of its pyramid.

A pixel is a whole power of two of level-0 pixels wide, so that a tile has some pixels and no more:
a map says nothing finer than its tiles, and its memory does not grow with the slide. Each smaller
level is the mean of the one above it.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from slidenet.core.arrays import IntArray, UInt8Array
from slidenet.core.errors import CoordinateError
from slidenet.core.units import Mpp
from slidenet.stores.tile_maps import TileMaps
from slidenet.visualisation.overlay import cell_boxes

FILE_TILE_PX = 256
SMALLEST_LEVEL_PX = 512

Area = tuple[int, int, int, int]
Float32Array = npt.NDArray[np.float32]
Pixels = npt.NDArray[Any]
Painter = Callable[[int, int], Pixels]
"""From a first row and the row after a last one: uint8 (rows, width, 3), or float32 (rows, width)
that is NaN where nothing is."""

_FAINTEST = 0.6
"""How much of a colour black tissue lets through."""


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


def canvas_of(maps: TileMaps, area: Area | None, px_per_tile: int, max_side_px: int) -> Canvas:
    """The canvas for the tiles of a slide.

    Args:
        maps: The maps, with places.
        area: (x, y, width, height) of what it shall show, level-0 pixels; None or without extent:
            the whole slide. Of features of other tools, which do not know how large their slide is,
            no more is shown than up to the last tile.
        px_per_tile: Pixels across a tile; up to twice as many, or fewer where a slide is too large.
        max_side_px: Longest side of the canvas.

    Raises:
        CoordinateError: The area lies outside the slide.
    """
    geometry = maps.geometry
    whole = (0, 0, geometry.level0_width, geometry.level0_height)
    x, y, width, height = asked = area if area is not None and min(area[2:]) > 0 else whole
    width, height = min(width, whole[2] - x), min(height, whole[3] - y)
    if min(x, y) < 0 or min(width, height) < 1:
        raise CoordinateError(
            f"an area at {asked[:2]} of {asked[2]} x {asked[3]} pixels",
            expected=f"an area of the slide, which has {whole[2]} x {whole[3]} pixels",
            slide=maps.slide_id,
        )
    cell = min(geometry.tile_size_px * geometry.scale, geometry.stride_level0)
    downsample = 2 ** math.floor(math.log2(max(cell / px_per_tile, 1)))
    while max(width, height) > downsample * max_side_px:
        downsample *= 2
    return Canvas((x, y, width, height), downsample, geometry.slide_mpp.value)


class Pyramid:
    """Planes of one canvas with their smaller levels.

    Level 0 is painted when it is asked for, a strip at a time; what remains in memory is the next
    level of each plane. So levels are asked for in order, each once.
    """

    def __init__(self, canvas: Canvas, planes: Sequence[Painter]) -> None:
        self._sizes = canvas.sizes
        self._planes = planes
        self._below: list[Pixels] = []

    def tiles(self, level: int) -> Iterator[Pixels]:
        """The file's own tiles of one level, plane by plane, row by row; 0 past the edges."""
        above, self._below = self._below, []
        height = self._sizes[level][1]
        for number, paint in enumerate(self._planes):
            smaller = []
            for top in range(0, height, FILE_TILE_PX):
                bottom = min(top + FILE_TILE_PX, height)
                strip = paint(top, bottom) if level == 0 else above[number][top:bottom]
                smaller.append(_halved(strip))
                if bottom == height:  # before the last tile: nobody may ask for more than that one
                    self._below.append(np.concatenate(smaller))
                yield from _cut(strip)


def value_painter(canvas: Canvas, maps: TileMaps, values: Float32Array) -> Painter:
    """Paints each tile with its own number; float32 (N,)."""
    boxes, (width, _) = canvas.boxes(maps), canvas.sizes[0]

    def paint(first: int, last: int) -> Pixels:
        strip = np.full((last - first, width), np.nan, np.float32)
        _fill(strip, boxes, values, first, last)
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
    boxes, (width, _) = canvas.boxes(maps), canvas.sizes[0]
    covers = np.ones(len(boxes), np.bool_)

    def paint(first: int, last: int) -> Pixels:
        strip = np.full((last - first, width, 3), 255, np.uint8)
        _fill(strip, boxes, colours, first, last)
        if overview is None:
            return strip
        covered = np.zeros(strip.shape[:2], np.bool_)
        _fill(covered, boxes, covers, first, last)
        beneath = _enlarged(overview, canvas, maps, first, last)
        light = cv2.cvtColor(beneath, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
        relief = (_FAINTEST + (1 - _FAINTEST) * light)[..., None]
        shaded = np.rint(strip * relief).astype(np.uint8)
        return np.where(covered[..., None], shaded, beneath)

    return paint


def _fill(strip: Pixels, boxes: IntArray, values: Pixels, first: int, last: int) -> None:
    """Puts what a strip has of each box in, one after the other."""
    touched = (boxes[:, 3] > first) & (boxes[:, 1] < last) & (boxes[:, 2] > 0)
    clipped = np.clip(boxes[touched] - (0, first, 0, first), 0, None)
    for (left, top, right, bottom), value in zip(clipped.tolist(), values[touched], strict=True):
        strip[top:bottom, left:right] = value


def _enlarged(
    overview: UInt8Array, canvas: Canvas, maps: TileMaps, first: int, last: int
) -> UInt8Array:
    """The overview as it lies under some rows of the canvas, bilinear."""
    across = overview.shape[1] / maps.geometry.level0_width
    down = overview.shape[0] / maps.geometry.level0_height
    x, y, _, _ = canvas.area
    step = canvas.downsample
    matrix = np.array(
        [  # centres of pixels lie at halves
            [step * across, 0, (x + step / 2) * across - 0.5],
            [0, step * down, (y + (first + 0.5) * step) * down - 0.5],
        ]
    )
    size = (canvas.sizes[0][0], last - first)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    picture = cv2.warpAffine(overview, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(picture, np.uint8)


def _halved(strip: Pixels) -> Pixels:
    """Means of 2 x 2 pixels, of those that are a number; an odd last row or column is dropped."""
    rows, width = strip.shape[0] // 2, strip.shape[1] // 2
    even = np.ascontiguousarray(strip[: 2 * rows, : 2 * width])
    if not even.size:
        return np.empty((rows, width, *strip.shape[2:]), strip.dtype)
    if strip.dtype == np.uint8:
        return np.asarray(cv2.resize(even, (width, rows), interpolation=cv2.INTER_AREA), np.uint8)
    known = ~np.isnan(even)
    share = cv2.resize(known.astype(np.float32), (width, rows), interpolation=cv2.INTER_AREA)
    filled = np.where(known, even, np.float32(0))
    total = cv2.resize(filled, (width, rows), interpolation=cv2.INTER_AREA)
    blank = np.full((rows, width), np.nan, np.float32)
    return np.asarray(np.divide(total, share, out=blank, where=share > 0), np.float32)


def _cut(strip: Pixels) -> Iterator[Pixels]:
    for left in range(0, strip.shape[1], FILE_TILE_PX):
        part = strip[:, left : left + FILE_TILE_PX]
        tile = np.zeros((FILE_TILE_PX, FILE_TILE_PX, *strip.shape[2:]), strip.dtype)
        tile[: part.shape[0], : part.shape[1]] = part
        yield tile

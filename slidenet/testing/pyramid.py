"""Writes real pyramidal TIFFs, tile by tile, in bounded memory; and breaks them as slides break."""

import os
import tempfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from io import SEEK_END
from pathlib import Path
from typing import IO

import cv2
import numpy as np
import simplejpeg

from slidenet.core.arrays import UInt8Array
from slidenet.core.extras import require_extra
from slidenet.testing.painting import Painter

TILE_PX = 256
DOWNSAMPLE = 4
SMALLEST_LEVEL_PX = 512
_BIG_TIFF_BYTES = 2**31
_KEPT_BYTES = 2

Compress = Callable[[UInt8Array], bytes]


def write_pyramid(
    path: str | Path,
    width: int,
    height: int,
    mpp: float | None,
    paint: Painter,
    *,
    tile_px: int = TILE_PX,
    downsample: int = DOWNSAMPLE,
    num_levels: int | None = None,
    icc_profile: bytes | None = None,
    jpeg_quality: int | None = None,
) -> Path:
    """Writes a tiled pyramid that openslide opens as "generic-tiff".

    Level 0 is painted and written tile by tile; the other levels are area averages of it, whose
    compressed tiles wait in a temporary file. One row of tiles per level is held in memory
    (46 MB for a slide 60,000 px wide).

    Args:
        path: File to write.
        width: Width of level 0, pixels.
        height: Height of level 0, pixels.
        mpp: Written as TIFF resolution tags; None writes none.
        paint: Gives the pixels of level 0; None from it leaves a tile out of the file, which
            openslide shows as transparent (white on the other levels).
        tile_px: Side of the file's own tiles, a multiple of 16 and of `downsample`.
        downsample: Step between levels.
        num_levels: Number of levels; None adds levels until the longer side is at most 512 px.
        icc_profile: Embedded as it is.
        jpeg_quality: 1 to 100: tiles are JPEGs (YCbCr, chroma halved both ways, as scanners
            write them); None: they are deflated, so that pixels come back as painted.

    Returns:
        `path`.
    """
    assert tile_px % 16 == 0, "TIFF wants tiles of a multiple of 16 px"
    assert tile_px % downsample == 0, "a row of tiles must shrink to whole rows"
    tifffile = require_extra("tifffile", extra="testing", purpose="writing generated slides")
    path = Path(path)
    sizes = _level_sizes(width, height, downsample, num_levels)
    common = {
        "dtype": np.uint8,
        "tile": (tile_px, tile_px),
        "photometric": "rgb" if jpeg_quality is None else "ycbcr",
        "compression": "deflate" if jpeg_quality is None else "jpeg",
        "metadata": None,
        "software": "slidenet.testing",
    }
    if jpeg_quality is not None:
        common |= {"subsampling": (2, 2)}
    if mpp is not None:
        common |= {"resolution": (10000 / mpp, 10000 / mpp), "resolutionunit": "CENTIMETER"}
    if icc_profile is not None:
        common |= {"iccprofile": icc_profile}
    compress = _deflated if jpeg_quality is None else partial(_as_jpeg, quality=jpeg_quality)
    big = width * height * 3 > _BIG_TIFF_BYTES
    with tempfile.TemporaryFile() as spool, tifffile.TiffWriter(path, bigtiff=big) as tiff:
        level = None
        for size in reversed(sizes[1:]):
            level = _SmallerLevel(size, tile_px, downsample, compress, spool, level)
        tiles = _painted(paint, sizes[0], tile_px, downsample, compress, level)
        tiff.write(tiles, shape=(height, width, 3), subfiletype=0, **common)
        while level is not None:
            shape = (level.size[1], level.size[0], 3)
            tiff.write(level.stored_tiles(), shape=shape, subfiletype=1, **common)
            level = level.below
    return path


def truncate_file(path: str | Path, fraction: float = 0.5) -> None:
    """Cuts a file off after a fraction of its bytes, as an interrupted copy does."""
    assert 0 <= fraction < 1, f"fraction {fraction} is not in [0, 1)"
    os.truncate(path, int(Path(path).stat().st_size * fraction))


def corrupt_tile(path: str | Path, location: tuple[int, int], *, level: int = 0) -> None:
    """Overwrites one compressed tile of a TIFF, so that reading it fails and its neighbours do not.

    Its first bytes, which name the codec, stay: what has lost them everywhere is refused unread.

    Args:
        path: A tiled TIFF.
        location: (x, y) of any pixel of the tile, in pixels of `level`.
        level: The level, counted as the pages of the file.
    """
    tifffile = require_extra("tifffile", extra="testing", purpose="breaking generated slides")
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[level]
        across = -(-page.imagewidth // page.tilewidth)
        index = location[1] // page.tilelength * across + location[0] // page.tilewidth
        offset, length = page.dataoffsets[index], page.databytecounts[index]
    assert length > 0, f"the tile at {location} is not stored"
    with Path(path).open("r+b") as file:
        file.seek(offset + _KEPT_BYTES)
        file.write(b"\xff" * (length - _KEPT_BYTES))


def _level_sizes(
    width: int, height: int, downsample: int, num_levels: int | None
) -> list[tuple[int, int]]:
    sizes = [(width, height)]
    while min(sizes[-1]) >= downsample:
        enough = max(sizes[-1]) <= SMALLEST_LEVEL_PX
        if enough if num_levels is None else len(sizes) == num_levels:
            break
        sizes.append((sizes[-1][0] // downsample, sizes[-1][1] // downsample))
    return sizes


class _SmallerLevel:
    """A level made from the one above it, strip by strip.

    Its compressed tiles go to a spool file until the level above is written, for a TIFF holds one
    level after the other.
    """

    def __init__(
        self,
        size: tuple[int, int],
        tile_px: int,
        downsample: int,
        compress: Compress,
        spool: IO[bytes],
        below: "_SmallerLevel | None",
    ) -> None:
        self.size = size
        self.below = below
        self._tile_px = tile_px
        self._downsample = downsample
        self._compress = compress
        self._spool = spool
        self._waiting: list[UInt8Array] = []
        self._stored: list[tuple[int, int]] = []

    def add(self, strip: UInt8Array) -> None:
        """Takes the next rows, uint8 (rows, width, 3); `tile_px` is a multiple of their number."""
        if len(strip):
            self._waiting.append(strip)
        if sum(map(len, self._waiting)) == self._tile_px:
            self._store_row()

    def finish(self) -> None:
        """Stores what waits for more rows, on this level and below."""
        if self._waiting:
            self._store_row()
        if self.below is not None:
            self.below.finish()

    def stored_tiles(self) -> Iterator[bytes]:
        """The compressed tiles, row by row."""
        for offset, length in self._stored:
            self._spool.seek(offset)
            yield self._spool.read(length)

    def _store_row(self) -> None:
        strip = np.concatenate(self._waiting)
        self._waiting.clear()
        for x in range(0, strip.shape[1], self._tile_px):
            data = self._compress(_padded(strip[:, x : x + self._tile_px], self._tile_px))
            self._stored.append((self._spool.seek(0, SEEK_END), len(data)))
            self._spool.write(data)
        if self.below is not None:
            self.below.add(_shrink(strip, self._downsample))


def _painted(
    paint: Painter,
    size: tuple[int, int],
    tile_px: int,
    downsample: int,
    compress: Compress,
    below: _SmallerLevel | None,
) -> Iterator[bytes]:
    """Compressed tiles of level 0, row by row; the rows also go to the level below."""
    width, height = size
    for y in range(0, height, tile_px):
        rows = min(tile_px, height - y)
        strip = np.full((rows, width, 3), 255, np.uint8)
        row_of_tiles = []
        for x in range(0, width, tile_px):
            columns = min(tile_px, width - x)
            pixels = paint(x, y, columns, rows)
            if pixels is not None:
                strip[:, x : x + columns] = pixels
            row_of_tiles.append(b"" if pixels is None else compress(_padded(pixels, tile_px)))
        if below is not None:
            below.add(_shrink(strip, downsample))
            if y + tile_px >= height:
                below.finish()
        yield from row_of_tiles


def _shrink(strip: UInt8Array, factor: int) -> UInt8Array:
    """Area average by a whole factor; rows and columns left over are dropped."""
    rows, width = len(strip) // factor, strip.shape[1] // factor
    if rows == 0:
        return np.empty((0, width, 3), np.uint8)
    whole = strip[: rows * factor, : width * factor]
    return np.asarray(cv2.resize(whole, (width, rows), interpolation=cv2.INTER_AREA), np.uint8)


def _padded(pixels: UInt8Array, tile_px: int) -> UInt8Array:
    """A whole tile of the file, white where the slide has ended."""
    rows, columns = pixels.shape[:2]
    if (rows, columns) == (tile_px, tile_px):
        return pixels
    padded = np.full((tile_px, tile_px, 3), 255, np.uint8)
    padded[:rows, :columns] = pixels
    return padded


def _deflated(tile: UInt8Array) -> bytes:
    return zlib.compress(tile.tobytes(), 1)


def _as_jpeg(tile: UInt8Array, quality: int) -> bytes:
    contiguous = np.ascontiguousarray(tile)
    data: bytes = simplejpeg.encode_jpeg(contiguous, quality, "RGB", "420", fastdct=False)
    return data

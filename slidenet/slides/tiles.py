"""Pixels of tiles: read on the planned level, resampled where planned.

One tile is one read. Reading several neighbours at once and cutting them apart was measured at
256 px (rows of 4, blocks of 2 x 2 and 4 x 4, on a JPEG SVS and on a JPEG pyramid) and won nothing:
decoding dominates, and readers keep the decoded tiles they will need again.

Two readings exist (`TileGeometry.reading`). Reading 2 takes whole pixels of the level, the nearest
to where the tile lies: it is as sharp wherever it starts, and at most half a pixel of that level
away. Reading 1, which files of version 1 were made with, takes what openslide gives at level-0
coordinates: a tile that starts between two pixels of the level is blended from both.
"""

from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from slidenet.core import status
from slidenet.core.arrays import IntArray, UInt8Array
from slidenet.core.errors import CoordinateError, PixelReadError, UnreadableSlideError
from slidenet.core.records import BLENDED_READING, TileGeometry
from slidenet.slides.limits import current_time_limit
from slidenet.slides.protocol import Pixels, Size, Slide
from slidenet.slides.recycling import PIXEL_MEMORY
from slidenet.slides.resampling import resized

BATCHES_AHEAD = 3
BLOCK_TILES = 16
"""Tiles that a thread reads at a time: handing over single small tiles halves the throughput."""

_JPEG_FACTORS = (8, 4, 2)


@dataclass(frozen=True, slots=True, eq=False)
class TilePixels:
    """Consecutive tiles of one slide.

    Attributes:
        start: Index of the first of them.
        pixels: uint8 (B, tile_size_px, tile_size_px, 3), RGB; the slide's background colour where
            the status is not OK.
        status: uint8 (B,), codes of `core.status`.
        reason: Why the first unreadable one of them could not be decoded; None where all could.
    """

    start: int
    pixels: Pixels
    status: UInt8Array
    reason: str | None = None


def read_tiles(
    slide: Slide,
    geometry: TileGeometry,
    coords: IntArray,
    *,
    batch_size: int,
    num_readers: int = 2,
    start: int = 0,
    allocate: Callable[[tuple[int, ...]], Pixels] | None = None,
) -> Generator[TilePixels, None, None]:
    """Tiles in order, in batches, read by threads ahead of the consumer.

    Threads rather than processes: decoding happens outside Python's lock, nothing is copied
    between processes, and a killed run leaves no orphan. The order is always that of `coords`, and
    a batch is always the same tiles, so nothing depends on the number of readers. Memory is bounded
    by a few batches whatever the number of tiles. One corrupt tile does not lose a slide.

    Args:
        slide: The open slide.
        geometry: The plan, made for this slide.
        coords: int64 (N, 2), level-0 pixels of the top-left corners.
        batch_size: Tiles per batch; the last batch may be smaller.
        num_readers: Reading threads.
        start: Index of the first tile to read (for resuming).
        allocate: Gives the uint8 array of a shape that a batch is read into; called once for every
            batch, in order, up to `batches_ahead` + 1 batches before the last one was taken.

    Yields:
        The batches.

    Raises:
        CoordinateError: The geometry was made for a slide of another size.
        UnreadableSlideError: The file as a whole has become unreadable.
        SlideTimeoutError: The time of the slide is over (`limits.time_limit`).
    """
    check_planned_for(slide, geometry)
    if isinstance(slide, ReadsTilesElsewhere):
        yield from slide.read_tiles(
            geometry, coords, batch_size=batch_size, num_readers=num_readers, start=start
        )
        return
    in_time = current_time_limit()
    starts = iter(range(start, len(coords), batch_size))
    pending: deque[tuple[TilePixels, list[Future[str | None]]]] = deque()
    with ThreadPoolExecutor(num_readers, thread_name_prefix="tile-reader") as pool:

        def submit_next_batch() -> None:
            first = next(starts, None)
            if first is None:
                return
            rows = coords[first : first + batch_size]
            side = geometry.tile_size_px
            shape = (len(rows), side, side, 3)
            pixels = (allocate or PIXEL_MEMORY.empty)(shape)
            batch = TilePixels(first, pixels, np.zeros(len(rows), np.uint8))
            blocks = [slice(i, i + BLOCK_TILES) for i in range(0, len(rows), BLOCK_TILES)]
            reads = [
                pool.submit(_read_block, slide, geometry, rows[b], batch.pixels[b], batch.status[b])
                for b in blocks
            ]
            pending.append((batch, reads))

        try:
            for _ in range(batches_ahead(batch_size, num_readers)):
                submit_next_batch()
            while pending:
                batch, reads = pending.popleft()
                reasons = [one.result() for one in reads]
                if in_time is not None:
                    in_time.check("a batch of its tiles")
                submit_next_batch()
                reason = next((text for text in reasons if text is not None), None)
                yield TilePixels(batch.start, batch.pixels, batch.status, reason)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def batches_ahead(batch_size: int, num_readers: int) -> int:
    """Batches in work at a time: two blocks for every thread, so that none waits for a batch."""
    blocks_per_batch = -(-batch_size // BLOCK_TILES)
    return max(BATCHES_AHEAD, -(-2 * num_readers // blocks_per_batch))


def none_readable(num_tiles: int, reason: str | None, *, slide: str) -> UnreadableSlideError:
    """The error of a slide that has tiles and can show none of them.

    Args:
        num_tiles: How many it has.
        reason: Why the first one cannot be decoded; None where nothing is stored for any.
        slide: Its name, for the message.
    """
    return UnreadableSlideError(
        f"none of its {num_tiles} tiles could be read ({reason or 'nothing is stored there'})",
        expected="pixels",
        remedy="copy the slide again and compare its size with the original's, then run again",
        slide=slide,
    )


@runtime_checkable
class ReadsTilesElsewhere(Protocol):
    """A slide whose tiles are read by another process, in whole batches."""

    def read_tiles(
        self,
        geometry: TileGeometry,
        coords: IntArray,
        *,
        batch_size: int,
        num_readers: int = 2,
        start: int = 0,
    ) -> Generator[TilePixels, None, None]:
        """See `read_tiles`."""


@runtime_checkable
class HoldsCutTiles(Protocol):
    """A slide of tile images, which are handed out as they were cut."""

    def read_cut_tile(self, location: Size) -> Pixels:
        """The tile that begins at (x, y), level-0 pixels: uint8 (side, side, 3)."""


def _read_block(
    slide: Slide, geometry: TileGeometry, coords: IntArray, pixels: Pixels, codes: UInt8Array
) -> str | None:
    """Fills pixels and codes of some tiles; returns why the first unreadable one is."""
    reason = None
    for index, location in enumerate(coords):
        if not _is_stored(slide, geometry, location):
            codes[index] = status.EMPTY
        else:
            try:
                read_tile(slide, geometry, location, pixels[index])
            except PixelReadError as error:
                codes[index] = status.UNREADABLE
                reason = reason or error.found
        if codes[index] != status.OK:
            pixels[index] = slide.background_rgb
    return reason


def read_tile(
    slide: Slide,
    geometry: TileGeometry,
    location: Sequence[int] | npt.NDArray[np.int64],
    out: Pixels | None = None,
) -> Pixels:
    """One tile. What lies past the edge of the slide has its background colour.

    Args:
        slide: The slide.
        geometry: The plan, made for this slide.
        location: (x, y) of the tile's top-left corner, level-0 pixels.
        out: Array for the result, C-contiguous, which is filled and returned; None makes one.

    Returns:
        uint8 (tile_size_px, tile_size_px, 3), RGB. Shrunk by area averaging (or by the decoder of
        JPEG tiles, where the plan says so), enlarged bicubically.

    Raises:
        CoordinateError: The geometry was made for a slide of another size.
        PixelReadError: These pixels cannot be decoded; other tiles still can.
    """
    check_planned_for(slide, geometry)
    if slide.cut_tiles is not None and isinstance(slide, HoldsCutTiles):
        return _whole_tile(slide.read_cut_tile((int(location[0]), int(location[1]))), geometry, out)
    side, wanted, level = geometry.read_size_px, geometry.tile_size_px, geometry.level
    if geometry.reading == BLENDED_READING:
        x, y = location
        pixels = slide.read_region((int(x), int(y)), level, (side, side))
    else:
        place, square = level_location(slide, geometry, location), (side, side)
        scaled_jpeg = geometry.shrinking == "jpeg"
        shrink = _whole_shrink(side, wanted, scaled_jpeg=scaled_jpeg)
        if side == shrink * wanted:
            return slide.read_shrunk(place, level, square, shrink, scaled_jpeg=scaled_jpeg, out=out)
        pixels = slide.read_shrunk(place, level, square, shrink, scaled_jpeg=scaled_jpeg)
    return _whole_tile(pixels, geometry, out)


def _whole_tile(pixels: Pixels, geometry: TileGeometry, out: Pixels | None) -> Pixels:
    """Pixels of the place of a tile at the size of the tile."""
    pixels = resized(pixels, (geometry.tile_size_px, geometry.tile_size_px))
    if out is None:
        return pixels
    out[...] = pixels
    return out


def level_location(
    slide: Slide, geometry: TileGeometry, location: Sequence[int] | npt.NDArray[np.int64]
) -> Size:
    """The pixel of the level read that is nearest to a place, (x, y) in level-0 pixels."""
    level = slide.levels[geometry.level]
    x, y = location
    return round(int(x) / level.downsample_x), round(int(y) / level.downsample_y)


def check_planned_for(slide: Slide, geometry: TileGeometry) -> None:
    """Refuses a plan that was made for a slide of another size.

    Raises:
        CoordinateError: Naming both sizes.
    """
    if slide.level_dimensions[0] != (geometry.level0_width, geometry.level0_height):
        width, height = slide.level_dimensions[0]
        raise CoordinateError(
            f"the slide is {width}x{height} px",
            expected=f"{geometry.level0_width}x{geometry.level0_height} px, as the tiles were "
            "planned for",
            remedy="plan the tiles on this slide",
            slide=slide.path.name,
        )


def _is_stored(slide: Slide, geometry: TileGeometry, location: npt.NDArray[np.int64]) -> bool:
    if geometry.reading == BLENDED_READING:
        return True  # files of version 1 do not know empty tiles
    side = geometry.read_size_px
    place = level_location(slide, geometry, location)
    return slide.has_stored(place, geometry.level, (side, side))


def _whole_shrink(side: int, wanted: int, *, scaled_jpeg: bool) -> int:
    """The whole factor by which the reader shrinks; what is left is resampled afterwards."""
    if side % wanted == 0:
        return side // wanted
    fits = (k for k in _JPEG_FACTORS if side % k == 0 and side // k >= wanted)
    return next(fits, 1) if scaled_jpeg else 1

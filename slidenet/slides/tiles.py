"""Pixels of tiles: read on the planned level, resampled where planned.

One tile is one read. Reading several neighbours at once and cutting them apart was measured at
256 px (rows of 4, blocks of 2 x 2 and 4 x 4, on a JPEG SVS and on a JPEG pyramid) and won nothing:
decoding dominates, and openslide keeps the decoded tiles it will need again.

Where a location falls between two pixels of the level read, openslide blends them: the tile lies
exactly where its coords say, at the price of a slight blur.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import cv2
import numpy as np
import numpy.typing as npt

from slidenet.core.arrays import IntArray
from slidenet.core.errors import CoordinateError, PixelReadError
from slidenet.core.records import TileGeometry
from slidenet.slides.protocol import Pixels, Slide

BATCHES_AHEAD = 3


def read_tiles(
    slide: Slide,
    geometry: TileGeometry,
    coords: IntArray,
    *,
    batch_size: int,
    num_readers: int = 2,
    start: int = 0,
) -> Iterator[tuple[int, list[Pixels | None]]]:
    """Tiles in order, in batches, read by threads ahead of the consumer.

    Threads rather than processes: OpenSlide decodes outside Python's lock, nothing is copied
    between processes, and a killed run leaves no orphan. The order is always that of `coords`, and
    a batch is always the same tiles, so nothing depends on the number of readers. Memory is bounded
    by `BATCHES_AHEAD + 1` batches whatever the number of tiles.

    Args:
        slide: The open slide.
        geometry: The plan, made for this slide.
        coords: int64 (N, 2), level-0 pixels of the top-left corners.
        batch_size: Tiles per batch; the last batch may be smaller.
        num_readers: Reading threads.
        start: Index of the first tile to read (for resuming).

    Yields:
        Index of the first tile of a batch, and its tiles as `read_tile` gives them; None for a tile
        whose pixels cannot be decoded, as one corrupt tile must not lose a slide.
    """
    starts = iter(range(start, len(coords), batch_size))
    pending: deque[tuple[int, list[Future[Pixels | None]]]] = deque()

    def read(row: npt.NDArray[np.int64]) -> Pixels | None:
        try:
            return read_tile(slide, geometry, row)
        except PixelReadError:
            return None

    with ThreadPoolExecutor(num_readers, thread_name_prefix="tile-reader") as pool:

        def submit_next_batch() -> None:
            first = next(starts, None)
            if first is not None:
                rows = coords[first : first + batch_size]
                pending.append((first, [pool.submit(read, row) for row in rows]))

        try:
            for _ in range(BATCHES_AHEAD):
                submit_next_batch()
            while pending:
                first, reads = pending.popleft()
                tiles = [one.result() for one in reads]
                submit_next_batch()
                yield first, tiles
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def read_tile(
    slide: Slide, geometry: TileGeometry, location: Sequence[int] | npt.NDArray[np.int64]
) -> Pixels:
    """One tile. What lies past the edge of the slide has its background colour.

    Args:
        slide: The slide.
        geometry: The plan, made for this slide.
        location: (x, y) of the tile's top-left corner, level-0 pixels.

    Returns:
        uint8 (tile_size_px, tile_size_px, 3), RGB. Shrunk by area averaging, enlarged bicubically.

    Raises:
        CoordinateError: The geometry was made for a slide of another size.
        PixelReadError: These pixels cannot be decoded; other tiles still can.
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
    x, y = location
    side = geometry.read_size_px
    pixels = slide.read_region((int(x), int(y)), geometry.level, (side, side))
    return resample(pixels, geometry.tile_size_px)


def resample(pixels: Pixels, tile_size_px: int) -> Pixels:
    """A square of pixels at another size: area averaging down, bicubic up, untouched if equal."""
    side = len(pixels)
    if side == tile_size_px:
        return pixels
    how = cv2.INTER_AREA if side > tile_size_px else cv2.INTER_CUBIC
    resized = cv2.resize(pixels, (tile_size_px, tile_size_px), interpolation=how)
    return np.asarray(resized, dtype=np.uint8)

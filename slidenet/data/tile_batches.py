"""Batches of a slide's tiles, read ahead by threads.

Threads rather than processes: OpenSlide decodes outside Python's lock, nothing is copied between
processes, and a killed run leaves no orphan. The order is always that of the tile set, and a batch
is always the same tiles, so features do not depend on the number of readers.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from slidenet.core.errors import PixelReadError
from slidenet.core.records import TileGeometry, TileSet
from slidenet.slides import Slide, read_tile

BATCHES_AHEAD = 2


@dataclass(frozen=True, slots=True, eq=False)
class TileBatch:
    """Pixels of consecutive tiles of one slide.

    Attributes:
        start: Index in the tile set of the first tile.
        tiles: uint8 (B, 3, tile_size_px, tile_size_px), RGB.
        readable: bool (B,); False where the slide's pixels could not be decoded. Such a tile shows
            the slide's background colour.
    """

    start: int
    tiles: torch.Tensor
    readable: npt.NDArray[np.bool_]


def tile_batches(
    slide: Slide, tile_set: TileSet, *, batch_size: int, num_readers: int = 2, start: int = 0
) -> Iterator[TileBatch]:
    """Reads the tiles of `tile_set` in order, in batches, ahead of the consumer.

    Memory is bounded by `BATCHES_AHEAD + 1` batches whatever the number of tiles.

    Args:
        slide: The open slide.
        tile_set: Which tiles, and how their pixels are obtained.
        batch_size: Tiles per batch; the last batch may be smaller.
        num_readers: Reading threads.
        start: Index of the first tile to read (for resuming).
    """
    geometry, coords = tile_set.geometry, tile_set.coords
    starts = iter(range(start, len(coords), batch_size))
    pending: deque[tuple[int, list[Future[npt.NDArray[np.uint8] | None]]]] = deque()

    with ThreadPoolExecutor(max_workers=num_readers, thread_name_prefix="tile-reader") as pool:

        def submit_next_batch() -> None:
            first = next(starts, None)
            if first is not None:
                rows = coords[first : first + batch_size]
                reads = [pool.submit(_read_or_none, slide, geometry, row) for row in rows]
                pending.append((first, reads))

        try:
            for _ in range(BATCHES_AHEAD + 1):
                submit_next_batch()
            while pending:
                first, reads = pending.popleft()
                batch = _collate(first, [read.result() for read in reads], slide, geometry)
                submit_next_batch()
                yield batch
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _read_or_none(
    slide: Slide, geometry: TileGeometry, row: npt.NDArray[np.int64]
) -> npt.NDArray[np.uint8] | None:
    try:
        return read_tile(slide, geometry, (int(row[0]), int(row[1])))
    except PixelReadError:
        return None  # one corrupt tile must not lose a slide; the batch records it


def _collate(
    start: int,
    pixels: list[npt.NDArray[np.uint8] | None],
    slide: Slide,
    geometry: TileGeometry,
) -> TileBatch:
    side = geometry.tile_size_px
    stacked = np.empty((len(pixels), side, side, 3), dtype=np.uint8)
    for index, tile in enumerate(pixels):
        stacked[index] = slide.background_rgb if tile is None else tile
    return TileBatch(
        start=start,
        tiles=torch.from_numpy(stacked).permute(0, 3, 1, 2),
        readable=np.array([tile is not None for tile in pixels], dtype=np.bool_),
    )

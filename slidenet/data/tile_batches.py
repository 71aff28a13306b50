"""Batches of a slide's tiles as tensors, read ahead by threads."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from slidenet.core.arrays import UInt8Array
from slidenet.core.records import TileSet
from slidenet.slides import Slide, read_tiles


@dataclass(frozen=True, slots=True, eq=False)
class TileBatch:
    """Pixels of consecutive tiles of one slide.

    Attributes:
        start: Index in the tile set of the first tile.
        tiles: uint8 (B, 3, tile_size_px, tile_size_px), RGB.
        status: uint8 (B,), codes of `core.status`. A tile that is not OK shows the slide's
            background colour.
    """

    start: int
    tiles: torch.Tensor
    status: UInt8Array


def tile_batches(
    slide: Slide, tile_set: TileSet, *, batch_size: int, num_readers: int = 2, start: int = 0
) -> Iterator[TileBatch]:
    """Reads the tiles of `tile_set` in order, in batches, ahead of the consumer; see `read_tiles`.

    Args:
        slide: The open slide.
        tile_set: Which tiles, and how their pixels are obtained.
        batch_size: Tiles per batch; the last batch may be smaller.
        num_readers: Reading threads.
        start: Index of the first tile to read (for resuming).
    """
    batches = read_tiles(
        slide,
        tile_set.geometry,
        tile_set.coords,
        batch_size=batch_size,
        num_readers=num_readers,
        start=start,
    )
    for batch in batches:
        yield TileBatch(
            start=batch.start,
            tiles=torch.from_numpy(batch.pixels).permute(0, 3, 1, 2),
            status=batch.status,
        )

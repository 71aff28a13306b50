"""Batches of a slide's tiles as tensors, read ahead by threads."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from slidenet.core.arrays import BoolArray
from slidenet.core.records import TileSet
from slidenet.slides import Slide, read_tiles


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
    readable: BoolArray


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
    side = tile_set.geometry.tile_size_px
    batches = read_tiles(
        slide,
        tile_set.geometry,
        tile_set.coords,
        batch_size=batch_size,
        num_readers=num_readers,
        start=start,
    )
    for first, pixels in batches:
        stacked = np.empty((len(pixels), side, side, 3), dtype=np.uint8)
        for index, tile in enumerate(pixels):
            stacked[index] = slide.background_rgb if tile is None else tile
        yield TileBatch(
            start=first,
            tiles=torch.from_numpy(stacked).permute(0, 3, 1, 2),
            readable=np.array([tile is not None for tile in pixels], dtype=np.bool_),
        )

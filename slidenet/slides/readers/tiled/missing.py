"""Tiles that Aperio's scanner did not store, as openslide shows them."""

from collections.abc import Sequence

import numpy as np

from slidenet.core.arrays import IntArray
from slidenet.slides.protocol import Size
from slidenet.slides.readers.base import ReaderDeclinedError
from slidenet.slides.tiff import Directory


def aperio_byte_counts(pages: Sequence[Directory], downsamples: Sequence[float]) -> list[IntArray]:
    """Byte counts of the tiles of each level, 0 for those that are rendered from the finer level.

    Where a tile is missing the lower levels, made from it, are black at its place. openslide
    therefore takes their tiles for missing as well, and shows all those from the finer level.

    Args:
        pages: The levels, largest first.
        downsamples: openslide's downsample of each.

    Returns:
        int64 (num_tiles,) for each level.

    Raises:
        ReaderDeclinedError: Tiles are missing and levels are no whole parts of each other, so that
            what openslide renders cannot be had at whole pixels.
    """
    counts = [pages[0].byte_counts]
    for finer, coarser, finer_ds, coarser_ds in zip(
        pages, pages[1:], downsamples, downsamples[1:], strict=False
    ):
        counts.append(coarser.byte_counts)
        missing = np.flatnonzero(counts[-2] == 0)
        if not len(missing) and counts[-1].all():
            continue
        factor = coarser_ds / finer_ds
        if coarser_ds != round(coarser_ds) or factor != round(factor):
            raise ReaderDeclinedError(
                f"tiles are missing and levels are no whole parts (1/{coarser_ds:g}) of level 0"
            )
        counts[-1] = counts[-1].copy()
        across, _ = finer.grid
        covered = counts[-1].reshape(coarser.grid[::-1])
        for row, column in zip(missing // across, missing % across, strict=True):
            rows = _range(int(row), finer.tile_height, factor * coarser.tile_height)
            columns = _range(int(column), finer.tile_width, factor * coarser.tile_width)
            covered[rows, columns] = 0
    return counts


def _range(number: int, tile_px: int, coarser_tile_px: float) -> slice:
    """Tiles of the coarser level along one axis that show a part of a finer tile."""
    return slice(
        int(number * tile_px // coarser_tile_px),
        int(-(-(number + 1) * tile_px // coarser_tile_px)),
    )


def finer_region(location: Size, size: Size, finer: Size, coarser: Size) -> tuple[Size, Size]:
    """The part of the finer level that a region of the coarser one shows: (location, size)."""
    across, down = (large / small for large, small in zip(finer, coarser, strict=True))
    return (
        (int(location[0] * across), int(location[1] * down)),
        (int(size[0] * across), int(size[1] * down)),
    )

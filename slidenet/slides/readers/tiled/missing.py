"""Tiles that Aperio's scanner did not store, as openslide shows them."""

from collections.abc import Sequence

import numpy as np

from slidenet.core.arrays import IntArray
from slidenet.slides.protocol import Size
from slidenet.slides.readers.base import ReaderDeclinedError, SlideReader
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
        places = _place_of(missing // across, finer.grid[1], coarser.grid[1]) * coarser.grid[0]
        places += _place_of(missing % across, across, coarser.grid[0])
        counts[-1][places[places < len(counts[-1])]] = 0
    return counts


def _place_of(numbers: IntArray, finer_tiles: int, coarser_tiles: int) -> IntArray:
    """The tile of the coarser level, along one axis, that openslide takes to show a finer one.

    It goes by how many tiles the levels have, 5 and 2 say, and so by 3 where levels are 1/4 of each
    other: not always the tile that lies there.
    """
    return numbers // max(int(finer_tiles / coarser_tiles + 0.5), 1)


def finer_has_stored(slide: SlideReader, location: Size, level: int, size: Size) -> bool:
    """Whether the finer level, from which Aperio's lower levels are shown, has bytes for a region.

    Args:
        slide: The slide.
        location: (x, y) in pixels of `level`.
        level: A level below the first.
        size: (width, height) in pixels of `level`.
    """
    finer, coarser = slide.level_dimensions[level - 1], slide.level_dimensions[level]
    across, down = (large / small for large, small in zip(finer, coarser, strict=True))
    return slide.has_stored(
        (int(location[0] * across), int(location[1] * down)),
        level - 1,
        (int(size[0] * across), int(size[1] * down)),
    )

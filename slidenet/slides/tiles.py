"""Pixels of tiles: read on the planned level, resampled where planned.

One tile is one read. Reading several neighbours at once and cutting them apart was measured at
256 px (rows of 4, blocks of 2 x 2 and 4 x 4, on a JPEG SVS and on a JPEG pyramid) and won nothing:
decoding dominates, and openslide keeps the decoded tiles it will need again.

Where a location falls between two pixels of the level read, openslide blends them: the tile lies
exactly where its coords say, at the price of a slight blur.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from slidenet.core.errors import CoordinateError
from slidenet.core.records import TileGeometry
from slidenet.slides.protocol import Pixels, Slide


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

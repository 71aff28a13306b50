"""The lattice of tiles, and how much tissue lies under each of them."""

import cv2
import numpy as np
import numpy.typing as npt

from slidenet.core.arrays import Float64Array, IntArray
from slidenet.core.errors import SlideError
from slidenet.core.records import TileGeometry
from slidenet.tissue import Tissue


def grid(geometry: TileGeometry, *, slide: str = "") -> IntArray:
    """All tiles that lie wholly inside the slide.

    The lattice starts at the slide's corner (0, 0); tile (i, j) starts at round(i * stride),
    round(j * stride) with the exact, fractional stride, so rounding never accumulates. A tile that
    would cross the right or bottom edge is left out: its missing part would be invented pixels.

    Returns:
        coords, int64 (N, 2), (x, y) level-0 pixels, sorted by y, then x; N >= 1.

    Raises:
        SlideError: The slide is smaller than one tile.
    """
    side = geometry.tile_size_level0
    columns = _starts(geometry.level0_width, side, geometry.stride_level0)
    rows = _starts(geometry.level0_height, side, geometry.stride_level0)
    if not (columns.size and rows.size):
        raise SlideError(
            f"the slide is {geometry.level0_width} x {geometry.level0_height} level-0 pixels, "
            f"smaller than one tile of {side} x {side} "
            f"({geometry.tile_size_px} px at {geometry.target_mpp:g} mpp)",
            expected="a slide of at least one tile",
            remedy="pass a smaller --tile-size-px or --target-mpp (in Python, tile_size_px, "
            "target_mpp)",
            slide=slide,
        )
    y, x = np.meshgrid(rows, columns, indexing="ij")
    return np.stack([x.ravel(), y.ravel()], axis=1)


def tissue_fractions(
    tissue: Tissue, coords: IntArray, tile_size_level0: float
) -> npt.NDArray[np.float32]:
    """Share of every tile's area that is tissue, exact also where tiles cut mask pixels.

    Uses the integral image of the mask: between pixel corners the integral of a mask is bilinear,
    so reading it at fractional positions by bilinear interpolation is exact, and the work per tile
    does not depend on its size.

    Args:
        tissue: Mask over the slide. What lies outside the mask counts as no tissue.
        coords: int64 (N, 2), (x, y) top-left corners, level-0 pixels.
        tile_size_level0: Side of a tile in level-0 pixels; may be fractional.

    Returns:
        float32 (N,), in [0, 1].
    """
    integral = np.asarray(cv2.integral(tissue.mask.astype(np.uint8)), dtype=np.int32)
    scale_x, scale_y = tissue.downsample_xy
    x, y = coords.astype(np.float64).T
    left, right = x / scale_x, (x + tile_size_level0) / scale_x
    top, bottom = y / scale_y, (y + tile_size_level0) / scale_y
    covered = (
        _sample(integral, right, bottom)
        - _sample(integral, left, bottom)
        - _sample(integral, right, top)
        + _sample(integral, left, top)
    )
    tile_area = tile_size_level0**2 / (scale_x * scale_y)
    return np.clip(covered / tile_area, 0.0, 1.0).astype(np.float32)


def _starts(length: int, side: int, stride: float) -> IntArray:
    candidates = np.arange(int(length / stride) + 2)
    # rint rounds halves to even, as Python's round in the definition of TileGeometry does.
    starts = np.rint(candidates * stride).astype(np.int64)
    return np.asarray(starts[starts + side <= length])


def _sample(integral: npt.NDArray[np.int32], x: Float64Array, y: Float64Array) -> Float64Array:
    """Bilinear values of the integral image at (x, y), in mask pixels; clamped to its borders."""
    height, width = integral.shape
    x, y = np.clip(x, 0, width - 1), np.clip(y, 0, height - 1)
    column = np.minimum(x.astype(np.intp), width - 2)
    row = np.minimum(y.astype(np.intp), height - 2)
    across, down = x - column, y - row
    upper = integral[row, column] * (1 - across) + integral[row, column + 1] * across
    lower = integral[row + 1, column] * (1 - across) + integral[row + 1, column + 1] * across
    return np.asarray(upper * (1 - down) + lower * down)

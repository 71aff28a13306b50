"""From level-0 coordinates to cells of the position lattice: one pure function, every frame.

The encoder was trained on cells of 256 px at 0.5 mpp. The maintainers say that coordinates must be
given at that resolution; the tools around it give five different things (see `recipes.py`), so each
frame found in the field has a name here.
"""

import math
from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from slidenet.core.errors import ConfigError, CoordinateError
from slidenet.core.records import check_coords
from slidenet.slide_encoders.longnet.config import CELL_PX, GRID_SIZE

Cells = npt.NDArray[np.int64]
Frame = Literal["physical", "physical_floor", "level0", "tile_side", "micron_fp16"]

FRAME_MPP = 0.5
"""Resolution of the lattice the released encoder was trained on."""

STAMP_MPP = 256 / 224
"""STAMP cuts tiles of 256 microns into 224 px and counts pixels of that size."""

_HALF_PIXEL = 0.5 + 1e-6


def grid_cells(
    coords: Cells,
    *,
    slide_mpp: float,
    tile_size_px: int = 256,
    target_mpp: float = FRAME_MPP,
    frame: Frame = "physical",
    slide: str = "",
) -> Cells:
    """Lattice cells of tiles, by the frame of a recipe.

    Frames (s = slide_mpp, c = coords in level-0 px):

    - "physical": floor((c + 1/2) * s / 0.5 / 256), 256 px at 0.5 mpp, whatever the scanner. Tiles
      lie on a physical lattice rounded to whole level-0 pixels, c = round(i * step), and half a
      pixel makes every such c fall into cell i for any step (plain floor sends those rounded down
      into cell i - 1, on top of a neighbour). Where the step is whole it changes nothing.
    - "physical_floor": floor(floor(c * s / target_mpp) / 256), as slide2vec computes it.
    - "level0": floor(c / 256), the cell shrinks with the scanner's resolution.
    - "tile_side": floor(c / side of a tile in level-0 px).
    - "micron_fp16": pixels of 8/7 micron held and indexed in half precision, as STAMP does; above
      2048 the index column * 1000 + row loses its last bits, so that neighbours share a cell.

    Args:
        coords: int64 (N, 2), (x, y) of top-left corners, level-0 pixels.
        slide_mpp: Microns per level-0 pixel.
        tile_size_px: Side of a tile at `target_mpp`; read by "tile_side".
        target_mpp: Resolution of the tiles; read by "tile_side" and "physical_floor".
        frame: How to count.
        slide: Named in messages.

    Returns:
        int64 (N, 2), (column, row). Not checked against the lattice: see `contract.py`.

    Raises:
        CoordinateError: If coords are not int64 (N, 2) level-0 pixels, or overflow the frame.
        ConfigError: For an unknown frame or a resolution or size that is not positive.
    """
    check_coords(coords, slide=slide)
    for name, value in (
        ("slide_mpp", slide_mpp),
        ("target_mpp", target_mpp),
        ("tile_size_px", tile_size_px),
    ):
        if not (math.isfinite(value) and value > 0):
            raise ConfigError(f"{name}={value}", expected="a positive number", slide=slide)
    if frame not in get_args(Frame):
        raise ConfigError(
            f"unknown coordinate frame {frame!r}", expected=f"one of {', '.join(get_args(Frame))}"
        )
    side_level0 = round(tile_size_px * target_mpp / slide_mpp)
    counters: dict[Frame, Callable[[], Cells]] = {
        "physical": lambda: _floor((coords + _HALF_PIXEL) * (slide_mpp / FRAME_MPP) / CELL_PX),
        "physical_floor": lambda: _slide2vec_cells(coords, slide_mpp / target_mpp),
        "level0": lambda: coords // CELL_PX,
        "tile_side": lambda: coords // max(side_level0, 1),
        "micron_fp16": lambda: _stamp_cells(coords, slide_mpp, slide),
    }
    return counters[frame]()


def _floor(values: npt.NDArray[np.floating]) -> Cells:
    cells: Cells = np.floor(values).astype(np.int64)
    return cells


def _slide2vec_cells(coords: Cells, scale: float) -> Cells:
    pixels = np.floor(coords.astype(np.float32) * np.float32(scale))
    return _floor(pixels / np.float32(CELL_PX))


def _stamp_cells(coords: Cells, slide_mpp: float, slide: str) -> Cells:
    pixels = (coords * slide_mpp / STAMP_MPP).astype(np.float32)
    with np.errstate(over="ignore"):
        half = np.floor(pixels.astype(np.float16) / np.float16(CELL_PX))
        index = half[:, 0] * np.float16(GRID_SIZE) + half[:, 1]
    if not np.isfinite(index).all():
        reach_mm = coords[:, 0].max() * slide_mpp / 1000
        raise CoordinateError(
            f"tiles reach {reach_mm:.1f} mm to the right, where the half-precision position index "
            "of this recipe overflows",
            expected="tiles within 19.3 mm",
            remedy="use --recipe gigapath",
            slide=slide,
        )
    return np.stack(np.divmod(index.astype(np.int64), GRID_SIZE), axis=1)

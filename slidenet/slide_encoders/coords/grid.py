"""From level-0 coordinates to cells of the position lattice: every frame found in the field, once.

The encoder was trained on cells of 256 px at 0.5 mpp. The maintainers say that coordinates must be
given at that resolution; the tools around it give five different things (see `recipes.py`), so each
of them is a `Frame` here, and all there is to know about it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from slidenet.core.arrays import IntArray
from slidenet.core.checks import check_choice, check_positive
from slidenet.core.errors import CoordinateError
from slidenet.core.records import check_coords
from slidenet.core.registry import Registry
from slidenet.slide_encoders.longnet.config import CELL_PX, GRID_SIZE

FRAME_MPP = 0.5
"""Resolution of the lattice the released encoder was trained on."""


@dataclass(frozen=True, slots=True)
class TileScale:
    """What a frame may go by besides the coordinates.

    Attributes:
        slide_mpp: Microns per level-0 pixel.
        tile_size_px: Side of a tile at `target_mpp`.
        target_mpp: Resolution of the tiles.
    """

    slide_mpp: float
    tile_size_px: int = CELL_PX
    target_mpp: float = FRAME_MPP

    @property
    def side_level0(self) -> int:
        """Side of a tile in whole level-0 pixels, at least 1."""
        return max(round(self.tile_size_px * self.target_mpp / self.slide_mpp), 1)


@dataclass(frozen=True, slots=True)
class Frame:
    """A way of counting cells.

    Attributes:
        cells: Level-0 coords (N, 2) and the scale to (column, row) (N, 2).
        side: Side of a cell in level-0 pixels.
    """

    cells: Callable[[IntArray, TileScale], IntArray]
    side: Callable[[TileScale], float]


FRAMES: Registry[Frame] = Registry("coordinate frame")


def grid_cells(
    coords: IntArray,
    *,
    slide_mpp: float,
    tile_size_px: int = CELL_PX,
    target_mpp: float = FRAME_MPP,
    frame: str = "physical",
    slide: str = "",
) -> IntArray:
    """Lattice cells of tiles, by the frame of a recipe.

    Args:
        coords: int64 (N, 2), (x, y) of top-left corners, level-0 pixels.
        slide_mpp: Microns per level-0 pixel.
        tile_size_px: Side of a tile at `target_mpp`.
        target_mpp: Resolution of the tiles.
        frame: How to count, a name in `FRAMES`.
        slide: Named in messages.

    Returns:
        int64 (N, 2), (column, row). Not checked against the lattice: see `contract.py`.

    Raises:
        CoordinateError: If coords are not int64 (N, 2) level-0 pixels, or overflow the frame.
        ConfigError: For an unknown frame, or a resolution or size that is not positive.
    """
    check_coords(coords, slide=slide)
    check_positive(slide_mpp=slide_mpp, target_mpp=target_mpp, tile_size_px=tile_size_px)
    check_choice(FRAMES, frame=frame)
    try:
        return FRAMES[frame].cells(coords, TileScale(slide_mpp, tile_size_px, target_mpp))
    except CoordinateError as error:
        error.with_slide(slide)
        raise


def _floor(values: npt.NDArray[np.floating]) -> IntArray:
    cells: IntArray = np.floor(values).astype(np.int64)
    return cells


def _physical(coords: IntArray, scale: TileScale) -> IntArray:
    """floor((c + 1/2) * slide_mpp / 0.5 / 256): 256 px at 0.5 mpp, whatever the scanner.

    Tiles lie on a physical lattice rounded to whole level-0 pixels, c = round(i * step), and half a
    pixel makes every such c fall into cell i for any step (plain floor sends those rounded down
    into cell i - 1, on top of a neighbour). Where the step is whole it changes nothing.
    """
    half_pixel = 0.5 + 1e-6
    return _floor((coords + half_pixel) * (scale.slide_mpp / FRAME_MPP) / CELL_PX)


FRAMES.add("physical", Frame(_physical, lambda scale: CELL_PX * FRAME_MPP / scale.slide_mpp))


def _physical_floor(coords: IntArray, scale: TileScale) -> IntArray:
    """floor(floor(c * slide_mpp / target_mpp) / 256) in float32, as slide2vec computes it."""
    ratio = np.float32(scale.slide_mpp / scale.target_mpp)
    return _floor(np.floor(coords.astype(np.float32) * ratio) / np.float32(CELL_PX))


FRAMES.add(
    "physical_floor",
    Frame(_physical_floor, lambda scale: CELL_PX * scale.target_mpp / scale.slide_mpp),
)

# The cell shrinks with the scanner's resolution.
FRAMES.add("level0", Frame(lambda coords, scale: coords // CELL_PX, lambda scale: float(CELL_PX)))

FRAMES.add(
    "tile_side",
    Frame(lambda coords, scale: coords // scale.side_level0, lambda scale: scale.side_level0),
)

STAMP_MPP = 256 / 224
"""STAMP cuts tiles of 256 microns into 224 px and counts pixels of that size."""


def _micron_fp16(coords: IntArray, scale: TileScale) -> IntArray:
    """Pixels of 8/7 micron held and indexed in half precision, as STAMP does.

    Above 2048 the index column * 1000 + row loses its last bits, so that neighbours share a cell.
    """
    pixels = (coords * scale.slide_mpp / STAMP_MPP).astype(np.float32)
    with np.errstate(over="ignore"):
        half = np.floor(pixels.astype(np.float16) / np.float16(CELL_PX))
        index = half[:, 0] * np.float16(GRID_SIZE) + half[:, 1]
    if not np.isfinite(index).all():
        reach_mm = coords[:, 0].max() * scale.slide_mpp / 1000
        raise CoordinateError(
            f"tiles reach {reach_mm:.1f} mm to the right, where the half-precision position index "
            "of this recipe overflows",
            expected="tiles within 19.3 mm",
            remedy="use --recipe gigapath",
        )
    return np.stack(np.divmod(index.astype(np.int64), GRID_SIZE), axis=1)


FRAMES.add("micron_fp16", Frame(_micron_fp16, lambda scale: CELL_PX * STAMP_MPP / scale.slide_mpp))

"""Several slides on one position lattice, without any tile of one near a tile of another."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from slidenet.core.errors import CoordinateError
from slidenet.slide_encoders.longnet.config import GRID_SIZE

GAP_CELLS = 8
"""Empty cells between slides; 1 mm."""

Cells = npt.NDArray[np.int64]


def side_by_side(slides: Sequence[Cells], *, bag_id: str = "") -> Cells:
    """Cells of several slides as cells of one lattice.

    One slide stays where it is. Several are moved, none is turned: from left to right, each beside
    the one before, and below all of those where the lattice ends, `GAP_CELLS` apart.

    Args:
        slides: int64 (L_i, 2), (column, row) of the tiles of each slide.
        bag_id: Named in messages.

    Returns:
        int64 (sum of L_i, 2), in order.

    Raises:
        CoordinateError: They do not fit.
    """
    if len(slides) == 1:
        return slides[0]
    moved, corner, shelf_bottom = [], np.zeros(2, dtype=np.int64), 0
    for cells in slides:
        cells = cells - cells.min(axis=0)
        width, height = (int(side) + 1 for side in cells.max(axis=0))
        if corner[0] and corner[0] + width > GRID_SIZE:
            corner = np.array([0, shelf_bottom + GAP_CELLS])
        if corner[0] + width > GRID_SIZE or corner[1] + height > GRID_SIZE:
            raise CoordinateError(
                f"its {len(slides)} slides do not fit side by side on the lattice of positions",
                expected=f"at most {GRID_SIZE} x {GRID_SIZE} cells of 256 px at 0.5 mpp",
                remedy="make bags of slides and average the predictions of a patient",
                slide=bag_id,
            )
        moved.append(cells + corner)
        shelf_bottom = max(shelf_bottom, int(corner[1]) + height)
        corner = corner + np.array([width + GAP_CELLS, 0])
    return np.concatenate(moved)


def turned(grid_xy: Cells, rng: np.random.Generator) -> Cells:
    """The cells of a bag mirrored and turned by quarters, by chance, within where they were.

    Args:
        grid_xy: int64 (L, 2), (column, row).
        rng: Chooses among the eight ways, all alike.

    Returns:
        int64 (L, 2), none smaller than the smallest column and row before.
    """
    swap, *mirror = rng.random(3) < 0.5
    start = grid_xy.min(axis=0)
    cells = grid_xy - start
    cells = np.where(mirror, cells.max(axis=0) - cells, cells)
    result: Cells = start + (cells[:, ::-1] if swap else cells)
    return result

"""Fixed sine-cosine positions on the 1000 x 1000 lattice, without the 3 GB table.

The published table holds one row per cell, [sin y, cos y, sin x, cos x]. A row is two rows of one
axis table side by side, so 1000 x D/2 numbers (1.5 MB for D = 768) say the same thing, bit for bit.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slidenet.core.errors import CoordinateError


def axis_table(grid_size: int, embed_dim: int) -> Tensor:
    """Positions along one axis.

    Args:
        grid_size: Number of cells along the axis.
        embed_dim: Width of a full position; the axis takes half of it.

    Returns:
        float32 (grid_size, embed_dim / 2), [sin, cos] of position times 1e4^(-k / (D/4)), computed
        in float64 by numpy like the published table and rounded once.
    """
    assert embed_dim % 4 == 0, embed_dim
    quarter = embed_dim // 4
    omega = 1.0 / 10000 ** (np.arange(quarter, dtype=np.float64) / quarter)
    angles = np.arange(grid_size, dtype=np.float64)[:, None] * omega
    table = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    return torch.from_numpy(table.astype(np.float32))


class GridPositions(nn.Module):
    """Position of a cell: the axis rows of its row (y) and of its column (x), side by side.

    Args:
        grid_size: Cells along each side of the lattice.
        embed_dim: Width of a position.
    """

    axis: Tensor

    def __init__(self, grid_size: int, embed_dim: int) -> None:
        super().__init__()
        self.grid_size = grid_size
        self.register_buffer("axis", axis_table(grid_size, embed_dim), persistent=False)

    def forward(self, grid_xy: Tensor) -> Tensor:
        """int64 (..., 2) cells (column, row) -> (..., D). Cells must lie on the lattice."""
        # F.embedding refuses what lies outside; plain indexing would wrap negative cells silently.
        rows = F.embedding(grid_xy[..., 1], self.axis)
        columns = F.embedding(grid_xy[..., 0], self.axis)
        return torch.cat([rows, columns], dim=-1)


def checked_cells(grid_xy: Tensor, mask: Tensor | None, grid_size: int) -> Tensor:
    """The cells of slides that `check_grid_xy` takes, compiled or not; those of real tiles count.

    Args:
        grid_xy: Cells (B, L, 2), (column, row).
        mask: Bool (B, L), True = real tile.
        grid_size: Cells along each side.

    Returns:
        The cells themselves; in a compiled graph others alike, zero where masked, so that no
        compiler takes the check for work that nobody reads.

    Raises:
        CoordinateError: As `check_grid_xy`.
    """
    if not torch.compiler.is_compiling():
        check_grid_xy(grid_xy if mask is None else grid_xy[mask], grid_size)
        return grid_xy
    _check_cell_type(grid_xy)
    checked: Tensor = torch.ops.slidenet.checked_cells(grid_xy, mask, grid_size)
    return checked


@torch.library.custom_op(
    "slidenet::checked_cells",
    mutates_args=(),
    schema="(Tensor grid_xy, Tensor? mask, int grid_size) -> Tensor",
)
def _checked_cells(grid_xy: Tensor, mask: Tensor | None, grid_size: int) -> Tensor:
    check_grid_xy(grid_xy if mask is None else grid_xy[mask], grid_size)
    cells = grid_xy.clone(memory_format=torch.contiguous_format)
    return cells if mask is None else cells.masked_fill_(~mask[..., None], 0)


@_checked_cells.register_fake
def _fake_checked_cells(grid_xy: Tensor, mask: Tensor | None, grid_size: int) -> Tensor:
    return grid_xy.new_empty(grid_xy.shape)


def check_grid_xy(grid_xy: Tensor, grid_size: int, *, slide: str = "") -> None:
    """Refuses cells that are not int64 (..., 2) within the lattice.

    Args:
        grid_xy: Cells (column, row); padding already removed or zeroed.
        grid_size: Cells along each side.
        slide: Named in the message.

    Raises:
        CoordinateError: With the extent found and the reason the lattice ends where it does.
    """
    _check_cell_type(grid_xy, slide)
    if not grid_xy.numel():
        return
    low, high = int(grid_xy.min()), int(grid_xy.max())
    if low < 0 or high >= grid_size:
        raise CoordinateError(
            f"grid_xy spans cells {low} to {high}",
            expected=f"0 to {grid_size - 1}: the encoder was built with {grid_size} x {grid_size} "
            "positions, and a cell beyond them would silently take the position of another",
            remedy="check that grid_xy holds lattice cells, not pixels; a slide this large must "
            "be split into parts, each encoded from its own origin",
            slide=slide,
        )


def _check_cell_type(grid_xy: Tensor, slide: str = "") -> None:
    """The part of `check_grid_xy` that needs no number."""
    if grid_xy.dtype != torch.int64 or grid_xy.ndim < 1 or grid_xy.shape[-1] != 2:
        raise CoordinateError(
            f"grid_xy is {grid_xy.dtype} of shape {tuple(grid_xy.shape)}",
            expected="int64 of shape (B, L, 2), (column, row) cells",
            remedy="compute it with slidenet.slide_encoders.grid_cells from level-0 coords",
            slide=slide,
        )

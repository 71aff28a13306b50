"""The coordinate contract: what must hold between coords, cells and slide before encoding.

A slide encoder never complains about wrong coordinates; it only gives a worse vector. So the usual
mistakes are looked for here, and the message names the slide and the numbers.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from slidenet.core.arrays import IntArray
from slidenet.core.errors import CoordinateError
from slidenet.core.records import TileGeometry, check_coords
from slidenet.slide_encoders.coords.grid import FRAME_MPP
from slidenet.slide_encoders.coords.remedies import (
    STEP_TOLERANCE,
    USE_OURS,
    cell_level0,
    remedy_of_cells,
    remedy_of_reach,
    remedy_of_shared_cells,
    remedy_of_step,
)
from slidenet.slide_encoders.longnet.config import CELL_PX, GRID_SIZE
from slidenet.slide_encoders.recipes import EmbeddingRecipe


class CoordinateWarning(UserWarning):
    """Coordinates a recipe can use, though not as its encoder was trained."""


@dataclass(frozen=True, slots=True)
class CoordinateProblem:
    """One broken clause of the contract.

    Attributes:
        found: What was found, with numbers.
        expected: What would have been right.
        remedy: What to do.
        fatal: Whether the embedding would be wrong rather than merely unusual.
    """

    found: str
    expected: str
    remedy: str
    fatal: bool


def checked_grid_xy(
    coords: IntArray,
    geometry: TileGeometry,
    *,
    recipe: EmbeddingRecipe,
    grid_size: int = GRID_SIZE,
    slide: str = "",
) -> IntArray:
    """Lattice cells of a slide's tiles by `recipe`, once the contract holds.

    Args:
        coords: int64 (N, 2), (x, y) of top-left corners, level-0 pixels.
        geometry: How the tiles were cut; brings mpp, tile size, stride and extent of the slide.
        recipe: Whose frame to use. Recipes of other tools warn where ours refuses.
        grid_size: Cells along each side of the encoder's lattice.
        slide: Named in messages.

    Returns:
        int64 (N, 2), (column, row).

    Raises:
        CoordinateError: For the first fatal problem.
    """
    check_coords(coords, slide=slide)
    if not geometry.placed:
        raise CoordinateError(
            f"recipe {recipe.name!r} goes by where tiles lie, and the tile images of this slide "
            "have no places",
            expected="tiles with places",
            remedy="use --recipe mean or mean_std; or give the places when the tiles are "
            "preprocessed (--tile-frame)",
            slide=slide,
        )
    grid_xy = recipe.grid_cells(
        coords,
        slide_mpp=geometry.slide_mpp.value,
        tile_size_px=geometry.tile_size_px,
        target_mpp=geometry.target_mpp,
        slide=slide,
    )
    for problem in coordinate_problems(
        coords, grid_xy, geometry, recipe=recipe, grid_size=grid_size
    ):
        error = CoordinateError(
            problem.found, expected=problem.expected, remedy=problem.remedy, slide=slide
        )
        if problem.fatal:
            raise error
        warnings.warn(str(error), CoordinateWarning, stacklevel=2)
    return grid_xy


def coordinate_problems(
    coords: IntArray,
    grid_xy: IntArray,
    geometry: TileGeometry,
    *,
    recipe: EmbeddingRecipe,
    grid_size: int = GRID_SIZE,
) -> list[CoordinateProblem]:
    """Every broken clause, fatal ones first; empty when the contract holds.

    Args:
        coords: int64 (N, 2), level-0 pixels.
        grid_xy: int64 (N, 2), their cells by `recipe`.
        geometry: How the tiles were cut.
        recipe: Whose frame the cells are in.
        grid_size: Cells along each side of the encoder's lattice.
    """
    if not len(coords):
        return []
    found = [
        *_extent(coords, geometry),
        *_step(coords, geometry),
        *_beyond_grid(coords, grid_xy, geometry, recipe, grid_size),
        *_repeated(coords, recipe),
        *_shared_cells(coords, grid_xy, geometry, recipe),
        *_cell_per_tile(geometry, recipe),
        *_frame(geometry, recipe),
    ]
    return sorted(found, key=lambda problem: not problem.fatal)


def _extent(coords: IntArray, geometry: TileGeometry) -> Iterator[CoordinateProblem]:
    size = np.array([geometry.level0_width, geometry.level0_height])
    x, y = (int(v) for v in coords.max(axis=0))
    if (coords.max(axis=0) < size).all():
        return
    where = f"coords reach x={x}, y={y} on a slide of {size[0]} x {size[1]} level-0 px"
    if (coords.max(axis=0) < size[::-1]).all():
        yield CoordinateProblem(
            f"{where}: they would fit with x and y swapped",
            "(x, y): column first, row second",
            "swap the two columns of coords, coords[:, ::-1]",
            fatal=True,
        )
    else:
        yield CoordinateProblem(
            where,
            "top-left corners within the slide, in level-0 pixels",
            "check that coords belong to this slide and are in level-0 pixels",
            fatal=True,
        )


def _step(coords: IntArray, geometry: TileGeometry) -> Iterator[CoordinateProblem]:
    """The smallest distance between two columns or two rows of tiles."""
    expected = geometry.stride_level0
    gaps = np.concatenate([np.diff(np.unique(coords[:, axis])) for axis in (0, 1)])
    if not len(gaps):
        return
    step = int(gaps.min())
    steps = step / expected
    # Rounded lattice points are up to one pixel off their exact distance.
    tolerance = max(STEP_TOLERANCE * max(round(steps), 1), 1.0 / expected)
    if round(steps) >= 1 and abs(steps - round(steps)) <= tolerance:
        return
    yield CoordinateProblem(
        f"neighbouring tiles are {step} px apart",
        f"a multiple of {expected:.1f} level-0 px (stride {geometry.stride_px} px at "
        f"{geometry.target_mpp} mpp on a slide of {geometry.slide_mpp.value} mpp)",
        remedy_of_step(step, geometry),
        fatal=True,
    )


def _beyond_grid(
    coords: IntArray,
    grid_xy: IntArray,
    geometry: TileGeometry,
    recipe: EmbeddingRecipe,
    grid_size: int,
) -> Iterator[CoordinateProblem]:
    column, row = (int(v) for v in grid_xy.max(axis=0))
    if max(column, row) < grid_size and grid_xy.min() >= 0:
        return
    outside = int(((grid_xy < 0) | (grid_xy >= grid_size)).any(axis=1).sum())
    reach_mm = geometry.slide_mpp.value * max(geometry.level0_width, geometry.level0_height) / 1000
    cell_um = cell_level0(geometry, recipe) * geometry.slide_mpp.value
    yield CoordinateProblem(
        f"{outside} of {len(grid_xy)} tiles lie beyond the position lattice "
        f"(last column {column}, last row {row}; the slide is {reach_mm:.0f} mm long)",
        f"cells 0 to {grid_size - 1}, {grid_size * cell_um / 1000:.3g} mm at {CELL_PX} px of "
        f"{cell_um / CELL_PX:.3g} mpp, as recipe {recipe.name!r} counts",
        remedy_of_reach(coords, geometry, recipe, grid_size),
        fatal=True,
    )


def _repeated(coords: IntArray, recipe: EmbeddingRecipe) -> Iterator[CoordinateProblem]:
    """Tiles that are there more than once."""
    rows, first, counts = np.unique(coords, axis=0, return_index=True, return_counts=True)
    repeated = len(coords) - len(rows)
    if not repeated:
        return
    most = int(counts.argmax())
    x, y = (int(v) for v in rows[most])
    yield CoordinateProblem(
        f"{repeated} of {len(coords)} rows of coords repeat another row (x={x}, y={y} is there "
        f"{int(counts[most])} times, first in row {int(first[most])})",
        "every tile once",
        "remove the repeated rows of coords, and the rows of features that belong to them",
        fatal=recipe.strict,
    )


def _shared_cells(
    coords: IntArray, grid_xy: IntArray, geometry: TileGeometry, recipe: EmbeddingRecipe
) -> Iterator[CoordinateProblem]:
    """Different tiles in one cell."""
    tiles, rows = np.unique(coords, axis=0, return_index=True)
    cells, first, counts = np.unique(grid_xy[rows], axis=0, return_index=True, return_counts=True)
    shared = len(tiles) - len(cells)
    if not shared:
        return
    most = int(counts.argmax())
    column, row = (int(v) for v in cells[most])
    x, y = (int(v) for v in tiles[first[most]])
    yield CoordinateProblem(
        f"{shared} of {len(tiles)} tiles share a cell with another tile (cell ({column}, {row}) "
        f"holds {int(counts[most])}, the first at x={x}, y={y})",
        "one tile per cell",
        remedy_of_shared_cells(tiles, geometry, recipe),
        fatal=recipe.strict,
    )


def _cell_per_tile(geometry: TileGeometry, recipe: EmbeddingRecipe) -> Iterator[CoordinateProblem]:
    cells = geometry.stride_level0 / cell_level0(geometry, recipe)
    if abs(cells - 1) <= STEP_TOLERANCE:
        return
    yield CoordinateProblem(
        f"tiles are {cells:.2f} cells apart (stride {geometry.stride_px} px at "
        f"{geometry.target_mpp} mpp, slide of {geometry.slide_mpp.value} mpp, "
        f"recipe {recipe.name!r})",
        "1 cell, the spacing the encoder was trained on",
        remedy_of_cells(geometry, recipe) or f"tile with {CELL_PX} px at {FRAME_MPP} mpp exactly",
        fatal=False,
    )


def _frame(geometry: TileGeometry, recipe: EmbeddingRecipe) -> Iterator[CoordinateProblem]:
    cell_mpp = cell_level0(geometry, recipe) * geometry.slide_mpp.value / CELL_PX
    if abs(cell_mpp / FRAME_MPP - 1) <= STEP_TOLERANCE:
        return
    yield CoordinateProblem(
        f"recipe {recipe.name!r} counts cells of {CELL_PX} px at {cell_mpp:.3f} mpp on this slide "
        f"of {geometry.slide_mpp.value} mpp",
        f"{FRAME_MPP} mpp, the frame the encoder was trained in",
        f"{remedy_of_cells(geometry, recipe) or USE_OURS} unless you reproduce that tool's numbers",
        fatal=False,
    )

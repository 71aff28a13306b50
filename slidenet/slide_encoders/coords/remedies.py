"""What helps where tiles and cells do not meet: only what is not done yet, and would be enough."""

import numpy as np

from slidenet.core.arrays import IntArray
from slidenet.core.records import TileGeometry
from slidenet.slide_encoders.coords.grid import FRAME_MPP, FRAMES, TileScale, grid_cells
from slidenet.slide_encoders.longnet.config import CELL_PX
from slidenet.slide_encoders.recipes import EmbeddingRecipe

STEP_TOLERANCE = 0.02
"""A step may differ from what it should be by this share (mpp values are rounded by vendors)."""

USE_OURS = "use --recipe gigapath"
OUR_FRAME = "physical"


def cell_level0(geometry: TileGeometry, recipe: EmbeddingRecipe) -> float:
    """Side of a cell of the recipe's frame in level-0 pixels."""
    scale = TileScale(geometry.slide_mpp.value, geometry.tile_size_px, geometry.target_mpp)
    return FRAMES[recipe.frame].side(scale)


def our_cells(coords: IntArray, geometry: TileGeometry) -> IntArray:
    """The cells of our own recipe, (N, 2)."""
    return grid_cells(
        coords,
        slide_mpp=geometry.slide_mpp.value,
        tile_size_px=geometry.tile_size_px,
        target_mpp=geometry.target_mpp,
        frame=OUR_FRAME,
    )


def remedy_of_cells(geometry: TileGeometry, recipe: EmbeddingRecipe) -> str:
    """What gives one tile per cell of 256 px at 0.5 mpp; "" where all of that is done already."""
    steps = [_tile_anew(geometry)]
    published = TileScale(geometry.slide_mpp.value)  # with tiles as the encoder was trained on
    side = FRAMES[recipe.frame].side(published)
    if not _alike(side, CELL_PX * FRAME_MPP / geometry.slide_mpp.value):
        steps.append(USE_OURS)
    return ", and ".join(step for step in steps if step)


def remedy_of_shared_cells(
    coords: IntArray, geometry: TileGeometry, recipe: EmbeddingRecipe
) -> str:
    """What helps where different tiles share a cell."""
    if _tile_anew(geometry):
        return remedy_of_cells(geometry, recipe)
    if recipe.frame != OUR_FRAME:
        cells = our_cells(coords, geometry)
        if len(np.unique(cells, axis=0)) == len(cells):
            return f"{USE_OURS}, in whose cells each of these tiles is alone"
    steps = [
        "correct the slide's mpp, or give the tiles of one lattice: these lie closer together "
        "than the mpp and the stride say",
        remedy_of_cells(geometry, recipe),
    ]
    return "; and ".join(step for step in steps if step)


def remedy_of_reach(
    coords: IntArray, geometry: TileGeometry, recipe: EmbeddingRecipe, grid_size: int
) -> str:
    """What helps where tiles lie beyond the lattice."""
    remedies = ["encode a larger slide in parts, each from its own origin"]
    sides = [
        FRAMES[recipe.frame].side(
            TileScale(factor * geometry.slide_mpp.value, geometry.tile_size_px, geometry.target_mpp)
        )
        for factor in (1, 2)
    ]
    if sides[0] != sides[1]:  # the frame goes by the mpp
        remedies.insert(0, "check the slide's mpp")
    if recipe.frame != OUR_FRAME and our_cells(coords, geometry).max() < grid_size:
        remedies.append(f"{USE_OURS}, in whose cells this slide fits")
    return "; or ".join(remedies)


def remedy_of_step(step: int, geometry: TileGeometry) -> str:
    """What helps where tiles lie at other distances than the stride says."""
    remedy = "correct the slide's mpp, or the stride"
    times = step * geometry.scale / geometry.stride_level0
    if not _alike(geometry.scale, 1) and round(times) >= 1 and _alike(times, round(times)):
        return (
            "give coords in level-0 pixels (coords at the tile resolution must be multiplied by "
            f"{geometry.scale:.4g}); or {remedy}"
        )
    return remedy


def _tile_anew(geometry: TileGeometry) -> str:
    """How to tile instead, in the words of what is off; "" for tiles as the encoder knows them."""
    overlap = geometry.stride_px < geometry.tile_size_px
    if not _alike(geometry.tile_size_px * geometry.target_mpp, CELL_PX * FRAME_MPP):
        return f"tile with {CELL_PX} px at {FRAME_MPP} mpp" + (" without overlap" * overlap)
    if _alike(geometry.stride_px, geometry.tile_size_px):
        return ""
    what = "overlap" if overlap else "gaps"
    return f"tile without {what}, with a stride of {geometry.tile_size_px} px"


def _alike(found: float, wanted: float) -> bool:
    return abs(found / wanted - 1) <= STEP_TOLERANCE

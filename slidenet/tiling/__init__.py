"""Floor 3: the lattice of tiles, tissue under each, filters, and the tile set."""

from slidenet.tiling.filters import BlankFilter, BlurFilter, PenFilter, TileFilter
from slidenet.tiling.grid import grid, tissue_fractions
from slidenet.tiling.tile_set import TilingReport, choose_tiles, make_tile_set, tiling_identity

__all__ = [
    "BlankFilter",
    "BlurFilter",
    "PenFilter",
    "TileFilter",
    "TilingReport",
    "choose_tiles",
    "grid",
    "make_tile_set",
    "tiling_identity",
    "tissue_fractions",
]

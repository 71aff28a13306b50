"""Floor 4: the lattice of tiles, tissue under each, filters, and the tile set."""

from slidenet.tiling.as_cut import plan_as_cut
from slidenet.tiling.filters import FILTERS, BlankFilter, BlurFilter, PenFilter, TileFilter
from slidenet.tiling.grid import grid, tissue_fractions
from slidenet.tiling.region_shares import regions_of_tiles
from slidenet.tiling.tile_set import TilingReport, choose_tiles, tiling_identity

__all__ = [  # noqa: RUF022 - plain sorted order, as the architecture test asks
    "BlankFilter",
    "BlurFilter",
    "FILTERS",
    "PenFilter",
    "TileFilter",
    "TilingReport",
    "choose_tiles",
    "grid",
    "plan_as_cut",
    "regions_of_tiles",
    "tiling_identity",
    "tissue_fractions",
]

"""What is declared of a folder of tile images, since no picture tells it."""

from dataclasses import dataclass

from slidenet.core.checks import check_choice, check_positive

LEVEL0, TILE, GRID, NONE = "level0", "tile", "grid", "none"
TILE_FRAMES = (LEVEL0, TILE, GRID, NONE)
"""What coordinates of tiles count: pixels of level 0 of the slide they were cut from, pixels of the
tiles, columns and rows of tiles; or nothing, where tiles have no places."""


@dataclass(frozen=True, slots=True)
class TileDeclaration:
    """How tile images are to be understood.

    Attributes:
        tile_mpp: Microns per pixel of the images; None where it was not said.
        frame: What their coordinates count, one of `TILE_FRAMES`; None where it was not said.

    Raises:
        ConfigError: Another frame, or a resolution that is not above zero.
    """

    tile_mpp: float | None = None
    frame: str | None = None

    def __post_init__(self) -> None:
        if self.tile_mpp is not None:
            check_positive(tile_mpp=self.tile_mpp)
        if self.frame is not None:
            check_choice(TILE_FRAMES, tile_frame=self.frame)

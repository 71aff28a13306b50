"""Tiles that another tool has cut, taken as they are."""

import math
from collections.abc import Mapping

from slidenet.core.errors import ResolutionError
from slidenet.core.records import TileGeometry
from slidenet.slides import Slide, plan_tiles


def plan_as_cut(
    slide: Slide, asked: Mapping[str, float], *, stride_px: int | None, reading: int
) -> TileGeometry:
    """How the tiles of a folder of tile images lie on their slide.

    Args:
        slide: The open folder.
        asked: What the user asked for of `target_mpp` and `tile_size_px`; it must be what they are.
        stride_px: Step between tiles in their pixels; None: as their places tell.
        reading: As `TileGeometry.reading`; it changes nothing here, but one cohort has one.

    Raises:
        ResolutionError: Other tiles were asked for.
    """
    cut = slide.cut_tiles
    assert cut is not None, "the caller has looked"
    own = {"target_mpp": cut.tile_mpp, "tile_size_px": cut.tile_size_px}
    for name, value in asked.items():
        if not math.isclose(value, own[name], rel_tol=1e-6):
            flag = "--" + name.replace("_", "-")
            raise ResolutionError(
                f"its tiles are cut already, {cut.tile_size_px} px at {cut.tile_mpp:g} mpp, and "
                f"{flag} {value:g} was asked for",
                expected="tiles as they are",
                remedy=f"leave out {flag} (in Python, {name}), or give the slide itself instead "
                "of its tiles",
                slide=slide.path.name,
            )
    return plan_tiles(
        slide,
        target_mpp=cut.tile_mpp,
        tile_size_px=cut.tile_size_px,
        stride_px=cut.stride_px if stride_px is None else stride_px,
        reading=reading,
    )

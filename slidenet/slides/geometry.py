"""Which level to read and how large a square, for tiles of a physical size. No pixels here."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from slidenet.core.checks import check_choice, check_positive, check_whole, refused
from slidenet.core.errors import ResolutionError, SlideError
from slidenet.core.records import (
    BLENDED_READING,
    READINGS,
    SHRINKINGS,
    WHOLE_PIXEL_READING,
    CutTiles,
    SlideMpp,
    TileGeometry,
)
from slidenet.core.units import Mpp
from slidenet.slides.protocol import Slide

TARGET_MPP = 0.5
TILE_SIZE_PX = 256
MPP_TOLERANCE = 0.02
_MAGNIFICATIONS = (5, 10, 20, 40)
LEAST_RESIDUAL_PX = 1e-3
"""Nearer to a whole pixel of a level than this is on it, as far as eyes and encoders can tell."""


@dataclass(frozen=True, slots=True)
class LevelChoice:
    """What to read for one tile.

    Attributes:
        level: The level.
        read_mpp: Its resolution.
        read_size_px: Side of the square on that level, in its pixels.
    """

    level: int
    read_mpp: Mpp
    read_size_px: int


def choose_level(
    slide_mpp: float,
    level_downsamples: Sequence[float],
    *,
    target_mpp: float,
    tile_size_px: int,
    allow_upsampling: bool = False,
    mpp_tolerance: float = MPP_TOLERANCE,
    slide: str = "",
) -> LevelChoice:
    """The coarsest level no coarser than asked for.

    A level within `mpp_tolerance` of the target is read pixel for pixel; of a finer one a larger
    square is read, to be shrunk. Its side is rounded to whole pixels, which is wrong by at most
    half a pixel of that level and does not move the lattice.

    Args:
        slide_mpp: Microns per pixel of level 0.
        level_downsamples: Level-0 pixels per pixel of each level; infinite for one not to be used.
        target_mpp: Microns per pixel asked for.
        tile_size_px: Side of a tile at `target_mpp`.
        allow_upsampling: Whether level 0 may be enlarged when it is coarser than the target.
        mpp_tolerance: Relative difference of resolutions that counts as equal.
        slide: Name of the slide, for messages.

    Raises:
        ResolutionError: Level 0 is coarser than the target and upsampling was not allowed.
    """
    limit = target_mpp * (1 + mpp_tolerance)
    mpps = [slide_mpp * downsample for downsample in level_downsamples]
    fine_enough = [level for level, mpp in enumerate(mpps) if mpp <= limit]
    if not fine_enough and not allow_upsampling:
        raise ResolutionError(
            f"level 0 has {slide_mpp:.4g} mpp, coarser than the target {target_mpp:.4g} mpp, "
            f"so pixels would be enlarged {slide_mpp / target_mpp:.2f} times",
            expected=f"a slide of at most {limit:.4g} mpp",
            remedy=_looks_like_magnification(slide_mpp)
            + f"pass --target-mpp {slide_mpp:.4g} or more, or --allow-upsampling (in Python, "
            "target_mpp, allow_upsampling=True)",
            slide=slide,
        )
    level = max(fine_enough, key=lambda i: mpps[i]) if fine_enough else 0
    read_mpp = mpps[level]
    if target_mpp * (1 - mpp_tolerance) <= read_mpp <= limit:
        return LevelChoice(level, Mpp(read_mpp), tile_size_px)
    return LevelChoice(level, Mpp(read_mpp), max(1, round(tile_size_px * target_mpp / read_mpp)))


def _looks_like_magnification(mpp: float) -> str:
    """A hint for whoever gave a magnification where microns per pixel are asked for."""
    if mpp not in _MAGNIFICATIONS:
        return ""
    return f"{mpp:g} looks like a magnification (20x is about 0.5 mpp): correct it if so; else "


def plan_tiles(
    slide: Slide,
    *,
    target_mpp: float = TARGET_MPP,
    tile_size_px: int = TILE_SIZE_PX,
    stride_px: int | None = None,
    allow_upsampling: bool = False,
    mpp_tolerance: float = MPP_TOLERANCE,
    reading: int = WHOLE_PIXEL_READING,
    shrinking: str = "area",
) -> TileGeometry:
    """How tiles of `tile_size_px` at `target_mpp` lie on a slide and are read from it.

    Args:
        slide: The slide.
        target_mpp: Microns per pixel of a tile.
        tile_size_px: Side of a tile in pixels at `target_mpp`.
        stride_px: Step between tiles in pixels at `target_mpp`; None means the tile size.
        allow_upsampling: Whether level 0 may be enlarged when it is coarser than the target.
        mpp_tolerance: Relative difference of resolutions that counts as equal.
        reading: 2, whole pixels of the level read; or 1, the way of files of version 1, which also
            chooses among all levels the file claims to have.
        shrinking: "area", or "jpeg" where the decoder of JPEG tiles may shrink (not in reading 1).

    Raises:
        ConfigError: A setting is out of range.
        MissingMppError: The slide does not say its resolution.
        ResolutionError: Level 0 is coarser than the target and upsampling was not allowed.
        SlideError: Reading 1 chose a level that is no copy of level 0.
    """
    stride_px = tile_size_px if stride_px is None else stride_px
    check_tile_settings(target_mpp, tile_size_px, stride_px)
    if not 0 <= mpp_tolerance < 0.5:
        raise refused("mpp_tolerance", mpp_tolerance, "a share from 0 to below 0.5")
    check_reading(reading, shrinking)
    if slide.cut_tiles is not None:
        return _geometry_of_cut(
            slide, slide.cut_tiles, target_mpp, tile_size_px, stride_px, reading
        )
    slide_mpp: SlideMpp = slide.slide_mpp
    downsamples: Sequence[float] = slide.level_downsamples
    if reading != BLENDED_READING:
        downsamples = [math.inf if level.problem else level.downsample for level in slide.levels]
    choice = choose_level(
        slide_mpp.value,
        downsamples,
        target_mpp=target_mpp,
        tile_size_px=tile_size_px,
        allow_upsampling=allow_upsampling,
        mpp_tolerance=mpp_tolerance,
        slide=slide.path.name,
    )
    check_true_level(slide, choice.level)
    width, height = slide.level_dimensions[0]
    return TileGeometry(
        slide_mpp=slide_mpp,
        target_mpp=Mpp(target_mpp),
        read_mpp=choice.read_mpp,
        level=choice.level,
        tile_size_px=tile_size_px,
        stride_px=stride_px,
        read_size_px=choice.read_size_px,
        level0_width=width,
        level0_height=height,
        reading=reading,
        shrinking=shrinking,
    )


def _geometry_of_cut(
    slide: Slide,
    cut: CutTiles,
    target_mpp: float,
    tile_size_px: int,
    stride_px: int,
    reading: int,
) -> TileGeometry:
    """Tiles as they were cut, or pictures of the very same places with fewer pixels.

    Raises:
        ResolutionError: Another part of the slide was asked for than the tiles show.
    """
    own_um = cut.tile_size_px * cut.tile_mpp
    if abs(tile_size_px * target_mpp / own_um - 1) > MPP_TOLERANCE:
        raise ResolutionError(
            f"its tiles are cut already, {cut.tile_size_px} px at {cut.tile_mpp:g} mpp, and tiles "
            f"of {tile_size_px} px at {target_mpp:g} mpp were asked for",
            expected="tiles as they are",
            remedy="leave out --tile-size-px and --target-mpp (in Python, tile_size_px, "
            "target_mpp); or cut the slide itself",
            slide=slide.path.name,
        )
    width, height = slide.level_dimensions[0]
    return TileGeometry(
        slide_mpp=slide.slide_mpp,
        target_mpp=Mpp(target_mpp),
        read_mpp=cut.tile_mpp,
        level=0,
        tile_size_px=tile_size_px,
        stride_px=stride_px,
        read_size_px=cut.tile_size_px,
        level0_width=width,
        level0_height=height,
        reading=reading,
        tile_frame=cut.frame,
    )


def check_true_level(slide: Slide, level: int) -> None:
    """Refuses to read tiles from a level that is no copy of level 0.

    Raises:
        SlideError: With what is wrong with the level.
    """
    levels = slide.levels
    problem = levels[level].problem if level < len(levels) else f"the slide has {len(levels)}"
    if problem is not None:
        raise SlideError(
            f"level {level}, which its tiles would be read from, cannot be used: {problem}",
            expected="a smaller copy of level 0",
            remedy="choose a new output folder: its tiles are read from another level",
            slide=slide.path.name,
        )


def check_tile_settings(target_mpp: float, tile_size_px: int, stride_px: int) -> None:
    """Refuses sizes no slide could be tiled with; needs no slide, so a cohort asks once.

    Raises:
        ConfigError: Naming the setting.
    """
    check_positive(target_mpp=target_mpp)
    check_whole(tile_size_px=tile_size_px, stride_px=stride_px)


def check_reading(reading: int, shrinking: str) -> None:
    """Refuses a reading nobody knows, or one that cannot shrink as asked.

    Raises:
        ConfigError: Naming the setting.
    """
    if reading not in READINGS:
        raise refused("reading", reading, f"one of {', '.join(map(str, READINGS))}")
    check_choice(SHRINKINGS, shrinking=shrinking)
    if reading == BLENDED_READING and shrinking != "area":
        raise refused("shrinking", shrinking, "area in reading 1")

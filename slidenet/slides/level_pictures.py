"""Whether the levels of a pyramid show the same picture.

A label or a macro photograph whose size happens to fit is flagged as a smaller copy like any other
page. It would become the overview: tissue is sought on it, and it may carry a name. Only its pixels
tell.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Protocol

import cv2
import numpy as np

from slidenet.core.arrays import Float64Array
from slidenet.core.errors import PixelReadError
from slidenet.slides.protocol import Pixels, Size
from slidenet.slides.pyramid import Level

_PATCH_PX = 32
_NUM_PATCHES = 6
_BLUR = 4
"""Patches are compared as 8x8 means, so that sharpening and rounding do not count."""
_MAP_PX = 1 << 20
_LEAST_CORRELATION = 0.5
_LEAST_DIFFERENCE = 12.0
"""Grey levels; JPEG and other ways to shrink make true copies differ by 1 to 4."""


class LevelPixels(Protocol):
    """What is needed of a slide; `Slide.levels` is being made and cannot be asked."""

    def read_level(self, location: Size, level: int, size: Size) -> Pixels:
        """See `Slide.read_level`."""

    def has_stored(self, location: Size, level: int, size: Size) -> bool:
        """See `Slide.has_stored`."""


def compare_levels(slide: LevelPixels, levels: Sequence[Level]) -> tuple[Level, ...]:
    """Levels of fitting size that show another picture than level 0 get a problem.

    Each is compared with the next finer one that was found good, in a few small patches where the
    slide has most contrast. A patch that cannot be decoded, or is not stored, says nothing, and
    neither do patches without contrast.

    Args:
        slide: Its levels are read.
        levels: See `check_levels`.
    """
    checked = list(levels)
    usable = [number for number, level in enumerate(levels) if level.problem is None]
    if len(usable) < 2:
        return tuple(checked)
    places = _telling_places(slide, levels, usable[-1])
    finer = usable[0]
    for number in usable[1:]:
        if _differ(slide, levels, finer, number, places):
            problem = (
                "it shows another picture than level 0: a label, a macro photograph, or shifted"
            )
            checked[number] = replace(levels[number], problem=problem)
        else:
            finer = number
    return tuple(checked)


def _telling_places(slide: LevelPixels, levels: Sequence[Level], coarsest: int) -> list[Size]:
    """Centres of patches in level-0 pixels: where the coarsest level has most contrast."""
    first, level = levels[0], levels[coarsest]
    quarters = (0.25, 0.5, 0.75)
    fixed = [(int(first.width * x), int(first.height * y)) for y in quarters for x in quarters]
    if level.width * level.height > _MAP_PX:
        return fixed
    try:
        picture = slide.read_level((0, 0), coarsest, (level.width, level.height))
    except PixelReadError:
        return fixed
    side = max(4, min(_PATCH_PX, min(level.width, level.height) // 8))
    rows, columns = level.height // side, level.width // side
    if rows * columns < 1:
        return fixed
    whole = picture[: rows * side, : columns * side].mean(axis=2)
    contrast = whole.reshape(rows, side, columns, side).std(axis=(1, 3))
    best = np.argsort(-contrast, axis=None, kind="stable")[:_NUM_PATCHES]
    centres = [(place % columns * side + side / 2, place // columns * side + side / 2)
               for place in best.tolist()]  # fmt: skip
    found = [(int(x * level.downsample_x), int(y * level.downsample_y)) for x, y in centres]
    return found + fixed[4:5]


def _differ(
    slide: LevelPixels, levels: Sequence[Level], finer: int, coarser: int, places: list[Size]
) -> bool:
    pairs = list(_patches(slide, levels, finer, coarser, places))
    if not pairs:
        return False
    mine = np.concatenate([coarse.ravel() for coarse, _ in pairs])
    theirs = np.concatenate([fine.ravel() for _, fine in pairs])
    if float(np.abs(mine - theirs).mean()) < _LEAST_DIFFERENCE:
        return False
    spread = float(mine.std() * theirs.std())
    covariance = float(((mine - mine.mean()) * (theirs - theirs.mean())).mean())
    return covariance < _LEAST_CORRELATION * spread or spread == 0


def _patches(
    slide: LevelPixels, levels: Sequence[Level], finer: int, coarser: int, places: list[Size]
) -> Iterator[tuple[Float64Array, Float64Array]]:
    """The same patches of two levels, as means of `_BLUR` x `_BLUR` px of the coarser one."""
    level, fine = levels[coarser], levels[finer]
    side = min(_PATCH_PX, level.width, level.height) // _BLUR * _BLUR
    if side == 0:
        return
    step_x = level.downsample_x / fine.downsample_x
    step_y = level.downsample_y / fine.downsample_y
    for x, y in places:
        left = min(max(int(x / level.downsample_x) - side // 2, 0), level.width - side)
        top = min(max(int(y / level.downsample_y) - side // 2, 0), level.height - side)
        corner = round(left * step_x), round(top * step_y)
        size = max(1, round(side * step_x)), max(1, round(side * step_y))
        if not all(
            _corners_stored(slide, place, number, extent)
            for place, number, extent in (
                ((left, top), coarser, (side, side)),
                (corner, finer, size),
            )
        ):
            continue
        try:
            coarse = slide.read_level((left, top), coarser, (side, side))
            fine_pixels = slide.read_level(corner, finer, size)
        except PixelReadError:
            continue
        yield _means(coarse, side // _BLUR), _means(fine_pixels, side // _BLUR)


def _corners_stored(slide: LevelPixels, place: Size, level: int, size: Size) -> bool:
    """Whether the tiles at the corners of a patch are stored, so that it has no hole."""
    (x, y), (width, height) = place, size
    corners = [(column, row) for row in (y, y + height - 1) for column in (x, x + width - 1)]
    return all(slide.has_stored(corner, level, (1, 1)) for corner in corners)


def _means(pixels: Pixels, side: int) -> Float64Array:
    small = cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA)
    return np.asarray(np.asarray(small, np.float64).mean(axis=2))

"""Which levels of a TIFF are used: those that its index, its tiles and its pixels bear out."""

from typing import Protocol

from slidenet.slides.admission.tile_heads import find_foreign_tiles
from slidenet.slides.level_pictures import LevelPixels, compare_levels
from slidenet.slides.protocol import Size
from slidenet.slides.pyramid import Level, check_levels
from slidenet.slides.tiff import TiffIndex

_FLAGGED = ("generic-tiff", "ome")
"""Families whose levels are whatever pages a flag names; scanners' own say what is on a page."""


class _Pyramid(LevelPixels, Protocol):
    @property
    def level_dimensions(self) -> tuple[Size, ...]: ...


def check_pyramid(slide: _Pyramid, index: TiffIndex | None) -> tuple[Level, ...]:
    """The levels of a slide, each with what speaks against it.

    Args:
        slide: An open slide. Of pyramids whose levels are flagged pages some pixels are read.
        index: Its index; None where it is no TIFF.

    Raises:
        UnreadableSlideError: The file as a whole has become unreadable.
    """
    if index is None:
        return check_levels(slide.level_dimensions)
    picture = index.picture
    known = dict(picture.foreign)
    for page in picture.levels[1:]:
        fault = find_foreign_tiles(index.path, page)
        if fault is not None:
            known.setdefault(page.size, fault)
    levels = check_levels(slide.level_dimensions, known)
    return compare_levels(slide, levels) if picture.family in _FLAGGED else levels

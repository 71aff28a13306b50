"""What only the pixels of a TIFF tell: are its bits used, is any of it seen, are its pages colours?

Most files need none of it; of the others one overview is looked at.
"""

import logging

import numpy as np

from slidenet.core.errors import UnreadableSlideError
from slidenet.slides.illumination import BRIGHTFIELD, judge_picture
from slidenet.slides.protocol import Pixels, Slide
from slidenet.slides.tiff import Need, TiffIndex, picture_format

_log = logging.getLogger(__name__)

_SIDE_PX = 512
_FULL_RANGE_LEAST = 128
"""16-bit samples that use their range reach at least half of it in a bright-field slide."""
_DEEP = frozenset({Need.SIXTEEN_BITS, Need.SIXTEEN_BIT_GREY})
_VEILED = frozenset({Need.ALPHA, Need.UNASSOCIATED_ALPHA})


def check_overview(slide: Slide, index: TiffIndex) -> None:
    """Refuses what a reader shows truly by the tags and still not as the slide.

    Args:
        slide: The slide. Its reader takes the upper eight of sixteen bits, lays what is
            transparent over the background, and takes three unnamed pages for colours.
        index: Its index.

    Raises:
        UnreadableSlideError: Saying what speaks against it.
    """
    needs = set(picture_format(index.picture).needs)
    assumes_colours = index.picture.assumes_colours
    if not (assumes_colours or needs & (_DEEP | _VEILED)):
        return
    picture = slide.thumbnail(_SIDE_PX)
    if needs & _DEEP:
        _check_range(picture, slide)
    if needs & _VEILED and (picture == np.array(slide.background_rgb, np.uint8)).all():
        raise UnreadableSlideError(
            "its alpha channel makes all of it transparent",
            expected="a picture that is seen",
            remedy="export it without alpha channel",
            slide=slide.path.name,
        )
    if assumes_colours:
        _check_light(picture, slide)


def _check_range(picture: Pixels, slide: Slide) -> None:
    """Refuses 16-bit samples that use only some of their bits, as those of cameras do.

    The file need not say so. What reaches less than half of the range is not taken for a dark
    slide: glass is bright.
    """
    largest = int(picture.max())
    if largest < _FULL_RANGE_LEAST:
        raise UnreadableSlideError(
            f"its samples of 16 bits reach only about {largest * 257:,} of 65,535, so that how "
            "many bits are used (12? 14?) cannot be told",
            expected="samples that fill their range",
            remedy="export it as 8-bit RGB, scaled by the bits that are used",
            slide=slide.path.name,
        )


def _check_light(picture: Pixels, slide: Slide) -> None:
    """Refuses three grey pages without names as colours where the slide is not bright-field."""
    light = judge_picture(picture)
    if light.kind != BRIGHTFIELD:
        raise UnreadableSlideError(
            "it holds 3 channels as pages of their own, which are not said to be red, green and "
            f"blue, and it is no bright-field slide: {light.source}",
            expected="one picture in RGB",
            remedy="name its channels (Red, Green, Blue) if they are; else leave it out",
            slide=slide.path.name,
        )
    _log.warning(
        "slide %r: its three grey pages are taken for red, green and blue: %s",
        slide.path.name,
        light.source,
    )

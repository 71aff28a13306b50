"""The whole slide as one small picture, in bounded memory."""

import logging
from collections.abc import Iterator
from functools import partial

import cv2
import numpy as np

from slidenet.core.checks import check_whole
from slidenet.core.errors import PixelReadError
from slidenet.slides.protocol import Pixels, Size, Slide

_BLOCK_PX = 2048
_SMALLEST_PART_PX = 64
_log = logging.getLogger(__name__)


def thumbnail_of(slide: Slide, max_side_px: int) -> Pixels:
    """See `Slide.thumbnail`.

    The coarsest level fine enough is read block by block, so that a slide without a pyramid costs
    time but not memory. Where that level is damaged the finer ones, which show the same, are
    tried; what no level can show has the background colour.
    """
    check_whole(max_side_px=max_side_px)
    width, height = slide.level_dimensions[0]
    downsample = max(1.0, max(width, height) / max_side_px)
    size = (max(1, round(width / downsample)), max(1, round(height / downsample)))
    fine_enough = [i for i, d in enumerate(slide.level_downsamples) if d <= downsample]
    for level in sorted(fine_enough, key=lambda i: -slide.level_downsamples[i]):
        try:
            return _shrunk_level(slide, level, size)
        except PixelReadError as error:
            _log.warning("overview: level %d is damaged, trying finer: %s", level, error)
    return _shrunk_level(slide, 0, size, patient=True)


def _shrunk_level(slide: Slide, level: int, size: Size, *, patient: bool = False) -> Pixels:
    """A whole level at another size; a `patient` reading paints over what cannot be read."""
    read = partial(_readable_part, slide) if patient else slide.read_region
    level_width, level_height = slide.level_dimensions[level]
    downsample = slide.level_downsamples[level]
    picture = np.empty((size[1], size[0], 3), np.uint8)
    for top, bottom, y, y_end in _blocks(size[1], level_height):
        for left, right, x, x_end in _blocks(size[0], level_width):
            location = (round(x * downsample), round(y * downsample))
            block = read(location, level, (x_end - x, y_end - y))
            target = (right - left, bottom - top)
            if target != (x_end - x, y_end - y):
                resized = cv2.resize(block, target, interpolation=cv2.INTER_AREA)
                block = np.asarray(resized, dtype=np.uint8)
            picture[top:bottom, left:right] = block
    return picture


def _readable_part(slide: Slide, location: Size, level: int, size: Size) -> Pixels:
    """A region whose unreadable parts, narrowed down to small squares, show the background.

    Raises:
        UnreadableSlideError: The file as a whole has become unreadable.
    """
    try:
        return slide.read_region(location, level, size)
    except PixelReadError:
        width, height = size
        picture = np.full((height, width, 3), slide.background_rgb, np.uint8)
        if max(size) <= _SMALLEST_PART_PX:
            return picture
    step = max(_SMALLEST_PART_PX, max(size) // 2)
    downsample = slide.level_downsamples[level]
    for top in range(0, height, step):
        for left in range(0, width, step):
            part = (min(step, width - left), min(step, height - top))
            corner = (
                location[0] + round(left * downsample),
                location[1] + round(top * downsample),
            )
            picture[top : top + part[1], left : left + part[0]] = _readable_part(
                slide, corner, level, part
            )
    return picture


def _blocks(num_out: int, num_in: int) -> Iterator[tuple[int, int, int, int]]:
    """Pieces of an axis: output pixels [a, b) shown by input pixels [c, d)."""
    scale = num_in / num_out
    step = max(1, int(_BLOCK_PX / scale))
    for start in range(0, num_out, step):
        stop = min(start + step, num_out)
        first = min(round(start * scale), num_in - 1)
        yield start, stop, first, max(first + 1, round(stop * scale))

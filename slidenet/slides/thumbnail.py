"""The whole slide as one small picture, in bounded memory and with bounded patience."""

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from slidenet.core.arrays import BoolArray
from slidenet.core.checks import check_whole
from slidenet.core.errors import PixelReadError, UnreadableSlideError
from slidenet.slides.protocol import Pixels, Places, Size, Slide
from slidenet.slides.resampling import resized

_BLOCK_PX = 2048
_SMALLEST_PART_PX = 128
_MAX_FAILED_READS = 300
"""Then damage is not narrowed down any further: each failure opens the file anew."""
_PROBES_PER_SIDE = 4
_PROBE_PX = 64
_ROUNDING = 1e-6


@dataclass(frozen=True, eq=False, slots=True)
class Overview:
    """A picture of the whole slide, and what it cannot show.

    Attributes:
        pixels: uint8 (h, w, 3), RGB.
        unreadable_places: See `Slide.unreadable_places`.
        problem: What was met on the way, for the log; None where nothing was.
    """

    pixels: Pixels
    unreadable_places: Places
    problem: str | None = None


def thumbnail_of(slide: Slide, max_side_px: int) -> Overview:
    """The whole slide in pixels of at most `max_side_px` on the longer side.

    The coarsest level that is fine enough and a true copy of level 0 is read block by block, so
    that a slide without a pyramid costs time but not memory. Parts of it that cannot be decoded
    are taken from finer levels, which show the same; what no level can show has the background
    colour. A slide of which nothing can be decoded is given up after a few probes of each level.

    Raises:
        UnreadableSlideError: Nothing of it can be decoded; the decoder's reason is named.
    """
    check_whole(max_side_px=max_side_px)
    width, height = slide.level_dimensions[0]
    downsample = max(1.0, max(width, height) / max_side_px)
    size = (max(1, round(width / downsample)), max(1, round(height / downsample)))
    levels = [
        number
        for number, level in enumerate(slide.levels)
        if level.problem is None and level.downsample <= downsample
    ]
    levels.sort(key=lambda number: -slide.levels[number].downsample)
    picture = np.empty((size[1], size[0], 3), np.uint8)
    try:
        for part in _blocks(slide, levels[0], size):
            _paint(picture, part, slide)
    except PixelReadError as error:
        lost = _paint_what_is_left(picture, slide, levels, error)
        problem = f"level {levels[0]} is damaged, using finer ones too for its overview"
        if lost:
            problem = damage_note(lost)
        return Overview(picture, lost, f"{problem}: {error.found}")
    return Overview(picture, ())


def lost_share(places: Places) -> float:
    """Share of the slide that `Slide.unreadable_places` cover, at most."""
    return sum((right - left) * (bottom - top) for left, top, right, bottom in places)


def damage_note(places: Places) -> str:
    """How much of the slide `Slide.unreadable_places` cover, as a clause; empty for none."""
    if not places:
        return ""
    share = lost_share(places)
    # Where damage ends is not followed to the pixel; and a little must not look like none.
    text = "under 0.1%" if share < 0.001 else f"up to {share:.1%}"
    return f"{text} of its overview cannot be decoded"


def mark_places(places: Places, size: Size) -> BoolArray:
    """Where `Slide.unreadable_places` lie in a picture of the slide.

    Args:
        places: The rectangles.
        size: (width, height) of the picture.

    Returns:
        bool (height, width), True also where a pixel is touched in part.
    """
    width, height = size
    marked = np.zeros((height, width), np.bool_)
    for left, top, right, bottom in places:
        # They come from whole pixels, of this picture or of one of another size.
        columns = slice(int(left * width + _ROUNDING), math.ceil(right * width - _ROUNDING))
        rows = slice(int(top * height + _ROUNDING), math.ceil(bottom * height - _ROUNDING))
        marked[rows, columns] = True
    return marked


@dataclass(frozen=True, slots=True)
class _Part:
    """A rectangle of the picture, shown by a rectangle of one level.

    Attributes:
        level: The level.
        place: (left, top) in the picture.
        size: (width, height) in the picture.
        scale: Pixels of the level per pixel of the picture, (across, down).
    """

    level: int
    place: Size
    size: Size
    scale: tuple[float, float]

    def source(self, slide: Slide) -> tuple[Size, Size]:
        """(x, y) and (width, height) on the level, at least one pixel and inside of it."""
        spans = [
            _span(start, length, scale, whole)
            for start, length, scale, whole in zip(
                self.place, self.size, self.scale, slide.level_dimensions[self.level], strict=True
            )
        ]
        (x, width), (y, height) = spans
        return (x, y), (width, height)

    def shares(self, size: Size) -> tuple[float, float, float, float]:
        """(left, top, right, bottom) as shares of a picture of a size."""
        (left, top), (width, height) = self.place, self.size
        right, bottom = left + width, top + height
        return left / size[0], top / size[1], right / size[0], bottom / size[1]

    def halves(self) -> Iterator["_Part"]:
        """Its quarters; halves where it is one pixel wide or high."""
        steps = [max(1, -(-length // 2)) for length in self.size]
        for top in range(0, self.size[1], steps[1]):
            for left in range(0, self.size[0], steps[0]):
                size = (min(steps[0], self.size[0] - left), min(steps[1], self.size[1] - top))
                yield _Part(
                    self.level, (self.place[0] + left, self.place[1] + top), size, self.scale
                )


def _span(start: int, length: int, scale: float, whole: int) -> tuple[int, int]:
    first = min(round(start * scale), whole - 1)
    return first, min(max(first + 1, round((start + length) * scale)), whole) - first


def _blocks(
    slide: Slide, level: int, size: Size, place: Size = (0, 0), part: Size | None = None
) -> Iterator[_Part]:
    """Pieces of the picture (or of a part of it) that are small enough on the level to be read."""
    width, height = slide.level_dimensions[level]
    scale = (width / size[0], height / size[1])
    part = size if part is None else part
    steps = [max(1, int(_BLOCK_PX / one)) for one in scale]
    for top in range(0, part[1], steps[1]):
        for left in range(0, part[0], steps[0]):
            piece = (min(steps[0], part[0] - left), min(steps[1], part[1] - top))
            yield _Part(level, (place[0] + left, place[1] + top), piece, scale)


def _paint(picture: Pixels, part: _Part, slide: Slide) -> None:
    location, size = part.source(slide)
    (left, top), (width, height) = part.place, part.size
    target = picture[top : top + height, left : left + width]
    if slide.has_stored(location, part.level, size):
        target[:] = resized(slide.read_level(location, part.level, size), part.size)
    else:  # work follows the bytes that are stored, not the pixels that are claimed
        target[:] = slide.background_rgb


def _paint_what_is_left(
    picture: Pixels, slide: Slide, levels: Sequence[int], cause: PixelReadError
) -> Places:
    """Paints what any level can show; broad damage first, so that patience ends evenly.

    Returns:
        See `Slide.unreadable_places`.

    Raises:
        UnreadableSlideError: No probe of any level could be decoded.
    """
    levels = [level for level in levels if _shows_something(slide, level)]
    if not levels:
        raise UnreadableSlideError(
            f"none of its pixels can be decoded ({cause.found})",
            expected="pixels of at least one level",
            remedy="copy the slide again and compare its size with the original's; where the copy "
            "is whole, its codec is not one that can be read here: convert it",
            slide=slide.path.name,
        )
    size = (picture.shape[1], picture.shape[0])
    picture[:] = slide.background_rgb
    waiting = deque(_blocks(slide, levels[0], size))
    failed, lost = 0, list[_Part]()
    while waiting:
        part = waiting.popleft()
        try:
            _paint(picture, part, slide)
        except PixelReadError:
            failed += 1
            finer = levels[levels.index(part.level) + 1 :]
            if failed >= _MAX_FAILED_READS:
                lost.append(part)
            elif max(part.source(slide)[1]) > _SMALLEST_PART_PX and max(part.size) > 1:
                waiting.extend(part.halves())
            elif finer:
                waiting.extend(_blocks(slide, finer[0], size, part.place, part.size))
            else:
                lost.append(part)
    return tuple(part.shares(size) for part in lost)


def _shows_something(slide: Slide, level: int) -> bool:
    """Whether any of some small places all over a level can be decoded."""
    width, height = slide.level_dimensions[level]
    size = (min(_PROBE_PX, width), min(_PROBE_PX, height))
    num = _PROBES_PER_SIDE
    # In steps of 7 of 16, so that neighbours, which are often hurt together, do not come together.
    for index in range(num * num):
        row, column = divmod(index * 7 % (num * num), num)
        place = (
            round((column + 0.5) * width / num) - size[0] // 2,
            round((row + 0.5) * height / num) - size[1] // 2,
        )
        try:
            slide.read_level(place, level, size)
        except PixelReadError:
            continue
        return True
    return False

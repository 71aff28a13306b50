"""What every reader of slides must do, as checks that any reader can be put through.

A reader of another package runs them in its own tests: `check_reader(SlideCase(...))`.
"""

import pickle
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np

from slidenet.core.arrays import UInt8Array
from slidenet.core.errors import ConfigError, CoordinateError, SlideError, SlidenetError
from slidenet.slides import Slide

_SIDE = 48


@dataclass(frozen=True)
class SlideCase:
    """A slide whose pixels are known.

    Attributes:
        open_slide: Opens it anew each time.
        levels: uint8 (height, width, 3) of each level, as they were written; fewer than the slide
            has, or none, where only the oracle knows them.
        oracle: Opens the same file by another reader, whose pixels are right; None where there is
            none. It is asked at level-0 coordinates, so only where those are whole pixels.
        tolerance: By how many grey levels pixels may differ from `levels` (a lossy format).
    """

    open_slide: Callable[[], Slide]
    levels: Sequence[UInt8Array] = ()
    oracle: Callable[[], Slide] | None = None
    tolerance: int = 0


def check_reader(case: SlideCase) -> None:
    """Asserts all of the contract on one slide."""
    with case.open_slide() as slide:
        _check_facts(slide, case)
        for level in range(len(slide.level_dimensions)):
            _check_pixels(slide, level, case)
            _check_shrinking(slide, level)
        _check_refusals(slide)
        _check_travel_and_threads(slide)
    _check_closing(case)


def _check_facts(slide: Slide, case: SlideCase) -> None:
    sizes = slide.level_dimensions
    assert len(sizes) == len(slide.level_downsamples) == len(slide.levels) >= 1
    assert sizes == tuple(sorted(sizes, reverse=True))
    assert slide.level_downsamples[0] == 1.0
    first = slide.levels[0]
    assert (first.downsample_x, first.downsample_y, first.problem) == (1.0, 1.0, None)
    assert [(level.width, level.height) for level in slide.levels] == list(sizes)
    for pixels, size in zip(case.levels, sizes, strict=False):
        assert (pixels.shape[1], pixels.shape[0]) == size
    assert len(slide.fingerprint) == 64
    width, height = sizes[0]
    thumbnail = slide.thumbnail(40)
    assert max(thumbnail.shape[:2]) == min(40, max(width, height))
    assert thumbnail.dtype == np.uint8
    assert thumbnail.shape[2] == 3


def _places(size: tuple[int, int]) -> list[tuple[int, int]]:
    """Corners inside, over each edge, and far outside."""
    width, height = size
    return [
        (0, 0),
        (width // 3 // 4 * 4, height // 3 // 4 * 4),
        (max(width - _SIDE // 2, 0) // 4 * 4, max(height - _SIDE // 2, 0) // 4 * 4),
        (-20, -12),
        (width + 40, 0),
    ]


def _check_pixels(slide: Slide, level: int, case: SlideCase) -> None:
    size, downsample = slide.level_dimensions[level], slide.level_downsamples[level]
    for x, y in _places(size):
        found = slide.read_level((x, y), level, (_SIDE, _SIDE))
        assert found.shape == (_SIDE, _SIDE, 3)
        assert found.dtype == np.uint8
        assert found.flags.c_contiguous
        place = (round(x * downsample), round(y * downsample))
        is_whole = place == (x * downsample, y * downsample)
        if is_whole:
            region = slide.read_region(place, level, (_SIDE, _SIDE))
            np.testing.assert_array_equal(region, found)
        if level < len(case.levels):
            expected = _cut(case.levels[level], (x, y), slide.background_rgb)
            assert np.abs(found.astype(int) - expected).max() <= case.tolerance
        if case.oracle is not None and is_whole:
            with case.oracle() as other:
                if level < len(other.level_dimensions):
                    expected = other.read_region(place, level, (_SIDE, _SIDE))
                    np.testing.assert_array_equal(found, expected)
        outside = x >= size[0] or y >= size[1]
        if outside:
            assert (found == slide.background_rgb).all()
            assert slide.has_stored((x, y), level, (_SIDE, _SIDE)) in (True, False)
    assert slide.has_stored((0, 0), level, size)


def _cut(pixels: UInt8Array, place: tuple[int, int], background: tuple[int, ...]) -> UInt8Array:
    x, y = place
    padded = np.empty((_SIDE, _SIDE, 3), np.uint8)
    padded[:] = background
    inside = pixels[max(y, 0) : max(y + _SIDE, 0), max(x, 0) : max(x + _SIDE, 0)]
    padded[max(-y, 0) :, max(-x, 0) :][: len(inside), : inside.shape[1]] = inside
    return padded


def _check_shrinking(slide: Slide, level: int) -> None:
    for place in ((0, 0), (7, 3), (-8, -4)):
        pixels = slide.read_level(place, level, (_SIDE, _SIDE))
        np.testing.assert_array_equal(slide.read_shrunk(place, level, (_SIDE, _SIDE), 1), pixels)
        for factor in (2, 3):
            side = _SIDE // factor
            expected = cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA)
            out = np.zeros((side, side, 3), np.uint8)
            found = slide.read_shrunk(place, level, (_SIDE, _SIDE), factor, out=out)
            assert found is out
            np.testing.assert_array_equal(found, expected)
        scaled = slide.read_shrunk(place, level, (_SIDE, _SIDE), 2, scaled_jpeg=True)
        assert scaled.shape == (_SIDE // 2, _SIDE // 2, 3)


def _check_refusals(slide: Slide) -> None:
    levels = len(slide.level_dimensions)
    for level in (levels, -1):
        _check_raises(ConfigError, slide.read_level, (0, 0), level, (5, 5))
        _check_raises(ConfigError, slide.read_region, (0, 0), level, (5, 5))
    for size in ((0, 5), (5, -1)):
        _check_raises(CoordinateError, slide.read_level, (0, 0), 0, size)
        _check_raises(CoordinateError, slide.read_region, (0, 0), 0, size)
    for shrink in (0, -1, 7):
        _check_raises(CoordinateError, slide.read_shrunk, (0, 0), 0, (_SIDE, _SIDE), shrink)


def _check_travel_and_threads(slide: Slide) -> None:
    copy = pickle.loads(pickle.dumps(slide))
    assert copy.fingerprint == slide.fingerprint
    assert copy.level_dimensions == slide.level_dimensions
    corners = [(x, y) for x in range(-8, 100, 30) for y in range(-8, 100, 30)]
    with ThreadPoolExecutor(3) as pool, copy:
        together = list(pool.map(lambda place: copy.read_level(place, 0, (37, 29)), corners))
    alone = [slide.read_level(place, 0, (37, 29)) for place in corners]
    np.testing.assert_array_equal(together, alone)


def _check_closing(case: SlideCase) -> None:
    slide = case.open_slide()
    slide.close()
    slide.close()
    _check_raises(SlideError, slide.read_level, (0, 0), 0, (5, 5))
    _check_raises(SlideError, slide.read_region, (0, 0), 0, (5, 5))


def _check_raises(error: type[SlidenetError], call: Callable[..., object], *given: object) -> None:
    try:
        call(*given)
    except error:
        return
    raise AssertionError(f"{call} took {given}; {error.__name__} was expected")

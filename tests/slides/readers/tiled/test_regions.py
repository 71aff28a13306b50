"""Regions put together from tiles: from any thread, at any place, shrunk or not."""

import errno
import os
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from slidenet.core.errors import (
    CoordinateError,
    PixelReadError,
    SlideError,
    UnreadableSlideError,
)
from slidenet.slides import open_slide
from slidenet.slides.limits import ReadingLimits
from slidenet.slides.readers.tiled.cache import SHARED_CACHE, TileCache
from slidenet.testing import truncate_file
from slidenet.testing.layouts import write_layout


@pytest.fixture(scope="module")
def path(tmp_path_factory, levels):
    folder = tmp_path_factory.mktemp("regions")
    return write_layout(folder / "s.tif", levels, compression="jpeg", photometric="ycbcr")


@pytest.fixture
def slide(path):
    with open_slide(path, reader="tiled") as slide:
        yield slide


@pytest.mark.parametrize("shrink", [2, 3, 4, 8])
@pytest.mark.parametrize(
    "location", [(0, 0), (64, 64), (24, 48), (7, 11), (-48, -24), (168, 120), (288, 192)]
)
def test_areas_are_averaged_alike_by_tile_and_as_a_whole(slide, location, shrink):
    size = (168, 120)
    region = slide.read_level(location, 0, size)
    expected = cv2.resize(
        region, (size[0] // shrink, size[1] // shrink), interpolation=cv2.INTER_AREA
    )
    np.testing.assert_array_equal(slide.read_shrunk(location, 0, size, shrink), expected)
    out = np.zeros_like(expected)
    assert slide.read_shrunk(location, 0, size, shrink, out=out) is out
    np.testing.assert_array_equal(out, expected)


def test_the_jpeg_decoder_shrinks_where_the_lattice_allows_it(slide):
    exact = slide.read_shrunk((64, 0), 0, (128, 128), 2).astype(int)
    scaled = slide.read_shrunk((64, 0), 0, (128, 128), 2, scaled_jpeg=True).astype(int)
    assert 0 < np.abs(scaled - exact).mean() < 2
    parts = [slide.read_shrunk((x, 0), 0, (64, 128), 2, scaled_jpeg=True) for x in (64, 128)]
    np.testing.assert_array_equal(scaled, np.concatenate(parts, axis=1))
    np.testing.assert_array_equal(
        slide.read_shrunk((63, 0), 0, (128, 128), 2, scaled_jpeg=True),
        slide.read_shrunk((63, 0), 0, (128, 128), 2),
    )


def test_factors_that_are_none_are_refused(slide):
    for shrink in (0, -2, 5):
        with pytest.raises(CoordinateError, match=f"to be shrunk by {shrink}"):
            slide.read_shrunk((0, 0), 0, (64, 64), shrink)


def test_threads_get_the_pixels_of_one(path):
    places = [(x, y) for y in range(-10, 200, 30) for x in range(-10, 300, 30)]
    with open_slide(path) as slide:
        alone = [slide.read_level(place, 0, (64, 64)) for place in places]
    with open_slide(path) as slide, ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda place: slide.read_level(place, 0, (64, 64)), places))
    np.testing.assert_array_equal(alone, together)


def test_a_tile_that_was_handed_out_whole_may_be_written_to(slide):
    tile = slide.read_level((64, 64), 0, (64, 64))
    kept = tile.copy()
    tile[:] = 0
    part = slide.read_level((70, 70), 0, (20, 20))
    part[:] = 0
    np.testing.assert_array_equal(slide.read_level((64, 64), 0, (64, 64)), kept)
    np.testing.assert_array_equal(slide.read_level((70, 70), 0, (20, 20)), kept[6:26, 6:26])


def test_a_file_that_is_lost_is_no_damaged_tile(tmp_path, path, monkeypatch):
    copy = tmp_path / "copy.tif"
    copy.write_bytes(path.read_bytes())
    with open_slide(copy, reader="tiled") as slide:
        slide.read_level((0, 0), 0, (10, 10))
        monkeypatch.setattr(os, "pread", broken_disk)
        with pytest.raises(PixelReadError, match="Input/output error"):
            slide.read_level((100, 0), 0, (10, 10))
        copy.unlink()
        with pytest.raises(UnreadableSlideError, match="cannot be read any more"):
            slide.read_level((100, 0), 0, (10, 10))
        monkeypatch.undo()
    copy.write_bytes(path.read_bytes())
    with open_slide(copy, reader="tiled") as slide:
        truncate_file(copy, 0.2)
        with pytest.raises(UnreadableSlideError, match="it has become shorter"):
            slide.read_level((250, 150), 0, (10, 10))


def test_systems_without_pread_read_the_same(path, monkeypatch):
    with open_slide(path, reader="tiled") as slide:
        expected = slide.read_level((0, 0), 0, (300, 200))
    monkeypatch.delattr(os, "pread")
    with open_slide(path, reader="tiled") as slide:
        np.testing.assert_array_equal(slide.read_level((0, 0), 0, (300, 200)), expected)


def broken_disk(descriptor, count, offset):
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_closing_forgets_the_tiles_and_refuses_to_read(path):
    before = len(SHARED_CACHE)
    slide = open_slide(path, reader="tiled")
    opened = len(SHARED_CACHE)
    slide.read_level((5, 5), 0, (100, 100))
    assert len(SHARED_CACHE) == opened + 4
    slide.close()
    assert len(SHARED_CACHE) == before
    with pytest.raises(SlideError, match="closed"):
        slide.read_level((0, 0), 0, (64, 64))
    with pytest.raises(SlideError, match="closed"):
        slide.read_region((3, 0), 1, (64, 64))


def test_memory_kept_follows_the_limit_of_reading(path):
    with open_slide(path, limits=ReadingLimits(max_memory_bytes=400_000)) as slide:
        slide.read_level((5, 5), 0, (290, 190))
        assert len(SHARED_CACHE) == 50_000 // (64 * 64 * 3)
    with open_slide(path) as slide:
        slide.read_level((5, 5), 0, (290, 190))
        assert len(SHARED_CACHE) > 10


def test_the_cache_drops_what_was_used_longest_ago():
    cache = TileCache(max_bytes=300)
    tiles = [np.full((10, 10, 1), i, np.uint8) for i in range(4)]
    for number in range(3):
        cache.put((number, 0, 0), tiles[number])
    assert cache.get((0, 0, 0)) is tiles[0]
    cache.put((3, 0, 0), tiles[3])
    assert cache.get((1, 0, 0)) is None
    assert [cache.get((number, 0, 0)) is not None for number in (0, 2, 3)] == [True] * 3
    cache.bound(200)
    assert [cache.get((number, 0, 0)) is not None for number in (0, 2, 3)] == [False, True, True]
    cache.forget({2})
    assert cache.get((2, 0, 0)) is None
    cache.put((5, 0, 0), tiles[1])
    assert len(cache) == 2

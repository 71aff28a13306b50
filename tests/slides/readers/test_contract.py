"""What every reader must do, shown for slidenet's own and for one that somebody else wrote."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

from slidenet.core.errors import (
    ConfigError,
    CoordinateError,
    PluginError,
    SlideError,
    UnknownNameError,
    UnreadableSlideError,
)
from slidenet.slides import READERS, SLIDE_SUFFIXES, SlideReader, open_slide
from slidenet.testing import write_pyramid


class ArrayReader(SlideReader):
    """Slides in files of numpy, as another package might read them."""

    name = "array"
    suffixes: ClassVar[tuple[str, ...]] = (".npy",)

    def __init__(self, path, mpp=None, icc=False):
        super().__init__(path, mpp, icc)
        self._pixels = np.load(path)
        self.level_dimensions = (self._pixels.shape[1::-1],)
        self.level_downsamples = (1.0,)

    @classmethod
    def can_read(cls, path):
        return path.read_bytes()[:6] == b"\x93NUMPY"

    def read_region(self, location, level, size):
        if self._pixels is None:
            raise SlideError("the slide is closed", slide=self.path.name)
        self.check_region(level, size)
        (x, y), (width, height) = location, size
        padded = np.full((height, width, 3), 255, np.uint8)
        inside = self._pixels[max(y, 0) : y + height, max(x, 0) : x + width]
        padded[max(-y, 0) :, max(-x, 0) :][: len(inside), : inside.shape[1]] = inside
        return padded

    def close(self):
        self._pixels = None


SIDE = 300


@pytest.fixture(params=["tiled", "openslide", "flat", "array"])
def known(request, tmp_path):
    """A picture, the file that holds it, and the name of the reader that knows the file."""
    picture = np.random.default_rng(3).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    if request.param in {"tiled", "openslide"}:

        def paint(x, y, width, height):
            return picture[y : y + height, x : x + width]

        return picture, write_pyramid(tmp_path / "a.tif", SIDE, SIDE, 0.5, paint), request.param
    if request.param == "flat":
        Image.fromarray(picture).save(tmp_path / "a.png")
        return picture, tmp_path / "a.png", request.param
    np.save(tmp_path / "a.npy", picture)
    return picture, tmp_path / "a.npy", "array"


@pytest.fixture(autouse=True)
def array_reader(monkeypatch):
    """The foreign reader under its name, as an entry point would give it."""
    monkeypatch.setitem(READERS._loaded, "array", ArrayReader)


def test_a_reader_says_what_it_knows(known):
    _, path, name = known
    reader = READERS[name]
    assert reader.name == name
    assert all(suffix == suffix.lower() and suffix[0] == "." for suffix in reader.suffixes)
    assert path.suffix in reader.suffixes
    assert reader.can_read(path)
    path.write_bytes(b"slide_id,label\n")
    assert not reader.can_read(path)
    with pytest.raises(UnreadableSlideError, match=f"plain text; expected .*{name}"):
        open_slide(path, reader=name)


def test_pixels_inside_and_outside(known):
    picture, path, name = known
    with open_slide(path, reader=name) as slide:
        assert slide.level_dimensions[0] == (SIDE, SIDE)
        assert slide.level_downsamples[0] == 1.0
        region = slide.read_region((-5, SIDE - 20), 0, (40, 30))
        np.testing.assert_array_equal(region[:20, 5:], picture[SIDE - 20 :, :35])
        assert (region[:, :5] == slide.background_rgb).all()
        assert (region[20:] == slide.background_rgb).all()
        assert (region.dtype, region.flags.c_contiguous) == (np.uint8, True)
        assert slide.thumbnail(100).shape == (100, 100, 3)


def test_whole_pixels_of_a_level_and_areas_of_them(known):
    picture, path, name = known
    with open_slide(path, reader=name) as slide:
        assert [level.problem for level in slide.levels] == [None] * len(slide.level_dimensions)
        assert slide.levels[0].downsample == 1.0
        pixels = slide.read_level((7, 11), 0, (60, 40))
        np.testing.assert_array_equal(pixels, picture[11:51, 7:67])
        mean = pixels.reshape(20, 2, 30, 2, 3).mean((1, 3))
        assert np.abs(slide.read_shrunk((7, 11), 0, (60, 40), 2) - mean).max() <= 0.5
        np.testing.assert_array_equal(slide.read_shrunk((7, 11), 0, (60, 40), 1), pixels)
        assert slide.has_stored((0, 0), 0, (60, 40)) is True
        with pytest.raises(CoordinateError, match="61x40 px are to be shrunk by 2"):
            slide.read_shrunk((7, 11), 0, (61, 40), 2)


def test_levels_and_sizes_that_are_not_there(known):
    _, path, name = known
    with open_slide(path, reader=name) as slide:
        with pytest.raises(ConfigError, match="level 9 was asked for"):
            slide.read_region((0, 0), 9, (5, 5))
        with pytest.raises(CoordinateError, match="a region of 0x5 px"):
            slide.read_region((0, 0), 0, (0, 5))


def test_resolution_fingerprint_and_closing(known):
    _, path, name = known
    slide = open_slide(path, mpp=0.25, reader=name)
    assert (slide.has_mpp, slide.slide_mpp.value) == (True, 0.25)
    assert len(slide.fingerprint) == 64
    slide.close()
    slide.close()
    with pytest.raises(SlideError, match="the slide is closed"):
        slide.read_region((0, 0), 0, (5, 5))


def test_a_slide_travels_between_processes_and_serves_threads(known):
    picture, path, name = known
    slide = open_slide(path, mpp=0.3, reader=name)
    copy = pickle.loads(pickle.dumps(slide))
    assert (copy.slide_mpp, copy.fingerprint) == (slide.slide_mpp, slide.fingerprint)
    corners = [(x, y) for x in range(0, SIDE, 60) for y in range(0, SIDE, 60)]
    with ThreadPoolExecutor(4) as pool:
        regions = list(pool.map(lambda corner: copy.read_region(corner, 0, (60, 60)), corners))
    for (x, y), region in zip(corners, regions, strict=True):
        np.testing.assert_array_equal(region, picture[y : y + 60, x : x + 60])


def test_readers_are_named_or_found_by_content(tmp_path):
    assert {"flat", "openslide"} <= set(READERS)
    assert set(SLIDE_SUFFIXES) == {*READERS["flat"].suffixes, *READERS["openslide"].suffixes}
    np.save(tmp_path / "a.npy", np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(UnreadableSlideError, match="expected a format openslide reads"):
        open_slide(tmp_path / "a.npy")
    with pytest.raises(UnknownNameError, match=r"unknown slide reader 'flatt'.*did you mean flat"):
        open_slide(tmp_path / "a.npy", reader="flatt")
    with pytest.raises(PluginError, match=r"expected a subclass of slidenet\.slides\.SlideReader"):
        open_slide(tmp_path / "a.npy", reader="pathlib.Path")

"""What every reader must do, shown for slidenet's own and for one that somebody else wrote."""

from functools import partial
from typing import ClassVar

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from slidenet.core.errors import PluginError, SlideError, UnknownNameError, UnreadableSlideError
from slidenet.slides import READERS, SLIDE_SUFFIXES, SlideReader, open_slide
from slidenet.slides.isolation import open_isolated
from slidenet.testing import write_pyramid
from slidenet.testing.layouts import halved_levels, write_layout
from slidenet.testing.reader_contract import SlideCase, check_reader


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


@pytest.fixture(scope="module")
def levels():
    """uint8 (200, 300, 3) and two smaller copies; sides are no multiples of a tile."""
    picture = np.random.default_rng(5).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    return halved_levels(cv2.GaussianBlur(picture, (0, 0), 1.5), 3)


def test_other_readers_keep_the_contract(known):
    picture, path, name = known
    check_reader(SlideCase(lambda: open_slide(path, mpp=0.25, reader=name), [picture]))


@pytest.mark.parametrize(
    "broken",
    [
        {"read_level": lambda self, place, level, size: self.read_region(
            (place[0] + 1, place[1]), level, size)},
        {"read_shrunk": lambda self, place, level, size, factor, **_: self.read_level(
            place, level, size)[::factor, ::factor]},
        {"check_region": lambda self, level, size: None},
        {"close": lambda self: None},
        {"has_stored": lambda self, place, level, size: False},
    ],
    ids=["shifted", "not averaged", "refuses nothing", "never closed", "nothing stored"],
)  # fmt: skip
def test_a_reader_that_breaks_the_contract_is_found(tmp_path, monkeypatch, broken):
    picture = np.random.default_rng(3).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    np.save(tmp_path / "a.npy", picture)
    case = SlideCase(lambda: ArrayReader(tmp_path / "a.npy"), [picture])
    check_reader(case)
    for name, method in broken.items():
        monkeypatch.setattr(ArrayReader, name, method)
    with pytest.raises((AssertionError, IndexError, ValueError)):
        check_reader(case)


@pytest.mark.parametrize("kind", ["png", "jpeg", "tiff in strips", "tiff of colour planes"])
def test_flat_images_keep_the_contract(tmp_path, levels, kind):
    path = tmp_path / "slide"
    if kind in {"png", "jpeg"}:
        Image.fromarray(levels[0]).save(path, kind, **({"quality": 95} if kind == "jpeg" else {}))
    else:
        planes = {"planarconfig": "separate"} if kind.endswith("planes") else {}
        pixels = np.moveaxis(levels[0], -1, 0) if planes else levels[0]
        tifffile.imwrite(path, pixels, photometric="rgb", compression="zlib", **planes)
    tolerance = 40 if kind == "jpeg" else 0
    check_reader(
        SlideCase(lambda: open_slide(path, reader="flat"), levels[:1], tolerance=tolerance)
    )


TILED = {
    "jpeg": {"compression": "jpeg", "photometric": "ycbcr"},
    "aperio": {"compression": "jpeg", "aperio": True, "common_tables": True},
    "aperio jpeg 2000": {"compression": "APERIO_JP2000_RGB", "aperio": True},
    "deflate": {},
}
NOT_OF_OPENSLIDE = {
    "jpeg 2000": {"compression": "jpeg2000"},
    "sub-ifds": {"subifds": True},
}


@pytest.mark.parametrize("reader", ["tiled", "openslide"])
@pytest.mark.parametrize("name", TILED)
def test_tiled_slides_keep_the_contract(tmp_path, levels, name, reader):
    path = write_layout(tmp_path / "slide.tif", levels, **TILED[name])
    exact = TILED[name].get("compression") != "jpeg"
    other = {"tiled": "openslide", "openslide": "tiled"}[reader]
    check_reader(
        SlideCase(
            lambda: open_slide(path, reader=reader),
            levels if exact else (),
            oracle=lambda: open_slide(path, reader=other),
        )
    )


@pytest.mark.parametrize("name", NOT_OF_OPENSLIDE)
def test_slides_that_openslide_cannot_read_keep_the_contract(tmp_path, levels, name):
    path = write_layout(tmp_path / "slide.tif", levels, **NOT_OF_OPENSLIDE[name])
    check_reader(SlideCase(lambda: open_slide(path), levels))


@pytest.mark.slow
def test_a_slide_in_another_process_keeps_the_contract(tmp_path, levels):
    path = write_layout(tmp_path / "slide.tif", levels)
    check_reader(SlideCase(lambda: open_isolated(path), levels))


@pytest.mark.shared_data
@pytest.mark.slow
def test_real_slides_keep_the_contract(shared_data):
    folders = (shared_data / "slides", shared_data / "formats", shared_data / "formats/orientation")
    num_read = 0
    for path in sorted(path for folder in folders for path in folder.iterdir() if path.is_file()):
        try:
            open_slide(path).close()
        except UnreadableSlideError:
            continue
        try:
            open_slide(path, reader="openslide").close()
        except UnreadableSlideError:
            check_reader(SlideCase(partial(open_slide, path)))
            continue
        openslide = partial(open_slide, path, reader="openslide")
        check_reader(SlideCase(partial(open_slide, path), oracle=openslide))
        num_read += 1
    assert num_read >= 8


def test_readers_are_named_or_found_by_content(tmp_path):
    assert {"flat", "openslide"} <= set(READERS)
    of_files = {*READERS["flat"].suffixes, *READERS["openslide"].suffixes}
    assert set(SLIDE_SUFFIXES) == {*of_files, ".dzi"}  # the last is that of tile images
    np.save(tmp_path / "a.npy", np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(UnreadableSlideError, match="expected a format openslide reads"):
        open_slide(tmp_path / "a.npy")
    with pytest.raises(UnknownNameError, match=r"unknown slide reader 'flatt'.*did you mean flat"):
        open_slide(tmp_path / "a.npy", reader="flatt")
    with pytest.raises(PluginError, match=r"expected a subclass of slidenet\.slides\.SlideReader"):
        open_slide(tmp_path / "a.npy", reader="pathlib.Path")

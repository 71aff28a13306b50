"""The reader over fastslide: with a stand-in of its interface, and with the package where it is."""

import importlib.util
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from slidenet.core.errors import MissingExtraError, PixelReadError, UnreadableSlideError
from slidenet.slides import open_slide

PICTURE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)


class StandIn:
    """Behaves as version 0.8.1 was seen to: places of the level, RuntimeError with a trace."""

    dtype, num_channels, format, icc_profile = "uint8", 3, "VSI", None
    level_dimensions, level_downsamples = ((60, 40), (30, 20)), (1.0, 2.0)
    mpp, properties = (0.25, 0.25), {"scanner_model": "VS200"}
    bounds = ((0, 0), (60, 40))

    @classmethod
    def from_file_path(cls, path, apply_icc=False):
        if path.read_bytes() != b"a slide":
            raise RuntimeError(
                "Failed to open slide: no stack*/*.ets files found\n  at Load (x.cpp)"
            )
        return cls()

    def read_region(self, location, level, size):
        (x, y), (width, height) = location, size
        level_picture = PICTURE[:: 2**level, :: 2**level]
        pixels = level_picture[y : y + height, x : x + width]
        if pixels.shape[:2] != (height, width) or min(location) < 0:
            raise RuntimeError("Requested region is completely outside\n  at operator()")
        if (x, y) == (7, 7):
            raise RuntimeError("bad tile\n  at Decode")
        return SimpleNamespace(numpy=lambda: pixels)

    def close(self):
        pass


@pytest.fixture
def slide(tmp_path, monkeypatch):
    module = SimpleNamespace(FastSlide=StandIn, is_supported=lambda path: True)
    monkeypatch.setitem(sys.modules, "fastslide", module)
    path = tmp_path / "a.vsi"
    path.write_bytes(b"a slide")
    return path


def test_places_are_those_of_the_level_and_the_outside_is_white(slide):
    with open_slide(slide, reader="fastslide") as opened:
        assert opened.vendor == "vsi"
        assert opened.slide_mpp.value == 0.25
        assert (opened.read_level((3, 2), 1, (10, 10)) == PICTURE[4:24:2, 6:26:2]).all()
        assert (opened.read_region((6, 4), 1, (10, 10)) == PICTURE[4:24:2, 6:26:2]).all()
        region = opened.read_level((-5, 35), 0, (20, 10))
        assert (region[:5, 5:] == PICTURE[35:, :15]).all()
        assert (region[5:] == 255).all()
        assert (region[:, :5] == 255).all()
        assert (opened.read_level((100, 0), 0, (2, 2)) == 255).all()


def test_bounds_have_the_names_of_openslide(slide, monkeypatch):
    with open_slide(slide, reader="fastslide") as opened:
        assert not any("bounds" in name for name in opened.properties)
    monkeypatch.setattr(StandIn, "bounds", ((5, 6), (30, 20)))
    with open_slide(slide, reader="fastslide") as opened:
        found = {k: v for k, v in opened.properties.items() if "bounds" in k}
    assert found == {
        "openslide.bounds-x": "5",
        "openslide.bounds-y": "6",
        "openslide.bounds-width": "30",
        "openslide.bounds-height": "20",
    }


def test_errors_are_one_line(slide):
    with (
        open_slide(slide, reader="fastslide") as opened,
        pytest.raises(PixelReadError, match=r"\(bad tile\)"),
    ):
        opened.read_level((7, 7), 0, (2, 2))
    slide.write_bytes(b"half")
    with pytest.raises(UnreadableSlideError, match=r"no stack\*/\*.ets files found\)"):
        open_slide(slide, reader="fastslide")


def test_other_than_8_bit_rgb_is_refused(slide, monkeypatch):
    monkeypatch.setattr(StandIn, "num_channels", 4)
    with pytest.raises(UnreadableSlideError, match="4 channels of uint8"):
        open_slide(slide, reader="fastslide")


def test_without_the_package_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "fastslide", None)
    path = tmp_path / "a.vsi"
    path.write_bytes(b"a slide")
    with pytest.raises(MissingExtraError, match="pip install fastslide"):
        open_slide(path, reader="fastslide")


@pytest.mark.shared_data
@pytest.mark.skipif(importlib.util.find_spec("fastslide") is None, reason="needs fastslide")
def test_the_package_itself(shared_data):
    path = shared_data / "slides" / "cmu_small_region.svs"
    with open_slide(path, reader="fastslide") as own, open_slide(path) as usual:
        assert own.level_dimensions == usual.level_dimensions
        assert own.slide_mpp.value == pytest.approx(usual.slide_mpp.value)
        found, wanted = (s.read_level((500, 700), 0, (200, 200)).astype(int) for s in (own, usual))
        assert np.abs(found - wanted).mean() < 3

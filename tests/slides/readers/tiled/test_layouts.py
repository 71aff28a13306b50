"""Equal to openslide, bit for bit, on every layout of the list; and no layout beyond it."""

import pickle
import re

import numpy as np
import pytest

from slidenet.core.errors import PixelReadError, UnreadableSlideError
from slidenet.slides import open_slide
from slidenet.testing import corrupt_tile
from slidenet.testing.layouts import halved_levels, write_layout, write_philips

JPEG = {"compression": "jpeg", "photometric": "ycbcr"}
APERIO = {"compression": "jpeg", "aperio": True}
AS_OPENSLIDE = {
    "jpeg": JPEG,
    "jpeg with common tables": JPEG | {"common_tables": True},
    "jpeg of RGB without a marker": {"compression": "jpeg", "common_tables": True},
    "grey jpeg": {"compression": "jpeg", "photometric": "minisblack"},
    "aperio": APERIO,
    "aperio, tiles missing": APERIO | {"missing": {0: [1], 1: [0, 3], 2: [1]}},
    "aperio jpeg 2000": {"compression": "APERIO_JP2000_RGB", "aperio": True},
    "aperio jpeg 2000 of YCbCr": {"compression": "APERIO_JP2000_YCBC", "aperio": True},
    "deflate": {},
    "deflate, tiles missing": {"missing": {0: [1, 2], 1: [0, 3], 2: [0]}},
    "deflate of differences": {"predictor": True},
    "grey": {"photometric": "minisblack"},
    "lzw": {"compression": "lzw", "predictor": True},
    "packbits": {"compression": "packbits"},
    "zstd, bigtiff": {"compression": "zstd", "bigtiff": True},
    "uncompressed": {"compression": None},
    "tiles wider than the level": {"tile_px": 256},
    "colours apart": {"planarconfig": "separate", "predictor": True},
}
BEYOND_OPENSLIDE = {
    "lzma": {"compression": "lzma"},
    "webp": {"compression": "webp"},
    "jpeg xl": {"compression": "jpegxl"},
    "jpeg 2000": {"compression": "jpeg2000"},
    "aperio's jpeg 2000 without aperio": {"compression": "APERIO_JP2000_RGB"},
    "aperio's jpeg 2000 of YCbCr that holds RGB": {"compression": "APERIO_JP2000_YCBC"},
    "jpeg 2000 in aperio": {"compression": "jpeg2000", "aperio": True},
    "SubIFDs": {"subifds": True},
    "big-endian": {"byteorder": ">"},
    "colours apart in SubIFDs": {"planarconfig": "separate", "subifds": True},
}
PLACES = ((0, 0), (-20, -30), (13, 17), (64, 64), (31, 40), (1000, 5))
SIZES = ((64, 64), (130, 100), (1, 1), (64, 128), (400, 300), (9, 9))


def written(tmp_path, levels, case):
    if case.get("photometric") == "minisblack":
        levels = [np.ascontiguousarray(level[..., 1]) for level in levels]
    stored = levels
    if case.get("planarconfig"):
        stored = [np.ascontiguousarray(np.moveaxis(level, -1, 0)) for level in levels]
    return write_layout(tmp_path / "slide.tif", stored, **case), levels


@pytest.mark.parametrize("name", AS_OPENSLIDE)
def test_pixels_and_facts_are_openslides(tmp_path, levels, name):
    path, _ = written(tmp_path, levels, AS_OPENSLIDE[name])
    with open_slide(path) as mine, open_slide(path, reader="openslide") as theirs:
        assert mine.name == "tiled"
        assert "pixels as openslide gives them" in mine.reader_note
        for fact in ("vendor", "level_dimensions", "level_downsamples", "background_rgb"):
            assert getattr(mine, fact) == getattr(theirs, fact)
        assert dict(mine.properties) == dict(theirs.properties)
        for level, downsample in enumerate(theirs.level_downsamples):
            assert downsample == 2**level
            for (x, y), size in zip(PLACES, SIZES, strict=True):
                place = (int(x * downsample), int(y * downsample))
                expected = theirs.read_region(place, level, size)
                found = mine.read_level((x, y), level, size)
                np.testing.assert_array_equal(found, expected)
                np.testing.assert_array_equal(mine.read_region(place, level, size), expected)
        # Between two pixels of a level openslide itself is asked.
        np.testing.assert_array_equal(
            mine.read_region((33, 1), 1, (40, 30)), theirs.read_region((33, 1), 1, (40, 30))
        )


@pytest.mark.parametrize("missing", [{0: [3]}, {0: [2, 13], 1: [1]}, {0: [19]}])
def test_openslide_counts_tiles_to_find_those_under_a_missing_one(tmp_path, missing):
    """Levels of 5 x 4 and 2 x 1 tiles: what is below tile 3 lies in tile 0, openslide says 1."""
    picture = np.random.default_rng(5).integers(0, 256, (256, 320, 3), dtype=np.uint8)
    levels = [picture, np.ascontiguousarray(picture[::4, ::4])]
    path = write_layout(
        tmp_path / "slide.svs", levels, compression="jpeg", aperio=True, missing=missing
    )
    with open_slide(path) as mine, open_slide(path, reader="openslide") as theirs:
        assert mine.name == "tiled"
        for level, size in enumerate(theirs.level_dimensions):
            expected = theirs.read_region((0, 0), level, size)
            np.testing.assert_array_equal(mine.read_level((0, 0), level, size), expected)


def test_padding_of_philips_levels_is_not_shown(tmp_path):
    picture = np.random.default_rng(4).integers(0, 256, (256, 320, 3), dtype=np.uint8)
    levels = halved_levels(picture, 3)
    path = write_philips(tmp_path / "slide.tiff", levels, missing={0: [3], 1: [1]})
    with open_slide(path) as mine, open_slide(path, reader="openslide") as theirs:
        assert (mine.name, mine.vendor) == ("tiled", "philips")
        assert (
            mine.level_dimensions == theirs.level_dimensions == ((320, 256), (160, 128), (80, 64))
        )
        assert dict(mine.properties) == dict(theirs.properties)
        for level, downsample in enumerate(theirs.level_downsamples):
            for (x, y), size in zip(PLACES, SIZES, strict=True):
                place = (int(x * downsample), int(y * downsample))
                np.testing.assert_array_equal(
                    mine.read_level((x, y), level, size), theirs.read_region(place, level, size)
                )


@pytest.mark.parametrize("name", BEYOND_OPENSLIDE)
def test_what_openslide_cannot_read_has_the_pixels_that_were_stored(tmp_path, levels, name):
    path, stored = written(tmp_path, levels, BEYOND_OPENSLIDE[name])
    with open_slide(path) as slide:
        assert slide.name == "tiled"
        assert [level.downsample for level in slide.levels] == [1, 2, 4]
        for level, pixels in enumerate(stored):
            height, width = pixels.shape[:2]
            padded = np.full((height + 40, width + 40, 3), 255, np.uint8)
            padded[20:-20, 20:-20] = pixels
            found = slide.read_level((-20, -20), level, (width + 40, height + 40))
            np.testing.assert_array_equal(found, padded)
    if "SubIFDs" not in name:
        with pytest.raises(UnreadableSlideError, match=r"Unsupported TIFF compression|knows"):
            open_slide(path, reader="openslide")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"extratags": [(274, 3, 1, 3, True)]}, "the orientation is 3"),
        ({"planarconfig": "separate", "dtype": np.uint16}, "samples are not side by side|bytes"),
        ({"photometric": "miniswhite"}, "1 samples per pixel mean grey, 0 is white"),
        ({"extrasamples": ["unassalpha"]}, "4 samples per pixel are colours and a further sample"),
        ({"dtype": np.uint16}, r"samples are no unsigned bytes \(16 bits\)"),
    ],
)
def test_other_layouts_are_left_to_openslide(tmp_path, levels, options, reason):
    pixels = levels[0]
    dtype = options.pop("dtype", np.uint8)
    if options.get("planarconfig"):
        pixels = np.moveaxis(pixels, -1, 0)
    elif options.get("photometric"):
        pixels = pixels[..., 0]
    elif options.get("extrasamples"):
        pixels = np.dstack([pixels, pixels[..., 0]])
    path = write_layout(tmp_path / "slide.tif", [pixels.astype(dtype)], **options)
    with pytest.raises(
        UnreadableSlideError, match=f"'tiled' does not read it: .*{reason}.*leave out --reader"
    ):
        open_slide(path, reader="tiled")


def test_a_declined_file_names_reader_and_reason(tmp_path, levels, caplog):
    path = write_layout(tmp_path / "slide.tif", [levels[0], levels[0]])
    caplog.set_level("INFO")
    with open_slide(path) as slide:
        assert slide.name == "openslide"
        assert slide.reader_note == "not tiled: two of its levels are equally wide"
    assert "two of its levels are equally wide" in caplog.text


def test_places_without_bytes_are_told(tmp_path, levels):
    missing = {"missing": {0: [1, 2], 1: [0, 1, 3, 4]}}
    generic, _ = written(tmp_path, levels, missing)
    with open_slide(generic) as slide:
        assert slide.has_stored((0, 0), 0, (65, 10))
        assert not slide.has_stored((64, 0), 0, (128, 64))
        assert slide.has_stored((64, 0), 0, (128, 65))
        assert not slide.has_stored((0, 0), 1, (128, 100))
        assert not slide.has_stored((5000, 0), 0, (64, 64))
    aperio, _ = written(tmp_path, levels, missing | {"aperio": True, "compression": "jpeg"})
    with open_slide(aperio) as slide:  # shown from the finer level, so there are bytes
        assert slide.has_stored((0, 0), 1, (128, 100))
        assert not slide.has_stored((40, 0), 1, (30, 30))


def test_a_damaged_tile_spoils_its_own_place_only(tmp_path, levels):
    path, _ = written(tmp_path, levels, JPEG)
    corrupt_tile(path, (70, 10))
    with open_slide(path) as slide, open_slide(path, reader="openslide") as other:
        assert slide.name == "tiled"
        with pytest.raises(
            PixelReadError,
            match=r"at \(60, 0\), level 0, .*tile at \(64, 0\): JPEG that ends before its first",
        ):
            slide.read_level((60, 0), 0, (64, 64))
        found = slide.read_level((128, 0), 0, (64, 64))
        np.testing.assert_array_equal(found, other.read_region((128, 0), 0, (64, 64)))


def test_a_slide_travels_with_its_reader(tmp_path, levels):
    path, _ = written(tmp_path, levels, JPEG)
    slide = open_slide(path)
    copy = pickle.loads(pickle.dumps(slide))
    assert copy.name == "tiled"
    np.testing.assert_array_equal(
        copy.read_level((0, 0), 1, (90, 90)), slide.read_level((0, 0), 1, (90, 90))
    )


def test_a_damaged_tile_does_not_send_the_slide_to_openslide(tmp_path, levels):
    """Others of its level speak for the reader, or of its kind where it is the only one."""
    path, _ = written(tmp_path, levels, JPEG | {"tile_px": 128})
    data = bytearray(path.read_bytes())
    frames = [found.start() for found in re.finditer(b"\xff\xc0\x00\x11\x08", data)]
    assert len(frames) == 6 + 2 + 1
    for frame in (frames[0], frames[-1]):
        data[frame + 4] = 12  # bits per sample, which openslide alone might know
    path.write_bytes(data)
    with open_slide(path) as slide:
        assert slide.name == "tiled"
        for level in (0, 2):
            with pytest.raises(PixelReadError, match="12 bits"):
                slide.read_level((0, 0), level, (64, 40))
    for frame in frames:
        data[frame + 4] = 12
    path.write_bytes(data)
    with pytest.raises(UnreadableSlideError):
        open_slide(path, reader="tiled").read_level((0, 0), 0, (64, 40))

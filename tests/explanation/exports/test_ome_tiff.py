import xml.etree.ElementTree as ET

import numpy as np
import openslide
import pytest
import tifffile

from slidenet.core.errors import ConfigError, CoordinateError
from slidenet.explanation.exports import canvas as canvas_module
from slidenet.explanation.exports import write_ome_tiff, write_value_tiff
from slidenet.slides import open_slide
from slidenet.visualisation.heatmaps import scale_of

NAMESPACE = "{http://www.openmicroscopy.org/Schemas/OME/2016-06}"


@pytest.fixture
def deep(monkeypatch):
    """Pyramids of more than one level of small pictures, in strips of 16 rows."""
    monkeypatch.setattr(canvas_module, "SMALLEST_LEVEL_PX", 16)


def levels_of(path):
    with tifffile.TiffFile(path) as tiff:
        assert tiff.is_ome
        (series,) = tiff.series
        return [level.asarray() for level in series.levels], series.axes, tiff.ome_metadata


def test_colours_for_eyes_at_all_levels(tmp_path, maps, deep):
    path = write_ome_tiff(tmp_path / "a.ome.tiff", maps)
    levels, axes, _ = levels_of(path)
    assert axes == "YXS"
    # A tile of 64 level-0 pixels is 16 wide here: 4 of level 0 are one.
    assert [level.shape for level in levels] == [
        (128, 96, 3), (64, 48, 3), (32, 24, 3), (16, 12, 3),
    ]  # fmt: skip
    colours = scale_of(maps.maps[0]).rgb(maps.maps[0].values)
    expected = np.full((8, 6, 3), 255, np.uint8)  # one pixel per tile
    for (x, y), colour in zip(maps.coords // 64, colours, strict=True):
        expected[y, x] = colour
    for level, picture in enumerate(levels):
        times = 16 // 2**level
        np.testing.assert_array_equal(picture, expected.repeat(times, 0).repeat(times, 1))


def test_openslide_and_slidenet_open_the_picture(tmp_path, maps):
    path = write_ome_tiff(tmp_path / "a.ome.tiff", maps)
    levels, *_ = levels_of(path)
    with openslide.OpenSlide(path) as slide:
        assert slide.dimensions == (96, 128)
        pixels = np.asarray(slide.read_region((0, 0), 0, slide.dimensions))
    np.testing.assert_array_equal(pixels[..., :3], levels[0])
    with open_slide(path) as slide:
        assert slide.slide_mpp.value == pytest.approx(2.0)
        np.testing.assert_array_equal(slide.read_region((0, 0), 0, (96, 128)), levels[0])


def test_raw_numbers_are_a_channel_each(tmp_path, maps, deep):
    levels, axes, xml = levels_of(write_value_tiff(tmp_path / "a.ome.tiff", maps))
    assert axes == "CYX"
    assert [level.shape for level in levels] == [(3, 32, 24), (3, 16, 12)]
    for plane, each in zip(levels[0], maps.maps, strict=True):
        expected = np.full((8, 6), np.nan, np.float32)
        for (x, y), value in zip(maps.coords // 64, each.values, strict=True):
            expected[y, x] = value
        np.testing.assert_array_equal(plane, expected.repeat(4, 0).repeat(4, 1))
    np.testing.assert_array_equal(levels[1], levels[0][:, ::2, ::2])
    names = [each.get("Name") for each in ET.fromstring(xml).iter(f"{NAMESPACE}Channel")]
    assert names == ["evidence tumour", "single_tile tumour", "attention tumour (not evidence)"]


def test_smaller_levels_are_means_of_what_is_a_number(deep):
    plane = np.array([[1, np.nan, np.nan], [3, np.nan, np.nan], [9, 9, 9]], np.float32)
    np.testing.assert_array_equal(canvas_module._halved(plane), [[2]])
    assert np.isnan(canvas_module._halved(plane[:, 1:])).all()
    assert canvas_module._halved(plane[:1]).shape == (0, 1)


def test_the_bounds_of_a_slide_are_cut_out(tmp_path, maps):
    whole = levels_of(write_ome_tiff(tmp_path / "a.ome.tiff", maps))[0][0]
    area = (128, 64, 192, 256)
    part, _, xml = levels_of(write_ome_tiff(tmp_path / "b.ome.tiff", maps, area=area))
    np.testing.assert_array_equal(part[0], whole[16:80, 32:80])
    described = next(ET.fromstring(xml).iter(f"{NAMESPACE}Description")).text
    assert "Shows x 128 to 320, y 64 to 320 of level 0" in described
    assert "Colours run from" in described
    beyond = write_ome_tiff(tmp_path / "c.ome.tiff", maps, area=(128, 64, 999, 999))
    np.testing.assert_array_equal(levels_of(beyond)[0][0], whole[16:, 32:])
    with pytest.raises(CoordinateError, match="area of the slide, which has 384 x 512"):
        write_ome_tiff(tmp_path / "d.ome.tiff", maps, area=(384, 0, 100, 100))


def test_the_slide_shows_beneath_and_beside(tmp_path, maps):
    overview = np.full((128, 96, 3), 255, np.uint8)
    overview[40:80, 40:64] = (200, 100, 180)
    plain = levels_of(write_ome_tiff(tmp_path / "a.ome.tiff", maps))[0][0]
    (over, *_), *_ = levels_of(write_ome_tiff(tmp_path / "b.ome.tiff", maps, overview=overview))
    covered = np.zeros(over.shape[:2], bool)
    for x, y in maps.coords // 4:
        covered[y : y + 16, x : x + 16] = True
    np.testing.assert_array_equal(over[~covered], overview[~covered])
    glass = covered & (overview == 255).all(axis=2)
    np.testing.assert_array_equal(over[glass], plain[glass])
    tissue = covered & ~glass
    # Grey of the overview: 0.299 x 200 + 0.587 x 100 + 0.114 x 180 = 139.
    expected = np.rint(plain[tissue] * np.float32(0.6 + 0.4 * 139 / 255))
    np.testing.assert_array_equal(over[tissue], expected)


def test_a_slide_too_large_gets_fewer_pixels(making):
    large = making[2](size=(300_000, 100_000))
    found = canvas_module.canvas_of(large, None, 16, 8192)
    assert (found.downsample, found.sizes[0]) == (64, (4688, 1563))
    assert canvas_module.canvas_of(large, (0, 0, 0, 0), 16, 99_999).downsample == 4


def test_odd_names_no_tiles_and_no_places(tmp_path, odd_names, no_tiles, unplaced):
    for which in range(5):
        *_, xml = levels_of(write_ome_tiff(tmp_path / "a.ome.tiff", odd_names, which=which))
        assert odd_names.slide_id.split("\n")[0] in ET.fromstring(xml)[0].get("Name")
    assert levels_of(write_value_tiff(tmp_path / "a.ome.tiff", odd_names))[0][0].shape[0] == 5
    assert (levels_of(write_ome_tiff(tmp_path / "b.ome.tiff", no_tiles))[0][0] == 255).all()
    assert np.isnan(levels_of(write_value_tiff(tmp_path / "c.ome.tiff", no_tiles))[0][0]).all()
    for write in (write_ome_tiff, write_value_tiff):
        with pytest.raises(CoordinateError, match="not known where the tiles"):
            write(tmp_path / "d.ome.tiff", unplaced)
    with pytest.raises(ConfigError, match="map 9 of 3"):
        write_ome_tiff(tmp_path / "d.ome.tiff", no_tiles, which=9)
    assert not (tmp_path / "d.ome.tiff").exists()


def test_the_same_maps_give_the_same_bytes(tmp_path, maps):
    files = [write_ome_tiff(tmp_path / f"{i}.ome.tiff", maps) for i in (0, 1)]
    assert files[0].read_bytes() == files[1].read_bytes()

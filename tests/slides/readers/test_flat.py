import numpy as np
import pytest
from PIL import Image

from slidenet.core.errors import MissingMppError, SlideError, UnreadableSlideError
from slidenet.slides import open_slide, plan_tiles, read_tile

SIDE = 300


@pytest.fixture(scope="module")
def picture(noise_image):
    return Image.fromarray(noise_image[:SIDE, :SIDE])


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_pixels_inside_and_outside(tmp_path, picture, suffix):
    path = tmp_path / f"flat.{suffix}"
    picture.save(path)
    wanted = np.full((SIDE + 40, SIDE + 60, 3), 255, np.uint8)
    wanted[20 : 20 + SIDE, 30 : 30 + SIDE] = np.asarray(picture)
    with open_slide(path, mpp=0.5) as slide:
        assert slide.level_downsamples == (1.0,)
        got = slide.read_region((-30, -20), 0, (SIDE + 60, SIDE + 40))
        inner = slide.read_region((10, 20), 0, (5, 7))
        far = [
            slide.read_region(place, 0, (4, 4))
            for place in ((-50, 0), (0, -50), (SIDE + 9, 0), (0, SIDE + 9))
        ]
    np.testing.assert_array_equal(got, wanted)
    np.testing.assert_array_equal(inner, np.asarray(picture)[20:27, 10:15])
    assert all((pixels == 255).all() for pixels in far)


def test_tiles_of_a_flat_image(tmp_path, picture):
    picture.save(tmp_path / "flat.png")
    with open_slide(tmp_path / "flat.png", mpp=0.25) as slide:
        plan = plan_tiles(slide, target_mpp=0.5, tile_size_px=64)
        tile = read_tile(slide, plan, (128, 0))
    mean = np.asarray(picture)[:128, 128:256].reshape(64, 2, 64, 2, 3).mean((1, 3))
    assert np.abs(tile - mean).max() <= 0.5


@pytest.mark.parametrize(
    ("tags", "mpp"),
    [
        ({"resolution_unit": 2, "x_resolution": 50800.0, "y_resolution": 50800.0}, 0.5),
        ({"resolution_unit": 3, "x_resolution": 20000.0, "y_resolution": 20000.0}, 0.5),
        ({"resolution_unit": 1, "x_resolution": 20000.0, "y_resolution": 20000.0}, None),
        ({"dpi": (72, 72)}, None),
        ({}, None),
    ],
)
def test_resolution_tags_of_tiff_count_where_they_have_a_unit(tmp_path, picture, tags, mpp):
    picture.save(tmp_path / "flat.tif", **tags)
    with open_slide(tmp_path / "flat.tif") as slide:
        assert slide.has_mpp is (mpp is not None)
        if mpp is not None:
            assert slide.slide_mpp.value == pytest.approx(mpp)
            assert slide.slide_mpp.source == "TIFF resolution tags"


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_print_resolution_of_png_and_jpeg_is_no_resolution(tmp_path, picture, suffix):
    path = tmp_path / f"flat.{suffix}"
    picture.save(path, dpi=(50800, 50800))
    with open_slide(path) as slide, pytest.raises(MissingMppError, match="column `mpp`"):
        _ = slide.slide_mpp


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK"])
def test_other_modes_become_rgb(tmp_path, picture, mode):
    image = picture.convert(mode)
    image.save(tmp_path / "flat.tif")
    with open_slide(tmp_path / "flat.tif", mpp=0.5) as slide:
        got = slide.read_region((0, 0), 0, (SIDE, SIDE))
    np.testing.assert_array_equal(got, np.asarray(image.convert("RGB")))


def test_transparency_of_a_png_becomes_white(tmp_path):
    pixels = np.zeros((2, 2, 4), np.uint8)
    pixels[0] = (10, 20, 30, 255)
    Image.fromarray(pixels).save(tmp_path / "flat.png")
    with open_slide(tmp_path / "flat.png", mpp=0.5) as slide:
        got = slide.read_region((0, 0), 0, (2, 2))
    assert got[0, 0].tolist() == [10, 20, 30]
    assert got[1, 0].tolist() == [255, 255, 255]


def test_images_above_pillows_guard_open(tmp_path, picture, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    picture.save(tmp_path / "flat.png")
    with open_slide(tmp_path / "flat.png", mpp=0.5) as slide:
        assert slide.thumbnail(100).shape == (100, 100, 3)
    assert Image.MAX_IMAGE_PIXELS == 100


def test_sixteen_bits_are_refused(tmp_path):
    Image.fromarray(np.zeros((9, 9), np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(UnreadableSlideError, match=r"mode 'I;16'; expected 8 bits per channel"):
        open_slide(tmp_path / "deep.png")


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_truncated_image_fails_as_a_slide_not_as_a_tile(tmp_path, picture, suffix):
    path = tmp_path / f"cut.{suffix}"
    picture.save(path)
    path.write_bytes(path.read_bytes()[:20000])
    with open_slide(path, mpp=0.5) as slide:
        for _ in range(2):
            with pytest.raises(UnreadableSlideError, match=r"cut.*data cannot be decoded"):
                slide.read_region((0, 0), 0, (5, 5))


def test_truncated_flat_tiff(tmp_path, picture):
    path = tmp_path / "cut.tif"
    picture.save(path)
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(UnreadableSlideError, match="truncated"):
        open_slide(path, mpp=0.5)


def test_reading_after_close(tmp_path, picture):
    picture.save(tmp_path / "flat.png")
    slide = open_slide(tmp_path / "flat.png", mpp=0.5)
    slide.close()
    with pytest.raises(SlideError, match="closed"):
        slide.read_region((0, 0), 0, (5, 5))

import numpy as np
import openslide
import pytest
import tifffile

from slidenet.testing import corrupt_tile, plain, truncate_file, with_overlays, write_pyramid


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).integers(0, 256, (1100, 1500, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def painter(image):
    return lambda x, y, width, height: image[y : y + height, x : x + width]


def area_average(image, factor):
    height, width = (n // factor * factor for n in image.shape[:2])
    blocks = image[:height, :width].reshape(height // factor, factor, width // factor, factor, 3)
    return blocks.mean((1, 3))


def test_openslide_sees_the_pyramid_that_was_painted(tmp_path, image, painter):
    path = write_pyramid(tmp_path / "x.tif", 1500, 1100, 0.4567, painter)
    slide = openslide.OpenSlide(path)
    assert slide.detect_format(path) == "generic-tiff"
    assert slide.level_dimensions == ((1500, 1100), (375, 275))
    assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(0.4567, rel=1e-6)
    assert float(slide.properties["openslide.mpp-y"]) == pytest.approx(0.4567, rel=1e-6)
    whole = np.asarray(slide.read_region((0, 0), 0, (1500, 1100)))
    np.testing.assert_array_equal(whole[..., :3], image)
    assert (whole[..., 3] == 255).all()
    smaller = np.asarray(slide.read_region((0, 0), 1, (375, 275)))[..., :3]
    assert np.abs(smaller - area_average(image, 4)).max() <= 0.5


@pytest.mark.parametrize(
    ("size", "options", "levels"),
    [
        ((300, 200), {}, [(300, 200)]),
        ((513, 200), {}, [(513, 200), (128, 50)]),
        ((600, 2), {}, [(600, 2)]),
        ((600, 600), {"num_levels": 1}, [(600, 600)]),
        ((600, 600), {"num_levels": 3, "downsample": 2}, [(600, 600), (300, 300), (150, 150)]),
        ((3000, 2100), {"tile_px": 128}, [(3000, 2100), (750, 525), (187, 131)]),
        ((1, 1), {}, [(1, 1)]),
    ],
)
def test_levels(tmp_path, size, options, levels):
    path = write_pyramid(tmp_path / "x.tif", *size, 0.5, plain((9, 99, 199)), **options)
    with tifffile.TiffFile(path) as tiff:
        assert [(page.imagewidth, page.imagelength) for page in tiff.pages] == levels
    slide = openslide.OpenSlide(path)
    assert list(slide.level_dimensions) == levels
    for level, (width, height) in enumerate(levels):
        pixels = np.asarray(slide.read_region((0, 0), level, (width, height)))
        assert (pixels == (9, 99, 199, 255)).all()


def test_without_resolution_tags(tmp_path):
    path = write_pyramid(tmp_path / "x.tif", 300, 300, None, plain((1, 2, 3)))
    assert "openslide.mpp-x" not in openslide.OpenSlide(path).properties


def test_tiles_left_out_are_transparent(tmp_path):
    def paint(x, y, width, height):
        return None if y == 0 else np.zeros((height, width, 3), np.uint8)

    path = write_pyramid(tmp_path / "x.tif", 512, 512, 0.5, paint)
    slide = openslide.OpenSlide(path)
    pixels = np.asarray(slide.read_region((0, 0), 0, (512, 512)))
    assert (pixels[:256, :, 3] == 0).all()
    assert (pixels[256:] == (0, 0, 0, 255)).all()


def test_overlays_are_drawn_in_order_and_not_on_nothing(tmp_path):
    def square(value, left):
        def draw(pixels, x, y):
            start = max(left - x, 0)
            pixels[:, start : max(start, left + 20 - x)] = value

        return draw

    painter = with_overlays(plain((0, 0, 0)), square(1, 10), square(2, 20))
    row = painter(5, 0, 50, 1)[0, :, 0]
    assert row.tolist() == [0] * 5 + [1] * 10 + [2] * 20 + [0] * 15
    assert with_overlays(lambda x, y, width, height: None, square(1, 0))(0, 0, 5, 5) is None


def test_a_large_slide_is_bigtiff_and_is_never_held_in_memory(tmp_path, monkeypatch):
    import slidenet.testing.pyramid as module

    monkeypatch.setattr(module, "_BIG_TIFF_BYTES", 1000)
    largest = 0

    def paint(x, y, width, height):
        nonlocal largest
        largest = max(largest, width * height)
        return np.zeros((height, width, 3), np.uint8)

    path = write_pyramid(tmp_path / "x.tif", 2000, 2000, 0.5, paint)
    assert path.read_bytes()[:4] == b"II+\x00"
    assert largest == 256 * 256
    assert openslide.OpenSlide(path).level_dimensions == ((2000, 2000), (500, 500))


def test_tiles_as_jpegs_with_halved_chroma(tmp_path):
    def paint(x, y, width, height):
        columns, rows = np.meshgrid(np.arange(x, x + width), np.arange(y, y + height))
        return np.stack([columns // 2, rows // 2, (columns + rows) // 4], axis=2).astype(np.uint8)

    path = write_pyramid(tmp_path / "x.tif", 300, 280, 0.5, paint, tile_px=64, jpeg_quality=95)
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[0]
        assert (page.compression.name, page.photometric.name) == ("JPEG", "YCBCR")
        assert page.tags["YCbCrSubSampling"].value == (2, 2)
    found = np.asarray(openslide.OpenSlide(path).read_region((0, 0), 0, (300, 280)).convert("RGB"))
    assert np.abs(found.astype(int) - paint(0, 0, 300, 280)).mean() < 1.5


@pytest.fixture
def plain_slide(tmp_path):
    return write_pyramid(tmp_path / "x.tif", 1500, 1500, 0.5, plain((9, 9, 9)))


@pytest.mark.parametrize(("level", "place"), [(0, (700, 300)), (1, (300, 10))])
def test_one_tile_fails_and_its_neighbours_do_not(plain_slide, level, place):
    corrupt_tile(plain_slide, place, level=level)
    downsample = 4**level
    hurt = (place[0] // 256, place[1] // 256)
    width, height = openslide.OpenSlide(plain_slide).level_dimensions[level]
    for row in range(-(-height // 256)):
        for column in range(-(-width // 256)):
            slide = openslide.OpenSlide(plain_slide)
            corner = (column * 256 * downsample, row * 256 * downsample)
            if (column, row) == hurt:
                with pytest.raises(openslide.OpenSlideError):
                    slide.read_region(corner, level, (20, 20))
            else:
                assert slide.read_region(corner, level, (20, 20)).getpixel((0, 0))[0] == 9


def test_truncation(plain_slide):
    before = plain_slide.stat().st_size
    truncate_file(plain_slide, 0.25)
    assert plain_slide.stat().st_size == before // 4

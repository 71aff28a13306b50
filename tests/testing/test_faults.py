import openslide
import pytest

from slidenet.testing import corrupt_tile, plain, truncate_file, write_pyramid


@pytest.fixture
def path(tmp_path):
    return write_pyramid(tmp_path / "x.tif", 1500, 1500, 0.5, plain((9, 9, 9)))


@pytest.mark.parametrize(("level", "place"), [(0, (700, 300)), (1, (300, 10))])
def test_one_tile_fails_and_its_neighbours_do_not(path, level, place):
    corrupt_tile(path, place, level=level)
    downsample = 4**level
    hurt = (place[0] // 256, place[1] // 256)
    width, height = openslide.OpenSlide(path).level_dimensions[level]
    for row in range(-(-height // 256)):
        for column in range(-(-width // 256)):
            slide = openslide.OpenSlide(path)
            corner = (column * 256 * downsample, row * 256 * downsample)
            if (column, row) == hurt:
                with pytest.raises(openslide.OpenSlideError):
                    slide.read_region(corner, level, (20, 20))
            else:
                assert slide.read_region(corner, level, (20, 20)).getpixel((0, 0))[0] == 9


def test_truncation(path):
    before = path.stat().st_size
    truncate_file(path, 0.25)
    assert path.stat().st_size == before // 4

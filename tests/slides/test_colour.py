import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from slidenet.core.errors import UnreadableSlideError
from slidenet.slides import open_slide
from slidenet.slides.colour import parse_background, to_rgb
from slidenet.testing import plain, write_pyramid
from slidenet.testing.layouts import write_layout


def swapped_profile() -> bytes:
    """An RGB profile whose red and blue primaries changed places; applying it swaps channels."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    names = (b"rXYZ", b"bXYZ")
    first, second = (profile.index(name, 128) for name in names)
    data = bytearray(profile)
    data[first : first + 4], data[second : second + 4] = names[1], names[0]
    return bytes(data)


@pytest.mark.parametrize(
    ("text", "rgb"),
    [(None, (255, 255, 255)), ("F4F0EA", (244, 240, 234)), ("#000010", (0, 0, 16))],
)
def test_background_colour(text, rgb):
    assert parse_background(text) == rgb


def test_transparency_takes_the_background_never_black():
    rgba = np.array([[[0, 0, 0, 0], [100, 50, 20, 255], [100, 50, 20, 51]]], np.uint8)
    rgb = to_rgb(Image.fromarray(rgba), (240, 230, 220), None)
    # 51 of 255 is a fifth: 100 / 5 + 240 * 4 / 5 = 212.
    assert rgb.tolist() == [[[240, 230, 220], [100, 50, 20], [212, 194, 180]]]


def test_tiles_the_scanner_left_out_are_white(tmp_path):
    def paint(x, y, width, height):
        return None if (x, y) == (256, 0) else np.full((height, width, 3), 90, np.uint8)

    path = write_pyramid(tmp_path / "sparse.tif", 768, 512, 0.5, paint)
    with open_slide(path) as slide:
        row = slide.read_region((0, 10), 0, (768, 1))[0, :, 0]
        outside = slide.read_region((-10, -10), 0, (20, 20))
    assert (row[256:512] == 255).all()
    assert (row[:256] == 90).all()
    assert (row[512:] == 90).all()
    assert (outside[:10] == 255).all()
    assert (outside[10:, 10:] == 90).all()


def test_the_profile_applies_alike_in_both_readers_of_tiles(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (100, 150, 3), dtype=np.uint8)
    path = tmp_path / "icc.tif"
    write_layout(path, [picture], iccprofile=swapped_profile(), missing={0: [1]})
    with (
        open_slide(path, icc=True, reader="tiled") as mine,
        open_slide(path, icc=True, reader="openslide") as theirs,
        open_slide(path, reader="tiled") as without,
    ):
        assert mine.icc_applied
        region = ((-10, -10), 0, (170, 120))
        np.testing.assert_array_equal(mine.read_level(*region), theirs.read_region(*region))
        assert (mine.read_level(*region) != without.read_level(*region)).any()
        half = ((0, 0), 0, (128, 64), 2)
        expected = cv2.resize(
            mine.read_level((0, 0), 0, (128, 64)), (64, 32), interpolation=cv2.INTER_AREA
        )
        np.testing.assert_array_equal(mine.read_shrunk(*half), expected)


@pytest.mark.parametrize("kind", ["pyramid", "png"])
def test_icc_profile_is_applied_only_when_asked(tmp_path, kind):
    colour = (200, 120, 40)
    if kind == "pyramid":
        path = tmp_path / "icc.tif"
        write_pyramid(path, 600, 600, 0.5, plain(colour), icc_profile=swapped_profile())
    else:
        path = tmp_path / "icc.png"
        Image.new("RGB", (600, 600), colour).save(path, icc_profile=swapped_profile())
    with open_slide(path) as plain_slide, open_slide(path, icc=True) as icc_slide:
        assert (plain_slide.icc_applied, icc_slide.icc_applied) == (False, True)
        assert plain_slide.read_region((5, 5), 0, (1, 1))[0, 0].tolist() == list(colour)
        applied = icc_slide.read_region((595, 5), 0, (10, 1))[0].astype(int)
    assert np.abs(applied[:5] - (40, 120, 200)).max() <= 1
    assert (applied[5:] == 255).all()  # the background is no stored pixel


@pytest.mark.filterwarnings("error")
def test_asking_for_a_profile_that_is_not_there_is_recorded(noise_slide, noise_image):
    with open_slide(noise_slide, icc=True) as slide:
        assert slide.icc_applied is False
        pixels = slide.read_region((0, 0), 0, (64, 64))
    np.testing.assert_array_equal(pixels, noise_image[:64, :64])


@pytest.mark.parametrize("profile", [b"no profile at all" * 10, b"grey"])
def test_a_broken_profile_says_to_leave_it_out(tmp_path, profile):
    if profile == b"grey":
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    path = tmp_path / "broken.tif"
    write_pyramid(path, 300, 300, 0.5, plain((1, 2, 3)), icc_profile=profile)
    open_slide(path).close()
    with pytest.raises(UnreadableSlideError, match=r"ICC profile cannot be used.*no --icc"):
        open_slide(path, icc=True)

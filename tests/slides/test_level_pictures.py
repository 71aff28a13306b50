import cv2
import numpy as np
import pytest

from slidenet.core.errors import PixelReadError
from slidenet.slides.level_pictures import compare_levels
from slidenet.slides.pyramid import check_levels


class Arrays:
    """Levels as arrays; a region that touches `holes` of level 0 is not stored or not readable."""

    def __init__(self, *pictures, unstored=None, unreadable=()):
        self.pictures = pictures
        self.level_dimensions = [picture.shape[1::-1] for picture in pictures]
        self.unstored = unstored
        self.unreadable = unreadable

    def read_level(self, location, level, size):
        if level in self.unreadable:
            raise PixelReadError("damaged")
        (x, y), (width, height) = location, size
        return self.pictures[level][y : y + height, x : x + width]

    def has_stored(self, location, level, size):
        return self.unstored is None or level > 0 or location[0] < self.unstored

    def problems(self):
        checked = compare_levels(self, check_levels(self.level_dimensions))
        return [level.problem is not None for level in checked]


@pytest.fixture(scope="module")
def tissue():
    """uint8 (1024, 1280, 3): blobs of all sizes on glass."""
    rng = np.random.default_rng(0)
    coarse = cv2.resize(rng.random((16, 20)).astype(np.float32), (1280, 1024))
    fine = cv2.resize(rng.random((128, 160)).astype(np.float32), (1280, 1024))
    grey = np.where(coarse > 0.55, 80 + 120 * fine, 240).astype(np.uint8)
    return np.dstack([grey, grey // 2 + 100, grey])


def copy(picture, factor, how=cv2.INTER_AREA):
    size = picture.shape[1] // factor, picture.shape[0] // factor
    return cv2.resize(picture, size, interpolation=how)


def label(picture):
    page = np.full_like(picture, 255)
    for y in range(4, len(page) - 4, 8):
        page[y : y + 3, 4:-4] = 0
    return page


@pytest.mark.parametrize("how", [cv2.INTER_AREA, cv2.INTER_NEAREST, cv2.INTER_LANCZOS4])
def test_copies_are_good_however_they_were_made(tissue, how):
    levels = Arrays(tissue, copy(tissue, 4, how), copy(tissue, 16, how))
    assert levels.problems() == [False, False, False]


@pytest.mark.parametrize("which", [1, 2])
def test_another_picture_of_the_right_size_is_found(tissue, which):
    pictures = [tissue, copy(tissue, 4), copy(tissue, 16)]
    pictures[which] = label(pictures[which])
    assert Arrays(*pictures).problems() == [number == which for number in range(3)]


def test_the_same_glass_turned_over_is_another_picture(tissue):
    assert Arrays(tissue, copy(tissue, 4)[::-1, ::-1]).problems() == [False, True]


def test_what_is_not_stored_or_not_readable_says_nothing(tissue):
    holed = tissue.copy()
    holed[:, 300:] = 255
    assert Arrays(holed, copy(tissue, 4)).problems() == [False, True]
    assert Arrays(holed, copy(tissue, 4), unstored=300).problems() == [False, False]
    foreign = label(copy(tissue, 4))
    for unreadable in ([0], [1]):
        assert Arrays(tissue, foreign, unreadable=unreadable).problems() == [False, False]


def test_bare_glass_says_nothing():
    glass = np.full((512, 512, 3), 240, np.uint8)
    assert Arrays(glass, copy(glass, 2)).problems() == [False, False]

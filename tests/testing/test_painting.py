import math

import numpy as np
import pytest

from slidenet.testing import Blob, Lesion, Stain, SyntheticSlide, with_overlays
from slidenet.testing.painting import GLASS_RGB


@pytest.fixture(scope="module")
def slide():
    return SyntheticSlide(1536, 1536, (Blob(768, 768, 700, 700),), 1)


def test_the_mask_has_the_area_of_the_disc_and_ends_within_reach():
    lesion = Lesion(500, 400, 200, seed=3)
    mask = lesion.mask(0, 0, 1000, 800)
    assert mask.sum() == pytest.approx(math.pi * 200**2, rel=0.02)
    rows, columns = np.nonzero(mask)
    assert lesion.reach == pytest.approx(232)
    assert np.hypot(columns + 0.5 - 500, rows + 0.5 - 400).max() <= lesion.reach
    assert lesion.mask(800, 0, 100, 100) is None


@pytest.mark.parametrize(
    "overlays",
    [
        [Lesion(700, 700, 180, seed=1)],
        [Stain((0.9, 1.2, 1.1), side=1536, thickness=0.2, seed=4)],
        [Lesion(700, 700, 180), Stain((1.2, 0.9, 1.0), side=1536, thickness=0.1)],
    ],
)
def test_the_same_place_looks_the_same_in_every_rectangle(slide, overlays):
    painter = with_overlays(slide, *overlays)
    whole = painter(0, 0, 1536, 1536)
    for x, y, width, height in ((512, 640, 256, 256), (650, 333, 199, 401), (0, 0, 100, 70)):
        part = painter(x, y, width, height)
        np.testing.assert_array_equal(part, whole[y : y + height, x : x + width])
    glass = ~slide.tissue_mask(0, 0, 1536, 1536)
    assert (whole[glass] == GLASS_RGB).all()


def test_a_lesion_is_darker_and_changes_nothing_beside_it(slide):
    lesion = Lesion(768, 768, 200)
    before, after = slide(0, 0, 1536, 1536), with_overlays(slide, lesion)(0, 0, 1536, 1536)
    inside = lesion.mask(0, 0, 1536, 1536)
    np.testing.assert_array_equal(after[~inside], before[~inside])
    assert before[inside].mean() - after[inside].mean() > 50


def test_stain_scales_optical_density(slide):
    before = slide(600, 600, 256, 256)
    after = with_overlays(slide, Stain((1.0, 1.25, 0.8)))(600, 600, 256, 256)
    np.testing.assert_array_equal(after[..., 0], before[..., 0])
    for channel, factor in ((1, 1.25), (2, 0.8)):
        tissue = before[..., channel] < min(GLASS_RGB)
        wanted = 255 * (before[..., channel][tissue] / 255) ** factor
        assert np.abs(after[..., channel][tissue] - wanted).max() <= 0.5


def test_thickness_varies_along_the_slide_and_not_more_than_asked(slide):
    stain = Stain(side=1536, thickness=0.3, seed=2)
    values = [stain._thickness_at(x, y) for x in range(0, 1536, 128) for y in range(0, 1536, 128)]
    assert min(values) >= 0.7
    assert max(values) <= 1.3
    assert np.std(values) > 0.05

import math

import numpy as np
import pytest

from slidenet.slides import open_slide
from slidenet.testing import Blob, SyntheticSlide, synthetic_slide, write_synthetic_slide
from slidenet.testing.painting import GLASS_RGB


def test_blobs_are_seeded_and_lie_on_the_slide():
    slide = synthetic_slide(4000, 3000, num_blobs=6, seed=3)
    assert slide == synthetic_slide(4000, 3000, num_blobs=6, seed=3)
    assert slide != synthetic_slide(4000, 3000, num_blobs=6, seed=4)
    assert len(slide.blobs) == 6
    for blob in slide.blobs:
        assert blob.x - blob.radius_x >= 0
        assert blob.x + blob.radius_x <= 4000
        assert blob.y - blob.radius_y >= 0
        assert blob.y + blob.radius_y <= 3000


def test_mask_is_the_ellipse():
    slide = SyntheticSlide(1000, 1000, (Blob(500, 400, 300, 200),))
    mask = slide.tissue_mask(0, 0, 1000, 1000)
    assert mask.sum() == pytest.approx(math.pi * 300 * 200, rel=0.001)
    assert mask[400, 500]
    assert mask[400, 200]
    assert not mask[400, 199]
    assert not mask[600, 500]


def test_pixels_follow_the_mask_and_do_not_depend_on_the_rectangle():
    slide = SyntheticSlide(3000, 2500, (Blob(1500, 1200, 1100, 900), Blob(2500, 400, 300, 300)), 1)
    whole = slide(0, 0, 3000, 2500)
    mask = slide.tissue_mask(0, 0, 3000, 2500)
    glass = (whole == GLASS_RGB).all(-1)
    np.testing.assert_array_equal(glass, ~mask)
    for x, y, width, height in ((0, 0, 256, 256), (1000, 900, 300, 200), (2000, 100, 1000, 1500)):
        part = slide(x, y, width, height)
        np.testing.assert_array_equal(part, whole[y : y + height, x : x + width])


def test_tissue_has_the_colours_of_haematoxylin_and_eosin():
    red, green, blue = (
        synthetic_slide(10, 10)._texture_2x2[:1024, :1024].reshape(-1, 3).T.astype(int)
    )
    assert (green < red).mean() > 0.99
    assert (green < blue).mean() > 0.99
    nuclei = red < 140
    assert 0.1 < nuclei.mean() < 0.35
    assert (blue - red)[nuclei].mean() > 20
    assert (red - blue)[~nuclei].mean() > 10


def test_written_slide_is_the_painted_one(tmp_path):
    painted = write_synthetic_slide(tmp_path / "x.tif", 1300, 900, 0.5, seed=5)
    with open_slide(tmp_path / "x.tif") as slide:
        assert slide.slide_mpp.value == pytest.approx(0.5)
        pixels = slide.read_region((0, 0), 0, (1300, 900))
        small = slide.thumbnail(130).astype(float)
    np.testing.assert_array_equal(pixels, painted(0, 0, 1300, 900))
    tissue = small.min(-1) < 235
    mask = painted.tissue_mask(0, 0, 1300, 900).reshape(90, 10, 130, 10).mean((1, 3))
    assert tissue[mask == 1].all()
    assert not tissue[mask == 0].any()


def test_an_empty_slide_is_all_glass(tmp_path):
    write_synthetic_slide(tmp_path / "x.tif", 800, 600, 0.5, num_blobs=0)
    with open_slide(tmp_path / "x.tif") as slide:
        assert (slide.read_region((0, 0), 0, (800, 600)) == GLASS_RGB).all()


def test_overlays_and_pyramid_options_pass_through(tmp_path):
    def ink(pixels, x, y):
        pixels[:] = (0, 0, 255)

    write_synthetic_slide(tmp_path / "x.tif", 600, 600, None, overlays=[ink], num_levels=1)
    with open_slide(tmp_path / "x.tif") as slide:
        assert not slide.has_mpp
        assert slide.level_dimensions == ((600, 600),)
        assert (slide.read_region((0, 0), 0, (600, 600)) == (0, 0, 255)).all()

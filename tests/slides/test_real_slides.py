import numpy as np
import pytest

from slidenet.core.errors import MissingMppError, ResolutionError
from slidenet.slides import open_slide, plan_tiles, read_tile

pytestmark = pytest.mark.shared_data


@pytest.fixture
def folder(shared_data):
    return shared_data / "slides"


def test_aperio_with_resolution(folder):
    with open_slide(folder / "cmu_small_region.svs") as slide:
        assert slide.vendor == "aperio"
        assert slide.level_dimensions == ((2220, 2967),)
        assert slide.slide_mpp.value == 0.499
        assert slide.slide_mpp.source == "vendor property openslide.mpp-x"
        plan = plan_tiles(slide)
        assert (plan.level, plan.read_mpp, plan.read_size_px) == (0, 0.499, 256)
        tile = read_tile(slide, plan, (1000, 1000))
        np.testing.assert_array_equal(tile, slide.read_region((1000, 1000), 0, (256, 256)))
        assert 20 < tile.std() < 100
        assert not slide.icc_applied


def test_generic_tiff_takes_resolution_from_tags(folder):
    with open_slide(folder / "her2st_B4.tiff") as slide:
        assert slide.slide_mpp.value == pytest.approx(0.69, abs=1e-12)
        assert slide.slide_mpp.source == "TIFF resolution tags"
        with pytest.raises(ResolutionError, match=r"0\.69 mpp.*1\.38 times.*allow_upsampling"):
            plan_tiles(slide)
        enlarged = plan_tiles(slide, allow_upsampling=True)
        assert (enlarged.level, enlarged.read_size_px) == (0, 186)
        assert read_tile(slide, enlarged, (4000, 4000)).shape == (256, 256, 3)
        coarse = plan_tiles(slide, target_mpp=4.0)
        assert (coarse.level, coarse.read_size_px) == (1, 371)
        assert slide.thumbnail(500).shape == (500, 467, 3)


def test_slide_without_resolution(folder):
    path = folder / "tcga-cr-7395-01a-01-ts1.svs"
    with open_slide(path) as slide:
        assert not slide.has_mpp
        with pytest.raises(MissingMppError, match="manifest column `mpp`"):
            plan_tiles(slide)
    with open_slide(path, mpp=0.2509) as slide:
        plan = plan_tiles(slide)
        assert (plan.level, plan.read_size_px) == (1, 256)
        assert plan.slide_mpp.source == "override"
        assert read_tile(slide, plan, (1000, 1000)).std() > 10


def test_a_profile_that_is_srgb_changes_nothing(folder):
    path = folder / "tcga-cr-7395-01a-01-ts1.svs"
    region = ((2000, 1500), 0, (256, 256))
    with open_slide(path) as slide, open_slide(path, icc=True) as corrected:
        assert corrected.icc_applied
        plain, srgb = slide.read_region(*region), corrected.read_region(*region)
    assert np.abs(plain.astype(int) - srgb).max() <= 1


def test_fingerprints_tell_slides_apart(folder):
    paths = sorted(folder.iterdir())
    prints = set()
    for path in paths:
        with open_slide(path) as slide:
            prints.add(slide.fingerprint)
    assert len(prints) == len(paths)

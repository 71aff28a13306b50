import numpy as np
import pytest

from slidenet.core.errors import (
    ConfigError,
    EmptyTissueError,
    MissingMppError,
    SlidenetError,
    UnknownNameError,
    UnreadableSlideError,
)
from slidenet.slides import open_slide
from slidenet.testing import Blob, SyntheticSlide, corrupt_tile, write_pyramid
from slidenet.testing.layouts import write_layout
from slidenet.tissue import (
    DEFAULT_SEGMENTER,
    AllSegmenter,
    OpticalDensitySegmenter,
    OtsuSegmenter,
    SaturationSegmenter,
    find_tissue,
    make_segmenter,
)
from slidenet.tissue.masks import overview
from slidenet.tissue.segmenters import SEGMENTERS

GLASS = (240, 239, 241)
PINK = (214, 150, 190)
GREY = (150, 150, 150)
BARE_OTSU = OtsuSegmenter(smooth_um=0, min_area_um2=0, max_hole_um2=0)


def picture(*boxes, shape=(60, 80), background=GLASS):
    """A picture of one colour with filled boxes (top, bottom, left, right, rgb)."""
    image = np.full((*shape, 3), background, np.uint8)
    for top, bottom, left, right, rgb in boxes:
        image[top:bottom, left:right] = rgb
    return image


def noisy(image, sigma=3.0):
    noise = np.random.default_rng(0).normal(0, sigma, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def truth(*boxes, shape=(60, 80)):
    mask = np.zeros(shape, np.bool_)
    for top, bottom, left, right in boxes:
        mask[top:bottom, left:right] = True
    return mask


class TestOtsu:
    def test_the_bare_rule_is_exact(self):
        image = noisy(picture((10, 30, 20, 50, PINK)))
        np.testing.assert_array_equal(BARE_OTSU.mask(image, 8.0), truth((10, 30, 20, 50)))

    def test_luminance_is_the_mean_of_the_channels(self):
        # (255, 0, 255) has mean 170, (171, 171, 171) is lighter; a weighted luma would disagree.
        image = picture((0, 60, 0, 40, (255, 0, 255)), background=(190, 190, 190))
        np.testing.assert_array_equal(BARE_OTSU.mask(image, 8.0), truth((0, 60, 0, 40)))

    def test_cleaning_is_physical(self):
        image = picture((10, 40, 10, 60, PINK), (20, 24, 20, 24, GLASS), (50, 52, 70, 72, PINK))
        segmenter = OtsuSegmenter(smooth_um=0, min_area_um2=5 * 64, max_hole_um2=16 * 64)
        np.testing.assert_array_equal(segmenter.mask(image, 8.0), truth((10, 40, 10, 60)))
        finer = segmenter.mask(image, 4.0)  # the hole is now 4 x smaller than allowed, still filled
        assert finer[22, 22]
        coarser = segmenter.mask(image, 16.0)  # the hole is now 4 x larger, the spot large enough
        assert not coarser[22, 22]
        assert coarser[51, 71]

    def test_a_black_border_is_not_tissue(self):
        image = noisy(picture((10, 30, 20, 50, PINK)), sigma=2)
        image[:6], image[:, :7] = 3, 3
        mask = OtsuSegmenter(smooth_um=12).mask(image, 8.0)
        assert not mask[:8].any()
        assert not mask[:, :9].any()
        assert mask[12:28, 22:48].all()

    def test_without_the_guard_a_black_border_would_be_the_tissue(self):
        image = picture((10, 30, 20, 50, PINK))
        image[:30] = 3
        assert OtsuSegmenter(smooth_um=0, black_level=0).mask(image, 8.0)[:30].all()

    @pytest.mark.parametrize("sigma", [0.0, 3.0])
    def test_an_empty_slide_is_an_error_and_not_noise(self, sigma):
        with pytest.raises(
            EmptyTissueError, match=r"luminance differs by \d.* at least 12, the --min-contrast"
        ):
            OtsuSegmenter().mask(noisy(picture(), sigma), 8.0, slide="empty")

    def test_an_all_black_picture_is_an_error(self):
        with pytest.raises(EmptyTissueError):
            OtsuSegmenter().mask(picture(background=(0, 0, 0)), 8.0)

    def test_contrast_is_compared_with_its_setting(self):
        image = picture((10, 30, 20, 50, (230, 229, 231)))
        with pytest.raises(EmptyTissueError, match=r"differs by 10\.0"):
            OtsuSegmenter(smooth_um=0, min_contrast=10.1, min_area_um2=0).mask(image, 8.0)
        mask = OtsuSegmenter(smooth_um=0, min_contrast=9.9, min_area_um2=0).mask(image, 8.0)
        np.testing.assert_array_equal(mask, truth((10, 30, 20, 50)))


class TestSaturation:
    def test_colour_is_tissue_and_grey_is_not(self):
        image = noisy(picture((10, 30, 5, 35, PINK), (10, 30, 45, 75, GREY)), sigma=1)
        mask = SaturationSegmenter(closing_um=0).mask(image, 8.0)
        assert mask[12:28, 7:33].all()
        assert not mask[:, 38:].any()

    def test_a_fixed_threshold_finds_tissue_from_edge_to_edge(self):
        image = noisy(picture(background=PINK))
        assert SaturationSegmenter(threshold=25).mask(image, 8.0).all()
        with pytest.raises(EmptyTissueError, match="saturation"):
            SaturationSegmenter(min_contrast=40).mask(image, 8.0)

    def test_the_fixed_threshold_is_the_least_saturation_of_tissue(self):
        image = picture((0, 60, 0, 40, (255, 205, 205)), background=(255, 206, 206))  # 50 and 49
        segmenter = SaturationSegmenter(threshold=50, median_um=0, closing_um=0)
        np.testing.assert_array_equal(segmenter.mask(image, 8.0), truth((0, 60, 0, 40)))

    def test_coloured_noise_in_a_black_border_is_not_tissue(self):
        image = picture((20, 40, 30, 60, PINK))
        image[:10] = np.random.default_rng(0).integers(0, 6, (10, 80, 3))
        mask = SaturationSegmenter().mask(image, 8.0)
        assert not mask[:12].any()
        assert mask[22:38, 32:58].all()

    def test_closing_joins_and_hole_filling_fills(self):
        image = picture((10, 30, 10, 30, PINK), (10, 30, 32, 60, PINK), (18, 22, 40, 44, GLASS))
        segmenter = SaturationSegmenter(
            threshold=25, median_um=0, closing_um=40, max_hole_um2=16 * 64
        )
        mask = segmenter.mask(image, 8.0)
        np.testing.assert_array_equal(mask[11:29], truth((10, 30, 10, 60))[11:29])
        assert not mask[:10].any()


def test_all_needs_no_mpp(flat_slide):
    slide = flat_slide(picture(), mpp=None)
    tissue = find_tissue(slide, "all")
    assert tissue.mask.tolist() == [[True]]
    assert tissue.downsample_xy == (80.0, 60.0)
    assert tissue.fraction == 1.0
    with pytest.raises(MissingMppError, match="mpp"):
        find_tissue(slide, "otsu")


def test_segmentation_runs_at_its_physical_resolution(flat_slide):
    slide = flat_slide(picture(shape=(160, 240)), mpp=2.0)
    image, mpp = overview(slide, 8.0)
    assert image.shape == (40, 60, 3)
    assert mpp == 8.0
    assert overview(slide, 0.5)[0].shape == (160, 240, 3), "never upsampled"
    assert overview(slide, 1e6)[0].shape == (1, 1, 3)


def test_tissue_covers_the_slide_exactly(flat_slide):
    tissue = find_tissue(flat_slide(picture((10, 50, 10, 70, PINK)), mpp=3.0))
    rows, columns = tissue.mask.shape
    assert tissue.downsample_xy == (80 / columns, 60 / rows)
    assert not tissue.mask.flags.writeable
    assert tissue.identity == OpticalDensitySegmenter().identity()
    assert tissue.identity["segmenter"] == DEFAULT_SEGMENTER


def test_only_specks_left_is_an_empty_slide(flat_slide):
    slide = flat_slide(picture((10, 14, 10, 14, PINK)), mpp=8.0)
    with pytest.raises(EmptyTissueError, match="min_area_um2") as caught:
        find_tissue(slide, "otsu", smooth_um=0)
    assert caught.value.slide == "slide0.png"


@pytest.mark.parametrize("name", ["otsu", "saturation", "all"])
def test_recipes_are_known_before_a_slide_is_read(name):
    segmenter = make_segmenter(name)
    assert segmenter.identity()["segmenter"] == segmenter.name == name
    assert isinstance(segmenter, SEGMENTERS[name])
    assert hash(segmenter) == hash(make_segmenter(name)), "frozen, so equal settings are equal"


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("otsy", {}, "did you mean otsu"),
        ("otsu", {"treshold": 3}, "no setting 'treshold'.*min_contrast"),
        ("all", {"min_area_um2": 3}, "no settings"),
        ("otsu", {"smooth_um": "wide"}, "smooth_um is 'wide'; expected a finite number"),
        ("saturation", {"threshold": 2.5}, "threshold is 2.5; expected a whole number"),
        ("otsu", {"segment_mpp": 0}, "segment_mpp is 0; expected a finite number above 0"),
        (
            "saturation",
            {"min_area_um2": -1},
            "min_area_um2 is -1; expected .* of at least 0",
        ),
    ],
)
def test_bad_names_and_settings_say_what_is_right(name, settings, message):
    with pytest.raises(SlidenetError, match=message) as caught:
        make_segmenter(name, **settings)
    assert isinstance(caught.value, UnknownNameError | ConfigError)


@pytest.fixture(scope="module")
def painted(tmp_path_factory):
    """A generated pyramid and its ground truth."""
    truth = SyntheticSlide(
        3000, 2500, (Blob(1000, 1250, 750, 900), Blob(2400, 750, 350, 450)), seed=3
    )
    path = tmp_path_factory.mktemp("painted") / "slide.tiff"
    return write_pyramid(path, 3000, 2500, 0.5, truth), truth


@pytest.mark.parametrize("name", ["otsu", "saturation"])
def test_known_tissue_of_a_generated_pyramid_is_found(painted, name):
    path, truth = painted
    with open_slide(path) as slide:
        found = find_tissue(slide, name, segment_mpp=4.0)
    rows, columns = found.mask.shape
    assert (rows, columns) == (312, 375)
    y = ((np.arange(rows) + 0.5) * found.downsample_xy[1]).astype(int)
    x = ((np.arange(columns) + 0.5) * found.downsample_xy[0]).astype(int)
    expected = truth.tissue_mask(0, 0, 3000, 2500)[np.ix_(y, x)]
    overlap = (found.mask & expected).sum() / (found.mask | expected).sum()
    assert overlap > 0.97


@pytest.mark.shared_data
@pytest.mark.parametrize("name", ["otsu", "saturation"])
@pytest.mark.parametrize(
    ("file", "mpp", "low", "high"),
    [
        ("cmu_small_region.svs", None, 0.34, 0.42),
        ("her2st_B4.tiff", None, 0.15, 0.22),
        ("her2st_C3.tiff", None, 0.15, 0.18),
        ("tcga-cr-7395-01a-01-ts1.svs", 0.25, 0.6, 0.67),
    ],
)
def test_real_slides_have_the_tissue_the_eye_sees(shared_data, name, file, mpp, low, high):
    with open_slide(shared_data / "slides" / file, mpp) as slide:
        assert low < find_tissue(slide, name).fraction < high


def test_all_segmenter_is_a_segmenter_like_the_others(flat_slide):
    assert find_tissue(flat_slide(picture()), AllSegmenter()).identity == {"segmenter": "all"}


@pytest.mark.parametrize("name", ["otsu", "saturation"])
def test_the_dark_background_of_fluorescence_is_no_tissue(tmp_path, name):
    dark = np.full((512, 512, 3), 30, np.uint8)
    dark[100:200, 100:300] = (40, 60, 180)

    def paint(x, y, width, height):
        return dark[y : y + height, x : x + width]

    path = write_pyramid(tmp_path / "dark.tif", 512, 512, 2.0, paint)
    with open_slide(path) as slide:
        with pytest.raises(EmptyTissueError, match=r"it is fluorescence \(of its picture 92"):
            find_tissue(slide, name)
        assert find_tissue(slide, "all").fraction == 1


@pytest.mark.parametrize("name", ["otsu", "saturation"])
def test_what_cannot_be_read_is_no_tissue(tmp_path, name):
    image = picture((128, 384, 128, 384, PINK), shape=(512, 512))
    path = write_layout(tmp_path / "hurt.tif", [image], tile_px=128)
    with open_slide(path, mpp=8.0) as slide:
        whole = find_tissue(slide, name).mask
    corrupt_tile(path, (300, 300))  # the file's own tile from 256 to 384
    with open_slide(path, mpp=8.0) as slide:
        left = find_tissue(slide, name, max_hole_um2=1e9).mask
    assert whole[256:384, 256:384].mean() > 0.9
    assert not left[256:384, 256:384].any()
    assert left[128:256, 128:384].mean() > 0.9


def test_damage_is_named_where_no_tissue_is_found(tmp_path):
    path = write_layout(tmp_path / "hurt.tif", [picture(shape=(512, 512))], tile_px=128)
    corrupt_tile(path, (300, 300))
    damage = r"93\.8% bare glass, 6\.2% not readable; up to 6\.2% of its overview cannot be decoded"
    with open_slide(path, mpp=8.0) as slide, pytest.raises(EmptyTissueError, match=damage):
        find_tissue(slide)


def test_where_most_cannot_be_decoded_that_is_the_cause_and_not_a_lack_of_tissue(tmp_path):
    path = write_layout(tmp_path / "hurt.tif", [picture(shape=(512, 512))], tile_px=128)
    for tile in range(12):
        corrupt_tile(path, (tile % 4 * 128 + 5, tile // 4 * 128 + 5))
    cause = r"up to 75\.0% of its overview cannot be decoded \(.*and no tissue was found"
    with open_slide(path, mpp=8.0) as slide, pytest.raises(UnreadableSlideError, match=cause):
        find_tissue(slide)

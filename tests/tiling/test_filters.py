import cv2
import numpy as np
import pytest

from slidenet.core.errors import ConfigError
from slidenet.core.provenance import canonical_json
from slidenet.testing import synthetic_slide
from slidenet.tiling import BlankFilter, BlurFilter, PenFilter
from slidenet.tiling.filters import INK_RANGES, sharpness

SIDE = 32
INKS = {
    "blue": (40, 70, 190),
    "green": (20, 120, 60),
    "red": (200, 25, 40),
    "black": (25, 25, 30),
}
STAINS = {
    "eosin": (226, 158, 196),
    "strong eosin": (200, 70, 130),
    "hematoxylin": (98, 66, 140),
    "blue hematoxylin": (55, 60, 105),
    "blood": (170, 60, 80),
    "brown": (130, 85, 50),
    "glass": (244, 243, 246),
}


def tile(rgb=(244, 243, 246), *, share=0.0, ink=(0, 0, 0)):
    """A tile of one colour of which a share, counted in whole pixels from the top, has another."""
    pixels = np.tile(np.array(rgb, np.uint8), (SIDE * SIDE, 1))
    pixels[: round(share * SIDE * SIDE)] = ink
    return pixels.reshape(SIDE, SIDE, 3)


def kept(tile_filter, *tiles):
    return tile_filter.keep(np.stack(tiles)).tolist()


class TestBlank:
    def test_glass_and_scanner_black_go_and_tissue_stays(self):
        pink = STAINS["eosin"]
        tiles = [tile(), tile((0, 0, 0)), tile((200, 200, 200)), tile(pink), tile((199, 220, 220))]
        assert kept(BlankFilter(), *tiles) == [False, False, False, True, True]

    def test_the_share_is_exact(self):
        pixels = SIDE * SIDE
        stay, go = 21 / pixels, 20 / pixels  # 2 % of 1024 pixels is 20.48
        tiles = [tile(share=stay, ink=(150, 90, 130)), tile(share=go, ink=(150, 90, 130))]
        assert kept(BlankFilter(max_blank_fraction=0.98), *tiles) == [True, False]

    def test_a_tile_at_the_rim_of_the_tissue_stays(self):
        assert kept(BlankFilter(), tile(share=0.1, ink=STAINS["eosin"])) == [True]


class TestPen:
    @pytest.mark.parametrize("name", INKS)
    def test_each_ink_is_seen_by_its_own_range_alone(self, name):
        inked = tile(share=0.5, ink=INKS[name])
        assert kept(PenFilter(), inked) == [False]
        for other in INK_RANGES:
            assert kept(PenFilter(inks=(other,)), inked) == [other != name]

    @pytest.mark.parametrize("name", STAINS)
    def test_stains_are_no_ink(self, name):
        assert kept(PenFilter(max_ink_fraction=0.0), tile(STAINS[name])) == [True]

    def test_the_share_is_exact(self):
        tiles = [tile(share=102 / 1024, ink=INKS["blue"]), tile(share=103 / 1024, ink=INKS["blue"])]
        assert kept(PenFilter(max_ink_fraction=0.1), *tiles) == [True, False]

    def test_red_wraps_around_the_hue_circle(self):
        for red in ((210, 20, 60), (210, 20, 20), (210, 60, 20)):
            assert kept(PenFilter(inks=("red",)), tile(red)) == [False]


class TestBlur:
    def test_smoothing_a_sharp_tile_gets_it_dropped(self):
        sharp = synthetic_slide(512, 512, num_blobs=1)._texture_2x2[:256, :256]
        blurred = cv2.GaussianBlur(sharp, (0, 0), 4)
        assert kept(BlurFilter(), sharp, blurred) == [True, False]

    def test_the_measure_by_hand(self):
        pixels = np.zeros((4, 4, 3), np.uint8)
        pixels[:, ::2] = 100
        # Columns 0, 100, 0, 100 in grey: the Laplacian is +200 or -200 everywhere (reflected edge).
        assert sharpness(pixels) == 200**2
        assert sharpness(np.full((4, 4, 3), 77, np.uint8)) == 0
        assert kept(BlurFilter(min_variance=0), np.zeros((4, 4, 3), np.uint8)) == [True]


@pytest.mark.parametrize("tile_filter", [BlankFilter(), PenFilter(), BlurFilter()])
def test_every_filter_takes_an_empty_batch_and_has_a_recipe(tile_filter):
    keep = tile_filter.keep(np.zeros((0, 8, 8, 3), np.uint8))
    assert keep.shape == (0,)
    assert keep.dtype == np.bool_
    assert tile_filter.identity()["filter"] == tile_filter.name
    assert canonical_json(tile_filter.identity())


def test_only_blur_needs_the_tiles_own_pixels():
    assert BlurFilter().view_mpp is None
    assert BlankFilter().view_mpp == PenFilter().view_mpp == 4.0


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (BlankFilter, {"max_blank_fraction": 1.1}, "max_blank_fraction is 1.1"),
        (PenFilter, {"max_ink_fraction": -0.1}, "-0.1; expected a share from 0 to 1"),
        (PenFilter, {"inks": ("blue", "purple")}, "some of blue, green, red, black"),
        (PenFilter, {"inks": ()}, "some of blue"),
        (BlurFilter, {"min_variance": -1}, "at least 0"),
    ],
)
def test_bad_settings_say_what_is_right(kind, settings, message):
    with pytest.raises(ConfigError, match=message):
        kind(**settings)


@pytest.mark.shared_data
def test_real_tissue_is_neither_blank_nor_ink(shared_data):
    files = sorted((shared_data / "tiles_lc25000" / "images").iterdir())[::40]
    tiles = [cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB) for file in files]
    small = np.stack([cv2.resize(t, (28, 28), interpolation=cv2.INTER_AREA) for t in tiles])
    assert BlankFilter().keep(small).all()
    assert PenFilter().keep(small).mean() >= 0.99
    assert BlurFilter().keep(np.stack(tiles)).all()
    smooth = np.stack([cv2.GaussianBlur(t, (0, 0), 4) for t in tiles])
    assert not BlurFilter().keep(smooth).any()

from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slidenet.core.errors import ConfigError, ResolutionError, SlideError
from slidenet.core.records import SlideMpp
from slidenet.core.units import Mpp
from slidenet.slides import choose_level, plan_tiles
from slidenet.slides.pyramid import check_levels

PYRAMID = (1.0, 4.0, 16.0)


@pytest.mark.parametrize(
    ("slide_mpp", "downsamples", "target", "tile", "level", "read_mpp", "read_px"),
    [
        (0.499, (1.0,), 0.5, 256, 0, 0.499, 256),  # within 2 %: pixel for pixel
        (0.5, (1.0,), 0.5, 256, 0, 0.5, 256),
        (0.51, (1.0,), 0.5, 256, 0, 0.51, 256),  # 2 % coarser still counts as equal
        (0.25, PYRAMID, 0.5, 256, 0, 0.25, 512),
        (0.25, (1.0, 2.0, 4.0), 0.5, 256, 1, 0.5, 256),
        (0.2525, (1.0, 2.0005), 0.5, 256, 1, 0.2525 * 2.0005, 256),
        (0.25, PYRAMID, 1.0, 224, 1, 1.0, 224),
        (0.25, PYRAMID, 2.0, 224, 1, 1.0, 448),
        (0.25, PYRAMID, 4.0, 256, 2, 4.0, 256),
        (0.25, PYRAMID, 8.0, 256, 2, 4.0, 512),
        (0.2277, (1.0, 4.0), 0.5, 256, 0, 0.2277, 562),
        (0.45, (1.0,), 0.5, 256, 0, 0.45, 284),
    ],
)
def test_level_and_size(slide_mpp, downsamples, target, tile, level, read_mpp, read_px):
    choice = choose_level(slide_mpp, downsamples, target_mpp=target, tile_size_px=tile)
    assert (choice.level, choice.read_size_px) == (level, read_px)
    assert choice.read_mpp == pytest.approx(read_mpp, rel=1e-12)


def test_upsampling_is_refused_with_numbers_and_the_flag():
    with pytest.raises(ResolutionError) as caught:
        choose_level(0.69, (1.0, 4.0), target_mpp=0.5, tile_size_px=256, slide="her2st_B4.tiff")
    message = str(caught.value)
    for part in ("0.69 mpp", "0.5 mpp", "1.38 times", "0.51 mpp", "allow_upsampling", "her2st_B4"):
        assert part in message


def test_a_magnification_given_as_mpp_is_told():
    with pytest.raises(ResolutionError, match="20 looks like a magnification"):
        choose_level(20.0, (1.0,), target_mpp=0.5, tile_size_px=256)


def test_upsampling_reads_a_smaller_square_of_level_0():
    choice = choose_level(0.69, (1.0, 4.0), target_mpp=0.5, tile_size_px=256, allow_upsampling=True)
    assert (choice.level, choice.read_mpp, choice.read_size_px) == (0, 0.69, 186)


@given(
    slide_mpp=st.floats(0.1, 2),
    target=st.floats(0.1, 20),
    tile=st.integers(1, 1024),
    tolerance=st.floats(0, 0.2),
)
def test_what_is_read_covers_the_tile_and_is_never_enlarged(slide_mpp, target, tile, tolerance):
    try:
        choice = choose_level(
            slide_mpp, PYRAMID, target_mpp=target, tile_size_px=tile, mpp_tolerance=tolerance
        )
    except ResolutionError:
        assert slide_mpp > target
        return
    assert choice.read_size_px >= tile
    wanted = tile * target / choice.read_mpp
    if abs(choice.read_mpp / target - 1) < tolerance - 1e-9:
        assert choice.read_size_px == tile
    elif abs(choice.read_mpp / target - 1) > tolerance + 1e-9:
        assert abs(choice.read_size_px - wanted) <= 0.5
    coarser = [d for d in PYRAMID if choice.read_mpp < slide_mpp * d <= target]
    assert not coarser


def fake_slide(mpp, downsamples=PYRAMID, size=(10000, 8000)):
    dimensions = tuple((int(size[0] / d), int(size[1] / d)) for d in downsamples)
    return SimpleNamespace(
        cut_tiles=None,
        path=Path("fake.svs"),
        levels=check_levels(dimensions),
        slide_mpp=SlideMpp(Mpp(mpp), "override"),
        level_downsamples=downsamples,
        level_dimensions=dimensions,
    )


def test_plan_holds_every_number():
    plan = plan_tiles(fake_slide(0.25), target_mpp=0.5, tile_size_px=256, stride_px=128)
    assert plan.slide_mpp == SlideMpp(Mpp(0.25), "override")
    assert (plan.target_mpp, plan.read_mpp, plan.level) == (0.5, 0.25, 0)
    assert (plan.tile_size_px, plan.stride_px, plan.read_size_px) == (256, 128, 512)
    assert (plan.level0_width, plan.level0_height) == (10000, 8000)
    assert (plan.tile_size_level0, plan.stride_level0, plan.resampled) == (512, 256.0, True)


def test_plan_defaults_are_256_px_at_half_a_micron_side_by_side():
    plan = plan_tiles(fake_slide(0.499, (1.0,)))
    assert (plan.target_mpp, plan.tile_size_px, plan.stride_px) == (0.5, 256, 256)
    assert not plan.resampled
    # Read pixel for pixel, yet the lattice stays physical: 128 um, not 256 px of 0.499 um.
    assert plan.stride_level0 == pytest.approx(256 * 0.5 / 0.499)


def test_downsamples_are_those_of_the_levels_and_bad_levels_are_not_read():
    slide = fake_slide(0.25, (1.0, 4.0))
    slide.level_downsamples = (1.0, 4.0006)  # openslide's mean of both axes
    assert plan_tiles(slide, target_mpp=1.0).read_mpp == 1.0
    assert plan_tiles(slide, target_mpp=1.0, reading=1).read_mpp == pytest.approx(1.00015)
    slide.levels = check_levels([(10000, 8000), (2500, 2048)])  # padded
    assert plan_tiles(slide, target_mpp=1.0).level == 0
    with pytest.raises(SlideError, match=r"level 1, which .* cannot be used: its width is 1/4"):
        plan_tiles(slide, target_mpp=1.0, reading=1)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"reading": 3}, "reading is 3; expected one of 1, 2"),
        ({"shrinking": "dct"}, "shrinking is 'dct'; expected one of area, jpeg"),
        ({"reading": 1, "shrinking": "jpeg"}, "shrinking is 'jpeg'; expected area in reading 1"),
        ({"target_mpp": 0}, "target_mpp is 0"),
        ({"target_mpp": float("nan")}, "target_mpp is nan"),
        ({"tile_size_px": 0}, "tile_size_px is 0"),
        ({"stride_px": 0}, "stride_px is 0"),
        ({"mpp_tolerance": -0.1}, "mpp_tolerance is -0.1"),
        ({"mpp_tolerance": 0.5}, "mpp_tolerance is 0.5"),
    ],
)
def test_settings_out_of_range(settings, says):
    with pytest.raises(ConfigError, match=says):
        plan_tiles(fake_slide(0.25), **settings)

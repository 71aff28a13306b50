import numpy as np
import pytest

from slidenet.core.errors import ConfigError
from slidenet.visualisation.heatmaps.scales import (
    DIVERGING,
    NO_VALUE_RGB,
    SEQUENTIAL,
    scale_of,
)


def lightness(colours):
    """Relative luminance (WCAG 2) of the colours of a map, (256,)."""
    rgb = colours(np.linspace(0, 1, 256))[:, :3]
    linear = np.where(rgb <= 0.03928, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return linear @ (0.2126, 0.7152, 0.0722)


def test_signed_colours_are_even_about_zero(tile_map):
    colours = scale_of(tile_map([-1.0, 0.25, 0.5, np.nan]))
    assert (colours.low, colours.high) == (-1.0, 1.0)
    against, zero, speaks, nowhere = colours.rgb(np.array([-0.9, 0, 0.9, np.nan], np.float32))
    assert against[2] > against[0]
    assert speaks[0] > speaks[2]
    assert np.ptp(zero.astype(int)) <= 6
    assert zero.min() > 230
    assert tuple(nowhere) == NO_VALUE_RGB


def test_unsigned_colours_start_at_the_smallest_value_and_shares_at_none(tile_map):
    distance = scale_of(tile_map([2.0, 3.0, 4.0], signed=False, unit="distance"))
    assert (distance.low, distance.high) == (2.0, 4.0)
    share = scale_of(tile_map([0.001] * 197 + [0.2, 0.2, 0.4], signed=False, unit="share"))
    assert (share.low, share.high) == (0, pytest.approx(0.2))
    assert share.num_above == 1
    assert "; values are 0.001 to 0.4, 1 tile beyond the colours." in share.words


def test_noise_is_not_shown_in_full_colours(tile_map):
    noise = np.random.default_rng(0).normal(0, 0.01, 20_000)
    noise[:3] = 4.0
    colours = scale_of(tile_map(noise))
    assert colours.high == 1.0
    assert colours.num_above == 3
    assert "a quarter of the largest" in colours.words


@pytest.mark.parametrize("values", [[], [np.nan, np.nan], [0.0, 0.0]])
def test_maps_without_difference_have_the_colour_of_nothing(tile_map, values):
    for signed, empty in ((True, DIVERGING(0.5)), (False, SEQUENTIAL(0.0))):
        colours = scale_of(tile_map(values, signed=signed))
        assert colours.low < colours.high
        rgb = colours.rgb(np.zeros(1, np.float32))[0]
        assert np.abs(rgb - np.array(empty[:3]) * 255).max() < 2


def test_the_same_limits_give_the_same_colours_on_all_slides(tile_map):
    first, second = (scale_of(tile_map(v), (-2, 2)) for v in ([0.1, 1.0], [1.0, 30.0]))
    one = np.ones(1, np.float32)
    assert first.rgb(one).tolist() == second.rgb(one).tolist()
    assert second.num_above == 1
    for wrong in ((1, -1), (-1, 2), (0, float("nan"))):
        with pytest.raises(ConfigError, match="about zero"):
            scale_of(tile_map([1.0]), wrong)


def test_colours_can_be_told_apart_in_grey():
    pale = lightness(SEQUENTIAL)
    assert (np.diff(pale) < 0).all()
    both = lightness(DIVERGING)
    assert (np.diff(both[:128]) > 0).all()
    assert (np.diff(both[128:]) < 0).all()
    assert abs(both[0] - both[-1]) < 0.05


def test_both_signs_differ_for_readers_without_red_or_green():
    """Deuteranopia and protanopia by Vienot, Brettel and Mollon (1999), on linear RGB."""
    ends = DIVERGING(np.array([0.2, 0.8]))[:, :3] ** 2.2
    for kept in ((0.29275, 0.70725), (0.11238, 0.88762)):
        seen = np.stack([ends[:, :2] @ kept, ends[:, 2]], axis=1) ** (1 / 2.2)
        (_, blue_of_against), (_, blue_of_for) = seen
        assert blue_of_against - blue_of_for > 0.4

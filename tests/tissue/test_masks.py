import numpy as np
import pytest

from slidenet.tissue.masks import clean_mask, odd_kernel_px


def mask_of(*rows):
    return np.array([[c == "#" for c in row] for row in rows])


def cleaned(mask, **sizes):
    settings = {"pixel_area_um2": 1.0, "min_area_um2": 0, "max_hole_um2": 0} | sizes
    return clean_mask(mask, **settings)


def test_nothing_asked_nothing_changed():
    mask = mask_of("#..", ".#.", "..#")
    np.testing.assert_array_equal(cleaned(mask), mask)


def test_small_pieces_go_and_equal_ones_stay():
    mask = mask_of("##..#", "##...", "....#", "...##")
    expected = mask_of("##...", "##...", "....#", "...##")
    np.testing.assert_array_equal(cleaned(mask, min_area_um2=3), expected)
    np.testing.assert_array_equal(cleaned(mask, min_area_um2=3.5), mask_of("##...", "##...", *[
        "....."] * 2))  # fmt: skip


def test_pieces_hang_together_over_corners():
    mask = mask_of("#..", ".#.", "..#")
    assert cleaned(mask, min_area_um2=3).sum() == 3


def test_holes_up_to_the_limit_are_filled():
    mask = mask_of("######", "#.##.#", "####.#", "######")
    np.testing.assert_array_equal(
        cleaned(mask, max_hole_um2=1), mask_of("######", "####.#", "####.#", "######")
    )
    assert cleaned(mask, max_hole_um2=2).all()


def test_background_at_the_border_is_no_hole():
    mask = mask_of("#.##", "####", "###.", ".###")
    np.testing.assert_array_equal(cleaned(mask, max_hole_um2=100), mask)


def test_a_diagonal_line_closes_a_hole():
    mask = mask_of(".###.", "#..##", "##.#.", ".###.")
    assert cleaned(mask, max_hole_um2=3)[1, 1]


def test_a_filled_hole_counts_to_the_area():
    ring = mask_of(".....", ".###.", ".#.#.", ".###.", ".....")
    assert cleaned(ring, max_hole_um2=1, min_area_um2=9).sum() == 9


def test_areas_are_physical():
    mask = mask_of("##.", "...", "..#")
    assert cleaned(mask, pixel_area_um2=64.0, min_area_um2=65).sum() == 2
    assert cleaned(mask, pixel_area_um2=64.0, min_area_um2=64).sum() == 3


@pytest.mark.parametrize("value", [True, False])
def test_one_value_everywhere(value):
    mask = np.full((3, 4), value)
    np.testing.assert_array_equal(cleaned(mask, min_area_um2=2, max_hole_um2=2), mask)


@pytest.mark.parametrize(
    ("diameter_um", "mpp", "px"),
    [(0, 8, 1), (8, 8, 1), (15, 8, 1), (24, 8, 3), (40, 8, 5), (56, 8, 7), (24, 4, 5), (21, 1, 21)],
)
def test_kernel_sides_are_odd_and_nearest(diameter_um, mpp, px):
    assert odd_kernel_px(diameter_um, mpp) == px

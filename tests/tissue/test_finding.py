import numpy as np
import pytest

from slidenet.tissue import Finding, Reason, dropped_regions
from slidenet.tissue.masks import clean_reasons

LETTERS = {
    "#": Reason.TISSUE, ".": Reason.GROUND, "i": Reason.INK, "s": Reason.TOO_SMALL,
    "o": Reason.HOLE, "b": Reason.BLACK,
}  # fmt: skip


def codes(*rows):
    return np.array([[LETTERS[letter] for letter in row] for row in rows], np.uint8)


def reasons_of(mask, *, min_area_um2=0, max_hole_um2=0):
    sizes = {"min_area_um2": min_area_um2, "max_hole_um2": max_hole_um2}
    return clean_reasons(mask == Reason.TISSUE, pixel_area_um2=1.0, **sizes)


def test_what_is_dropped_and_what_stays_open_says_why():
    mask = codes("#####...", "#...#.##", "#...#...", "#####.##")
    expected = codes("#####...", "#ooo#.ss", "#ooo#...", "#####.ss")
    found = reasons_of(mask, min_area_um2=3, max_hole_um2=5)
    np.testing.assert_array_equal(found, expected)


def test_the_hole_of_a_piece_that_is_dropped_is_ground():
    ring = codes(".....", ".###.", ".#.#.", ".###.", ".....")
    expected = codes(".....", ".sss.", ".s.s.", ".sss.", ".....")
    np.testing.assert_array_equal(reasons_of(ring, min_area_um2=20), expected)


def test_an_island_in_a_hole_is_no_part_of_the_hole():
    mask = codes("#######", "#.....#", "#..#..#", "#.....#", "#######")
    np.testing.assert_array_equal(
        reasons_of(mask), codes("#######", "#ooooo#", "#oo#oo#", "#ooooo#", "#######")
    )
    np.testing.assert_array_equal(
        reasons_of(mask, min_area_um2=2),
        codes("#######", "#ooooo#", "#oosoo#", "#ooooo#", "#######"),
    )


def test_dropped_regions_have_their_place_on_the_slide_and_their_area():
    reasons = codes("##...s", "##ii..", "##ii.i")
    finding = Finding(reasons == Reason.TISSUE, reasons)
    (first, *rest), number = dropped_regions(finding, level0_size=(601, 300), slide_mpp=0.5)
    assert number == 3
    assert (first.reason, first.box) == (Reason.INK, (200, 100, 401, 300))
    assert first.area_um2 == pytest.approx(4 * (601 / 6) * 100 * 0.25)
    assert [region.box for region in rest] == [(500, 0, 601, 100), (500, 200, 601, 300)]
    assert [region.reason for region in rest] == [Reason.TOO_SMALL, Reason.INK]
    unknown = dropped_regions(finding, level0_size=(601, 300), slide_mpp=None)
    assert [region.area_um2 for region in unknown.largest] == [None] * 3
    few = dropped_regions(finding, level0_size=(601, 300), slide_mpp=0.5, most=1)
    assert few == ([first], 3)


def test_without_reasons_nothing_is_said_to_be_dropped():
    assert dropped_regions(Finding(np.zeros((2, 2), bool)), level0_size=(2, 2), slide_mpp=1) == (
        [],
        0,
    )


def test_every_reason_has_words():
    assert len({reason.words for reason in Reason}) == len(Reason)

import numpy as np

from slidenet.tissue import Reason
from slidenet.visualisation.overlay.damage import draw_legend
from slidenet.visualisation.overlay.reasons import REASON_RGB, tint_reasons
from slidenet.visualisation.overlay.tissue import tissue_overlay

GREY = np.full((300, 400, 3), 200, np.uint8)


def codes(**boxes):
    """Reasons at a quarter of the picture's resolution: ink=(top, bottom, left, right)."""
    reasons = np.full((75, 100), Reason.GROUND, np.uint8)
    for name, (top, bottom, left, right) in boxes.items():
        reasons[top:bottom, left:right] = Reason[name]
    return reasons


def test_every_reason_but_glass_and_what_is_hatched_has_a_colour_of_its_own():
    bare = {Reason.TISSUE, Reason.GROUND, Reason.UNREADABLE}
    assert set(REASON_RGB) == set(Reason) - bare
    assert len(set(REASON_RGB.values())) == len(REASON_RGB)


def test_dropped_regions_are_tinted_within_and_outlined():
    tinted, legend = tint_reasons(GREY, codes(INK=(10, 20, 30, 50), TISSUE=(40, 60, 10, 30)))
    assert legend == [("ink of a pen", REASON_RGB[Reason.INK])]
    inside = tinted[41:79, 121:199].reshape(-1, 3)
    expected = np.rint(200 * 0.55 + np.array(REASON_RGB[Reason.INK]) * 0.45)
    np.testing.assert_array_equal(inside, np.broadcast_to(expected, inside.shape))
    assert tinted[40, 150].tolist() == list(REASON_RGB[Reason.INK])
    changed = (tinted != GREY).any(axis=2)
    assert changed[40:80, 120:200].all()
    assert changed.sum() == 40 * 80


def test_a_picture_without_dropped_regions_has_no_legend():
    drawn = tissue_overlay(GREY, [], level0_width=400, reasons=codes())
    np.testing.assert_array_equal(drawn, GREY)


def test_the_legend_lies_where_it_covers_the_least_tissue():
    avoid = np.zeros((300, 400), np.bool_)
    entries = [("ink of a pen", (0, 0, 255)), ("not readable", None)]
    for corner in ((0, 0), (0, 399), (299, 0), (299, 399)):
        drawn = draw_legend(GREY, entries, avoid=avoid)
        assert (drawn[corner] != 200).any()
        avoid[corner] = True
    small = GREY[:20, :20]
    assert draw_legend(small, entries) is small

import numpy as np
import pytest

from slidenet.slides import Illumination, illumination_of, judge_picture, open_slide
from slidenet.testing.mirax import write_mirax


def picture(background, tissue, share=0.3):
    rows = np.random.default_rng(0).integers(-8, 9, (200, 200, 3)) + background
    rows[: round(200 * share)] += tissue - background
    return rows.clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("background", "tissue", "kind"),
    [
        (240, 150, "brightfield"),
        (30, 140, "fluorescence"),
        (12, 60, "fluorescence"),
        (12, 250, "brightfield"),  # a third near white: unscanned parts of a dark grey
        (150, 150, "unknown"),
    ],
)
def test_light_by_the_picture(background, tissue, kind):
    assert judge_picture(picture(background, tissue)).kind == kind


@pytest.mark.parametrize(
    ("tissue", "kind"),
    [
        ((20, 40, 220), "fluorescence"),  # one dye
        ((90, 90, 90), "fluorescence"),  # one channel as grey
        ((205, 140, 185), "unknown"),  # stained tissue, cut out
    ],
)
def test_light_beside_black(tissue, kind):
    beside = np.zeros((200, 200, 3), np.uint8)
    beside[:60] = tissue
    assert judge_picture(beside).kind == kind


def test_black_that_was_never_scanned_is_left_out():
    half = picture(240, 150)
    half[60:160] = 0
    assert judge_picture(half).kind == "brightfield"
    assert judge_picture(np.zeros((9, 9, 3), np.uint8)).kind == "unknown"


@pytest.mark.parametrize("light", ["BRIGHTFIELD", "FLUORESCENCE"])
def test_what_the_file_says_comes_first(tmp_path, light):
    path = write_mirax(tmp_path / "a.mrxs", picture(240, 150)[:128, :128], light=light)
    with open_slide(path) as slide:
        said = illumination_of(slide)
    assert said == Illumination(light.lower(), "property mirax.GENERAL.SLIDE_TYPE")


@pytest.mark.shared_data
def test_real_slides(shared_data):
    with open_slide(shared_data / "formats" / "test3-DAPI.ndpi") as slide:
        assert illumination_of(slide).kind == "fluorescence"
    with open_slide(shared_data / "slides" / "cmu_small_region.svs") as slide:
        assert illumination_of(slide).kind == "brightfield"

import cv2
import numpy as np
import pytest

from slidenet.core.errors import EmptyTissueError
from slidenet.slides import open_slide
from slidenet.testing import write_pyramid
from slidenet.testing.tissue_scenes import KINDS, make_scene, score
from slidenet.tissue import OpticalDensitySegmenter, find_tissue
from slidenet.tissue.finding import DOUBTFUL, Reason
from slidenet.tissue.optics.density import make_sheet
from slidenet.tissue.optics.ink import inked_pieces
from slidenet.tissue.optics.stain import Stain

SEGMENTER = OpticalDensitySegmenter()
HARD = {"pen_violet", "wiped_pen", "faint18", "haze", "lacework"}
PINK, GLASS, BLUE_INK = (214, 150, 190), (240, 239, 241), (35, 70, 180)


def picture(*boxes, shape=(240, 300), seed=0):
    """Filled boxes (top, bottom, left, right, rgb) on glass, with a little noise."""
    image = np.full((*shape, 3), GLASS, np.float64)
    for top, bottom, left, right, rgb in boxes:
        image[top:bottom, left:right] = rgb
    noise = np.random.default_rng(seed).normal(0, 1.5, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def overlap(found, truth):
    return (found & truth).sum() / (found | truth).sum()


def box(top, bottom, left, right, shape=(240, 300)):
    mask = np.zeros(shape, np.bool_)
    mask[top:bottom, left:right] = True
    return mask


def test_the_outline_is_where_the_section_ends():
    image = picture((60, 180, 60, 240, PINK))
    finding = SEGMENTER.judge(image, 8.0)
    assert overlap(finding.mask, box(60, 180, 60, 240)) > 0.98
    assert finding.doubt < 0.1
    assert finding.notes == ()
    narrow = picture((60, 180, 100, 125, PINK))  # a biopsy of 0.2 mm
    assert overlap(SEGMENTER.mask(narrow, 8.0), box(60, 180, 100, 125)) > 0.93


def test_a_pen_hides_nothing_and_is_called_ink():
    faint = (236, 222, 234)
    image = picture((60, 180, 60, 160, faint), (20, 220, 220, 245, BLUE_INK))
    finding = SEGMENTER.judge(image, 8.0)
    assert overlap(finding.mask, box(60, 180, 60, 160)) > 0.95
    assert (finding.reasons[25:215, 222:243] == Reason.INK).mean() > 0.95


def test_black_and_unreadable_places_have_their_reasons():
    image = picture((60, 180, 60, 240, PINK))
    image[:, :30] = 0
    readable = ~box(0, 20, 200, 300)
    finding = SEGMENTER.judge(image, 8.0, readable=readable)
    assert (finding.reasons[:, :30] == Reason.BLACK).all()
    assert (finding.reasons[~readable] == Reason.UNREADABLE).all()
    assert overlap(finding.mask, box(60, 180, 60, 240)) > 0.97


def test_dark_ground_is_said_and_doubted(tmp_path):
    rng = np.random.default_rng(0)
    image = rng.normal(8, 2, (512, 512, 3)).clip(0, 255).astype(np.uint8)
    image[100:300, 100:400, 2] = rng.normal(120, 25, (200, 300)).clip(30, 255)
    path = write_pyramid(
        tmp_path / "dark.tif", 512, 512, 8.0, lambda x, y, w, h: image[y : y + h, x : x + w]
    )
    with open_slide(path) as slide:
        finding = find_tissue(slide, "optical_density").finding
    assert overlap(finding.mask, box(100, 300, 100, 400, (512, 512))) > 0.93
    assert finding.doubt >= DOUBTFUL
    assert "fluorescence?" in finding.notes[0]


@pytest.mark.parametrize("ink", [False, True])
def test_an_empty_slide_or_a_pen_alone_is_no_tissue(flat_slide, ink):
    strokes = ((20, 220, 220, 245, BLUE_INK),) if ink else ()
    with pytest.raises(EmptyTissueError, match="bare glass"):
        find_tissue(flat_slide(picture(*strokes), mpp=8.0), "optical_density")


@pytest.mark.parametrize("shape", [(1, 1), (2, 300), (17, 9)])
def test_tiny_pictures_are_judged_without_a_fault(shape):
    assert SEGMENTER.judge(picture(shape=shape), 8.0).mask.shape == shape
    assert SEGMENTER.judge(np.zeros((*shape, 3), np.uint8), 0.3).mask.shape == shape


@pytest.mark.parametrize("rgb", [(216, 222, 236), (205, 215, 226), (212, 218, 232)])
def test_a_pale_blue_counterstain_beside_stained_tissue_is_no_ink(rgb):
    rng = np.random.default_rng(5)
    image = np.full((160, 200, 3), 240.0)
    image[40:120, 20:80] = (190, 120, 170)
    image[40:120, 110:180] = rgb
    image += rng.normal(0, 0.8, image.shape) + 2 * rng.normal(size=(160, 200, 1))
    found = SEGMENTER.mask(image.round().astype(np.uint8), 8.0)
    truth = np.zeros(found.shape, bool)
    truth[40:120, 20:80] = truth[40:120, 110:180] = True
    assert (found & truth).sum() / (found | truth).sum() > 0.95


def test_ink_that_has_the_colour_of_stain_is_doubted():
    violet = (90, 40, 140)
    sure = picture((60, 180, 60, 160, PINK), (20, 220, 220, 245, BLUE_INK))
    doubtful = picture((60, 180, 60, 160, PINK), (20, 220, 220, 245, violet))
    findings = [SEGMENTER.judge(rough(image), 8.0) for image in (sure, doubtful)]
    for finding in findings:
        assert (finding.reasons[25:215, 224:241] == Reason.INK).mean() > 0.95
    assert findings[1].doubt > findings[0].doubt + 0.2
    assert any("colours of stain" in note for note in findings[1].notes)


def test_tissue_near_the_threshold_is_doubted():
    for rgb, doubted in (((226, 214, 229), False), ((232, 226, 235), True)):
        image = picture((60, 180, 60, 120, PINK), (60, 180, 120, 240, rgb))
        finding = SEGMENTER.judge(rough(image), 8.0)
        assert overlap(finding.mask, box(60, 180, 60, 240)) > 0.98
        assert (finding.doubt > 0.3) == doubted
        assert any("a third more" in note for note in finding.notes) == doubted


def test_cores_on_a_tiny_slide_are_told_from_the_glass_between_them():
    side = 75  # 0.6 mm
    down, across = np.mgrid[:side, :side] / side
    truth = np.zeros((side, side), np.bool_)
    for y, x in ((0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75)):
        truth |= np.hypot(down - y, across - x) < 0.167
    image = np.full((side, side, 3), GLASS, np.float64)
    image[truth] = PINK + np.random.default_rng(0).normal(0, 20, (truth.sum(), 1))
    found = SEGMENTER.mask(image.clip(0, 255).astype(np.uint8), 8.0)
    assert overlap(found, truth) > 0.95


def rough(image, seed=0):
    """A picture with the grain that sections have."""
    grain = 2 * np.random.default_rng(seed).normal(size=(*image.shape[:2], 1))
    return np.clip(image + grain, 0, 255).astype(np.uint8)


def test_a_patch_of_brown_stain_is_no_ink():
    brown = (150, 95, 80)  # even and of one dye as ink is, but no pen is brown
    image = picture((60, 180, 60, 240, (222, 224, 236)), (80, 160, 80, 200, brown))
    assert overlap(SEGMENTER.mask(rough(image), 8.0), box(60, 180, 60, 240)) > 0.95


def test_a_green_stroke_over_pale_tissue_does_not_take_it_along():
    found = box(60, 180, 60, 200)
    density = np.zeros((*found.shape, 3), np.float32)
    density[found] = (0.07, 0.33, 0.22)
    density[100:119, 60:200] += (2.8, 0.92, 1.38)  # together they are grey, on average
    plane, nothing = density[..., 0], np.zeros_like(found)
    stain = Stain(density, plane, plane, nothing, 1.0, False)
    sheet = make_sheet(picture(), ~nothing, 16.0)
    assert not inked_pieces(sheet, found, stain, nothing).any()
    density[found] = (2.87, 1.25, 2.2)
    assert (inked_pieces(sheet, found, stain, nothing) == found).all()


def test_flat_yellowish_glass_beyond_a_cover_slip_is_ground():
    image = picture((0, 50, 0, 300, (228, 226, 202)), (100, 180, 60, 240, PINK))
    finding = SEGMENTER.judge(image, 8.0)
    assert overlap(finding.mask, box(100, 180, 60, 240)) > 0.97


@pytest.mark.parametrize("beyond", [(236, 234, 222), (228, 226, 202)])
def test_the_dark_edge_of_a_cover_slip_is_debris(beyond):
    image = picture((0, 40, 0, 400, beyond), (100, 240, 85, 265, PINK), shape=(300, 400))
    line = np.zeros((300, 400), np.float32)
    line[40:47], line[53:60] = 0.9, 0.6
    image = image * np.exp(-cv2.GaussianBlur(line, (0, 0), 3))[..., None]
    image = np.clip(image, 0, 255).astype(np.uint8)
    found = SEGMENTER.mask(image, 8.0)
    assert overlap(found, box(100, 240, 85, 265, (300, 400))) > 0.97


def test_padding_of_pure_white_is_not_the_glass():
    image = picture((60, 160, 60, 140, PINK), (90, 200, 200, 240, PINK))
    image = (image * 0.94).astype(np.uint8)
    inside = box(30, 220, 40, 260)
    image[~inside] = 255
    for _ in range(2):  # the rim of what was scanned is mixed with the padding
        image = np.where(inside[..., None], image, cv2.blur(image, (3, 3)))
    truth = box(60, 160, 60, 140) | box(90, 200, 200, 240)
    assert overlap(SEGMENTER.mask(image, 8.0), truth) > 0.96


@pytest.mark.slow
@pytest.mark.parametrize(("texture", "first"), [("a", 0), ("c", 1)])
def test_every_kind_of_scene(texture, first):
    found = {}
    for kind in sorted(KINDS)[first::2]:
        scene = make_scene(kind, 1002, texture=texture)
        found[kind] = score(SEGMENTER.mask(scene.image, scene.mpp), scene).iou
    assert np.mean(list(found.values())) >= 0.93
    low = {kind: iou for kind, iou in found.items() if iou < (0.7 if kind in HARD else 0.8)}
    assert not low

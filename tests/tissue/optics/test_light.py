"""Glass, ground, ink and dark ground on small pictures of known density."""

import numpy as np
import pytest

from slidenet.tissue.optics.dark import bright_tissue, is_dark_ground
from slidenet.tissue.optics.density import labelled, make_sheet, optical_density, pieces_of
from slidenet.tissue.optics.glass import fit_glass
from slidenet.tissue.optics.ground import flood
from slidenet.tissue.optics.ink import find_ink
from slidenet.tissue.optics.stain import evidence

SIDE = 240
STAINED = np.array([0.35, 0.6, 0.25])
INKS = {
    "black": (1.6, 1.6, 1.5),
    "blue": (1.9, 1.25, 0.3),
    "green": (1.7, 0.55, 1.3),
    "red": (0.1, 1.5, 1.25),
    "violet": (0.95, 1.6, 0.4),
}


def picture(density, glass=(240, 239, 242), seed=0):
    """A picture uint8 (h, w, 3) of densities (h, w, 3) on glass, with the noise of a camera."""
    light = np.array(glass) * np.exp(-density)
    noise = np.random.default_rng(seed).normal(0, 1, light.shape)
    return np.clip(light + noise + 0.5, 0, 255).astype(np.uint8)


def sheet_of(image):
    return make_sheet(image, np.ones(image.shape[:2], np.bool_), 8.0)


def bare():
    return np.zeros((SIDE, SIDE, 3))


def stained_box(density, texture=0.3, seed=1):
    """Puts textured tissue into the middle; its hue varies, as that of two stains does."""
    rng = np.random.default_rng(seed)
    thick = 1 + texture * rng.normal(0, 1, (80, 80, 1)).clip(-2, 2)
    hue = 1 + 0.3 * rng.normal(0, 1, (80, 80, 3)).clip(-2, 2)
    density[80:160, 80:160] += STAINED * thick * hue
    return density


def test_density_of_white_and_of_a_tenth_of_the_light():
    image = np.array([[[255, 255, 255], [25, 25, 25]]], np.uint8)
    np.testing.assert_allclose(optical_density(image)[0, :, 0], [0, np.log(256 / 26)], atol=1e-6)


@pytest.mark.parametrize("tint", [(243, 243, 244), (240, 226, 170), (238, 205, 222)])
def test_glass_is_fitted_whatever_its_tint_and_light(tint):
    across = np.linspace(-1, 1, SIDE)[:, None, None]
    light = stained_box(bare()) + 0.1 * across**2  # darker to both sides
    glass = fit_glass(sheet_of(picture(light, tint)))
    assert glass.found
    truth = optical_density(np.array([[tint]], np.uint8))[0, 0] + 0.1 * across[::2] ** 2
    np.testing.assert_allclose(
        glass.density, np.broadcast_to(truth, glass.density.shape), atol=0.02
    )


def test_padding_is_no_glass_where_glass_lies_beside_it():
    image = picture(stained_box(bare()), (225, 224, 228))
    image[:60] = 255
    density = fit_glass(sheet_of(image)).density
    truth = optical_density(np.array([[[225, 224, 228]]], np.uint8))
    np.testing.assert_allclose(density, np.broadcast_to(truth, density.shape), atol=0.02)


def test_without_glass_it_is_said():
    rng = np.random.default_rng(0)
    density = STAINED * (1 + 0.3 * rng.normal(0, 1, (SIDE, SIDE, 3)))
    assert not fit_glass(sheet_of(picture(density))).found


def test_stain_that_ran_out_is_ground_and_a_faint_section_is_not():
    ran = bare()
    slope = np.exp(-np.linspace(0, 5, SIDE))[:, None, None]  # lost over hundreds of microns
    ran += 0.15 * slope * np.array([0.1, 1, 0.4])
    sheet = sheet_of(picture(ran))
    ground = flood(sheet, fit_glass(sheet))
    assert ground.reached.mean() > 0.95
    assert np.abs(ground.above[ground.reached]).mean() < 0.02

    faint = bare()
    faint[80:160, 80:160] += 0.08 * np.array([0.1, 1, 0.4])
    sheet = sheet_of(picture(faint))
    reached = flood(sheet, fit_glass(sheet)).reached
    assert not reached[42:78, 42:78].any()
    assert reached[:30].mean() > 0.95


@pytest.mark.parametrize("colour", sorted(INKS))
def test_a_stroke_is_ink_and_tissue_is_not(colour):
    density = stained_box(bare())
    density[20:36, 10:230] += np.array(INKS[colour])
    sheet = sheet_of(picture(density))
    ground = flood(sheet, fit_glass(sheet))
    ink = find_ink(sheet, evidence(sheet, ground))
    assert ink[11:17, 8:112].mean() > 0.95
    assert ink[36:84, 36:84].mean() < 0.02


def test_dark_ground_is_told_and_what_shines_is_found():
    rng = np.random.default_rng(0)
    image = np.clip(rng.normal(8, 2, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)
    image[80:160, 80:160, 2] = rng.normal(120, 30, (80, 80)).clip(20, 255)
    assert is_dark_ground(image)
    found = bright_tissue(image, sheet_of(image), 8.0, 4.5)
    truth = np.zeros_like(found)
    truth[80:160, 80:160] = True
    assert (found & truth).sum() / (found | truth).sum() > 0.93


@pytest.mark.parametrize("ground", [10, 25, 45])
def test_a_grey_picture_of_strong_light_has_dark_ground(ground):
    grey = np.random.default_rng(3).normal(ground, 2, (SIDE, SIDE, 1))
    tissue = np.random.default_rng(4).normal(150, 45, (25, 30, 1))
    grey[60:160, 60:180] = tissue.repeat(4, axis=0).repeat(4, axis=1)
    image = np.repeat(grey.clip(0, 255).astype(np.uint8), 3, axis=2)
    assert is_dark_ground(image)
    assert not is_dark_ground(255 - image)


def test_black_padding_around_tissue_is_no_dark_ground():
    image = picture(stained_box(bare()))
    image[:100] = 0
    assert not is_dark_ground(image)
    assert not is_dark_ground(np.zeros((SIDE, SIDE, 3), np.uint8) + np.uint8(200))


def test_each_chosen_piece_lies_in_a_window_of_its_own():
    mask = np.zeros((60, 80), np.bool_)
    mask[:4, :5] = mask[20:30, 20:40] = mask[50, 70] = True
    mask[24:26, 25:35] = False  # a hole
    mask[25, 28:30] = True  # a piece within a piece
    labels, count = labelled(mask)
    chosen = np.ones(count, np.bool_)
    chosen[labels[50, 70]] = False
    again = np.zeros_like(labels)
    for piece, window, here in pieces_of(labels, chosen):
        again[window][here] = piece
        assert here.shape[0] <= 10 + 2 * 6
    np.testing.assert_array_equal(again, labels * chosen[labels])

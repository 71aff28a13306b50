"""How much a place looks stained: densities above the ground, measured in its own noise."""

from dataclasses import dataclass

import cv2
import numpy as np

from slidenet.core.arrays import BoolArray
from slidenet.tissue.optics.density import GREY_LEVELS, Plane, Sheet, channels, extremes_of
from slidenet.tissue.optics.ground import Ground

_FINE_UM = 16.0
_BROAD_UM = 32.0
_WIDE_UM = 48.0
_COLOUR_FLOOR = 0.006  # density: what one grey level of 255 makes of bright glass, and a half
_GREY_FLOOR = 0.015  # dust, bubbles, seams: grey things differ in density without being stained
_DULL = 0.34  # least difference of channels of what is pale; stained tissue has half
_PALE = 0.2
_GLUE = 0.13  # what is even, pale and yellowish is glue or the edge of a cover slip


@dataclass(frozen=True, eq=False)
class Stain:
    """Evidence of stain, in standard deviations of the ground.

    Attributes:
        density: float32 (h, w, 3), above the ground, smoothed.
        fine: float32 (h, w), evidence at the finest scale.
        broad: float32 (h, w), the same over more microns, for what is faint.
        neutral: bool (h, w), darker than the ground without a colour: dust, bubbles, edges.
        ground: Mean of `fine` on the ground.
        grey: Whether the slide has no colours at all.
    """

    density: Plane
    fine: Plane
    broad: Plane
    neutral: BoolArray
    ground: float
    grey: bool


def evidence(sheet: Sheet, ground: Ground) -> Stain:
    """Distance from the ground by its own covariance (Mahalanobis), at two scales.

    To the covariance a floor is added: more along grey than across it, since dust and seams are
    grey and stain is not.
    """
    colours = sheet.image.max(axis=2) - sheet.image.min(axis=2)
    grey = bool(sheet.lit.any()) and np.percentile(colours[sheet.lit], 99.9) <= GREY_LEVELS
    density = sheet.blur(ground.above, _FINE_UM)
    spread = np.eye(3) * _COLOUR_FLOOR**2 + (0 if grey else _GREY_FLOOR**2)
    samples = density[ground.reached][::5].astype(np.float64)
    if len(samples) > 40:
        wide = samples.T @ samples / len(samples) + 1e-6 * np.eye(3)
        far = np.einsum("ni,ij,nj->n", samples, np.linalg.inv(wide), samples)
        samples = samples[far < 12]
        spread = spread + samples.T @ samples / max(1, len(samples))
    whiten = np.linalg.cholesky(np.linalg.inv(spread)).T.astype(np.float32)
    high = extremes_of(density)[1]
    fine = _length(density, whiten)
    wide_density = sheet.blur(density, _WIDE_UM)
    wide_low, wide_high = extremes_of(wide_density)
    neutral = is_black(density) & (high > 0.03)
    wide_green, wide_blue = channels(wide_density)[1:]
    yellow = (wide_blue > 1.15 * wide_green) & (ground.texture < 3 * ground.rough)
    neutral |= yellow & (wide_high < _GLUE)
    neutral |= (wide_high - wide_low < _DULL * wide_high) & (wide_high < _PALE)
    mean = float(fine[ground.reached].mean()) if ground.reached.any() else 0.8
    broad = _length(sheet.blur(density, _BROAD_UM), whiten)
    return Stain(density, fine, broad, neutral & (not grey), mean, grey)


def is_black(density: Plane) -> BoolArray:
    """Whether all three channels are absorbed alike, within a tenth: grey, black.

    Brown stain over blue comes near it, but takes more green than red.
    """
    red, green, blue = channels(density)
    total = np.maximum(red + green + blue, np.float32(1e-2))
    return np.asarray(
        (np.abs(red / total - 0.345) < 0.045) & (np.abs(green / total - 0.333) < 0.03)
    )


def _length(density: Plane, whiten: Plane) -> Plane:
    """Length of whitened densities; 0 where the place is brighter than the ground."""
    red, green, blue = cv2.split(cv2.transform(density, whiten))
    length = np.sqrt(red * red + green * green + blue * blue)
    darker = cv2.transform(density, np.ones((1, 3), np.float32))
    return np.asarray(length * (np.asarray(darker) > 0), np.float32)

"""Ink of pens and marking dyes: hues that no stain has, or one dye in a dense, even stroke."""

import cv2
import numpy as np
import numpy.typing as npt

from slidenet.core.arrays import BoolArray
from slidenet.tissue.optics.density import (
    Plane,
    Sheet,
    channels,
    extremes_of,
    grown,
    labelled,
    opened,
    pieces_of,
    shrunken,
)
from slidenet.tissue.optics.stain import Stain, is_black

_REACH_UM = 64.0
_DENSE = 0.35
_EVEN_HUE = 0.01
_SMOOTH = 0.06
_ONE_HUE = 0.0075
_LEAST_UM2 = 8000.0
_LEAST_CORE_PX = 30
_LEAST_STROKE_UM2 = 8000.0
_BLEED_UM = 112.0
_RUN_UM = 250.0
_THIN = 0.45
_WIDEST_STROKE_UM = 800.0
_LONG = 4.0  # lengths of a stroke by its width
_THICK = 2.0
_ONE_DYE = 0.007  # spread of the shares of red and green within one dye


def find_ink(sheet: Sheet, stain: Stain) -> BoolArray:
    """Where ink is, bool (h, w), with the thin edges of its strokes.

    Ratios of densities do not change with the thickness of a layer, so they tell dyes apart.
    Haematoxylin, eosin and DAB absorb green light strongly; green ink does not. Blue ink absorbs
    more red than green and little blue, red ink hardly any red, black ink all three alike.

    Violet ink has the hue of stained tissue. But it is one dye, so its hue does not vary, it fills
    its stroke evenly, where tissue is two dyes in a texture, and a stroke is long.
    """
    if stain.grey:
        return np.zeros(sheet.shape, np.bool_)
    red, green, blue = channels(stain.density)
    high = extremes_of(stain.density)[1]
    total = np.maximum(red + green + blue, np.float32(1e-2))
    hues = (red / total, green / total)
    dense = sheet.lit & (high > _DENSE)
    foreign = _foreign(red, green, blue) & ((red > 0.15 * green) | (high > 0.6))
    inside = (sheet.lit & (total > 0.6)).astype(np.float32)
    varied = _variance(hues[0], inside) + _variance(hues[1], inside)
    even = varied < _EVEN_HUE**2
    black = is_black(stain.density)
    finely = unevenness(total, inside, 3)
    seeds = (black | foreign) & even & (finely < 0.15**2)
    ink = np.zeros(sheet.shape, np.bool_)
    labels, held = _strokes(sheet, opened(dense & seeds, 1), hues, 0.05, total, 0.0)
    area = np.bincount(labels.ravel(), minlength=len(held))
    large = (held > 0.1 * area) & (area > sheet.area(_LEAST_UM2))
    for _, window, here in pieces_of(labels, large):
        cores = (shrunken(here, depth) for depth in (4, 2, 1))
        core = next((core for core in cores if core.sum() > _LEAST_CORE_PX), here)
        wide = shrunken(here, sheet.px(_WIDEST_STROKE_UM / 2)).any()
        # Black tissue is textured, and so are wide pieces of it; ink is not.
        part = 50 if wide or np.median(black[window][core]) else 25
        smooth = np.percentile(finely[window][core], part) < _SMOOTH**2
        if smooth and np.median(varied[window][core]) < _ONE_HUE**2:
            ink[window] |= here
    coloured = ink & ~black
    ink |= _dyed(sheet, hues, total, (varied < 0.003**2) & (finely < 0.06**2))
    dyed = ink & ~coloured & ~black
    run = _bleeding(sheet, coloured, hues, total, 0.1, _THIN)
    return ink | run | _bleeding(sheet, dyed, hues, total, 0.1, 0.5 * _THIN)


def foreign_hues(density: Plane) -> BoolArray:
    """Hues that no stain has, and black, bool (h, w)."""
    return _foreign(*channels(density)) | is_black(density)


def _foreign(red: Plane, green: Plane, blue: Plane) -> BoolArray:
    """Hues that no stain has: green, blue and red ink."""
    found = (green < 0.75 * np.minimum(red, blue)) | ((red > 1.2 * green) & (blue < 0.5 * red))
    return np.asarray(found | ((red < 0.15 * green) & (blue > 0.75 * green)))


def inked_pieces(sheet: Sheet, found: BoolArray, stain: Stain, ink: BoolArray) -> BoolArray:
    """Pieces of what was found that are ink as a whole, by their mean hue; thin or even ones.

    So are pieces that lie about a stroke and have its hue: ink that ran.
    """
    labels, count = labelled(found)
    flat = labels.ravel()
    sums = [np.bincount(flat, plane.ravel(), count) for plane in channels(stain.density)]
    red, green, blue = (np.maximum(plane, 1e-3).astype(np.float32) for plane in sums)
    total = red + green + blue
    grey = (np.abs(red / total - 0.345) < 0.045) & (np.abs(green / total - 0.333) < 0.03)
    area = np.maximum(np.bincount(flat, minlength=count), 1)
    dense = np.maximum(stain.density.sum(axis=2), np.float32(1e-2))
    even = found & (unevenness(dense, np.ones_like(dense), 3) < 0.1**2)
    held = np.bincount(labels[shrunken(found, 4)], minlength=count)
    inside = np.bincount(labels[even], minlength=count)
    whole = (_foreign(red, green, blue) | grey) & ((held < 0.2 * area) | (inside > 0.5 * area))
    # A stroke over a piece weighs more than the piece.
    foreign = found & foreign_hues(stain.density)
    whole &= np.bincount(labels[foreign], minlength=count) > 0.5 * area
    # A pale blue counterstain has a hue of ink, but no dense stroke.
    strong = np.bincount(labels[found & (extremes_of(stain.density)[1] > _DENSE)], minlength=count)
    whole &= strong > 0.1 * area
    if ink.any():
        about = np.bincount(labels[grown(ink, sheet.px(_RUN_UM)) & found], minlength=count)
        inks = [float(plane[ink].sum()) for plane in channels(stain.density)]
        apart = np.abs(red / total - inks[0] / sum(inks))
        apart = np.maximum(apart, np.abs(green / total - inks[1] / sum(inks)))
        whole |= (about > 0.8 * area) & (apart < 0.08)
    whole[0] = False
    return np.asarray(whole[labels])


def _dyed(sheet: Sheet, hues: tuple[Plane, Plane], total: Plane, plain: BoolArray) -> BoolArray:
    """Strokes of any hue, also one that tissue has."""
    ink = np.zeros(sheet.shape, np.bool_)
    seeds = sheet.lit & (total > 1.2)
    if not seeds.any():
        return ink
    seeds = opened(seeds & plain, 1)
    labels, kept = _strokes(sheet, seeds, hues, 0.03, total, 0.4)
    area = np.bincount(labels.ravel(), minlength=len(kept))
    large = (kept >= 4) & (area >= sheet.area(_LEAST_STROKE_UM2))
    for piece, window, here in pieces_of(labels, large):
        padded = np.pad(here.astype(np.uint8), 1)
        depth = cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1]
        core = depth > 2.5
        if kept[piece] < 0.1 * core.sum() or _brown(*(hue[window][here].mean() for hue in hues)):
            continue
        width = 2 * float(depth.max())
        rim = grown(here, 5) & ~grown(here, 3)
        dense = float(np.median(total[window][here]))
        bare = float((total[window][rim] < 0.3 * dense).sum()) / max(1, int(rim.sum()))
        stroke = here.sum() > _LONG * width**2 and width * sheet.um < _WIDEST_STROKE_UM
        spread = [float(hue[window][core].std()) for hue in hues] if core.any() else [1.0]
        one_dye = np.hypot.reduce(spread) < _ONE_DYE
        thick = dense > _THICK
        dot = one_dye and thick and bare > 0.6
        if dot or (stroke and bare > 0.2 and (one_dye or thick)):
            ink[window] |= here
    return ink


def _brown(red: float, green: float) -> bool:
    """Whether shares of density are those of DAB: no pen of the usual five colours is brown."""
    blue = 1 - red - green
    return blue > 0.97 * green and green > red and 0.3 * blue < red < 0.8 * blue


def _bleeding(
    sheet: Sheet,
    ink: BoolArray,
    hues: tuple[Plane, Plane],
    total: Plane,
    tolerance: float,
    thin_below: float,
) -> BoolArray:
    """Thin ink that ran out of a stroke: of its hue, and near it."""
    if not ink.any():
        return ink
    weight = ink.astype(np.float32)
    reach = 2 * _REACH_UM
    near = sheet.blur(weight, reach) + 1e-4
    thin = grown(ink, sheet.px(_BLEED_UM)) & (total < thin_below)
    for hue in hues:
        thin &= np.abs(hue - sheet.blur(hue * weight, reach) / near) < tolerance
    return thin


def _strokes(
    sheet: Sheet,
    seeds: BoolArray,
    hues: tuple[Plane, Plane],
    tolerance: float,
    total: Plane,
    least_share: float,
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Seeds with what is of their hue and hangs on them: numbers of pieces, seeds in each."""
    weight = seeds.astype(np.float32)
    near = sheet.blur(weight, _REACH_UM) + 1e-4
    alike = sheet.lit & (total > 0.3) & (near > 2e-3)
    for hue in hues:
        alike &= np.abs(hue - sheet.blur(hue * weight, _REACH_UM) / near) < tolerance
    if least_share:
        alike &= total > least_share * sheet.blur(total * weight, _REACH_UM) / near
    labels, count = labelled(alike | seeds)
    kept = np.bincount(labels[seeds], minlength=count)
    return labels, np.where(kept >= 4, kept, 0)


def _windowed(values: Plane, inside: Plane, side: int = 5) -> Plane:
    """Mean within a window, of what is inside."""
    share = np.maximum(np.asarray(cv2.blur(inside, (side, side)), np.float32), 1e-3)
    return np.asarray(cv2.blur(values * inside, (side, side)) / share, np.float32)


def _variance(values: Plane, inside: Plane, side: int = 5) -> Plane:
    """Variance within a window, of what is inside."""
    return _windowed(values * values, inside, side) - _windowed(values, inside, side) ** 2


def unevenness(total: Plane, inside: Plane, side: int) -> Plane:
    """Variance of density within a window, relative to its mean squared."""
    mean = np.maximum(_windowed(total, inside, side), np.float32(1e-2))
    return np.asarray(_variance(total, inside, side) / (mean * mean), np.float32)

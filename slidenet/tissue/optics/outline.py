"""From evidence to outlines: gaps closed, edges drawn where density is half of what it becomes."""

import numpy as np
import numpy.typing as npt

from slidenet.core.arrays import BoolArray, UInt8Array
from slidenet.tissue.optics.density import (
    Plane,
    Sheet,
    channels,
    closed,
    enlarged,
    extremes_of,
    gaussian,
    grown,
    labelled,
    mean_of,
    opened,
    optical_density,
    resized,
    shrunken,
    touching,
)
from slidenet.tissue.optics.ground import Ground
from slidenet.tissue.optics.ink import unevenness
from slidenet.tissue.optics.stain import Stain

_BROAD = 2.5  # evidence over many microns from which what is no ground counts
_RIM_UM = 96.0  # how far an edge can be felt: what lies deeper than this is enclosed
_GAP_UM = 40.0
_CRACK_UM = 24.0
_POOL_UM2 = (4000.0, 16_000.0)
_EDGE = 0.5
_PIECE_TEXTURE = 0.08
_PIECE_COLOUR = 0.28  # least difference of a piece's channels; stained tissue has half
_ROUGH_EDGE = 0.35
_BAND_UM = 480.0
_BAND_LENGTH = 0.3  # share of a side of the picture
_PALE = 0.5


def outline(
    sheet: Sheet,
    ground: Ground,
    stain: Stain,
    ink: BoolArray,
    debris: BoolArray,
    sensitivity: float,
) -> BoolArray:
    """What is tissue, on the working scale.

    A pixel counts by its evidence, or where it is enclosed: too deep within what the ground did
    not reach to be the rim of it, and not as clean as the ground (pale fat, mucin). Gaps are
    closed where a disc of `_GAP_UM` does not fit from outside; a piece needs a few pixels of
    strong evidence.

    Args:
        sheet: The picture.
        ground: What was flooded.
        stain: The evidence.
        ink: bool (h, w).
        debris: bool (h, w).
        sensitivity: Evidence, in standard deviations of the ground, that one pixel needs.
    """
    blocked = ink | debris
    free = ~ground.reached & ~blocked
    mean = mean_of(stain.density)
    stained = free & ((stain.fine > sensitivity) | (stain.broad > _BROAD))
    stained &= mean > _ROUGH_EDGE * _local_density(sheet, mean)
    pools, areas, clean = _pools(sheet, ground, stain, ~stained, _CRACK_UM)
    inked = np.bincount(pools[ink], minlength=len(areas)) > 0
    inked[0] = False
    bare = (clean & (areas > sheet.area(_POOL_UM2[0]))) | inked
    deep = shrunken(free, sheet.px(_RIM_UM)) & ~bare[pools]
    pools, areas, clean = _pools(sheet, ground, stain, ~(stained | deep & ~blocked), _GAP_UM)
    open_to = np.bincount(pools[ground.reached], minlength=len(areas)) > 0
    outside = open_to | (clean & (areas > sheet.area(_POOL_UM2[1])))
    for side in (pools[0], pools[-1], pools[:, 0], pools[:, -1]):
        outside[side] |= clean[side]
    outside[0] = False
    found = sheet.lit & ~outside[pools] & free
    found = touching(found, stain.fine > 1.5 * sensitivity, 4)
    return found if stain.grey else found & ~_colourless(sheet, found, stain)


def _colourless(sheet: Sheet, found: BoolArray, stain: Stain) -> BoolArray:
    """Pieces that absorb all colours nearly alike and are thin or even: glue, bubbles, hairs."""
    labels, count = labelled(found)
    flat = labels.ravel()
    low, high = extremes_of(stain.density)
    colour = np.bincount(flat, (high - low).ravel(), count)
    dull = colour < _PIECE_COLOUR * np.bincount(flat, high.ravel(), count)
    core = shrunken(found, 4)
    total = np.maximum(stain.density.sum(axis=2), np.float32(1e-2))
    textured = core & (unevenness(total, np.ones_like(total), 5) > _PIECE_TEXTURE**2)
    held = np.bincount(labels[core], minlength=count)
    rough = np.bincount(labels[textured], minlength=count)
    dull &= rough <= 0.5 * held
    thin = held < 0.15 * np.bincount(flat, minlength=count)
    highest = np.bincount(flat, high.ravel(), count)
    pale = highest < 0.15 * np.bincount(flat, minlength=count)
    dull |= thin & pale & (colour < 0.42 * highest)
    red, green, blue = (
        np.bincount(flat, plane.ravel(), count) for plane in channels(stain.density)
    )
    glassy = (
        (blue > 0.95 * green)
        & (red < 1.1 * green)
        & (red > 0.55 * blue)
        & (highest < _PALE * np.bincount(flat, minlength=count))
    )
    in_band = np.bincount(labels[bands(sheet, found)], minlength=count)
    dull |= glassy & (in_band > 0.7 * np.bincount(flat, minlength=count))
    dull[0] = False
    return np.asarray(dull[labels])


def bands(sheet: Sheet, mask: BoolArray) -> BoolArray:
    """Long narrow bands from the picture's border: the edge of a cover slip."""
    radius = sheet.px(_BAND_UM / 2)
    padded = np.pad(mask, radius)
    wide = opened(padded, radius)[radius:-radius, radius:-radius]
    labels, count = labelled(mask & ~wide)
    down, across = np.nonzero(labels)
    numbers = labels[down, across]
    length = np.zeros(count)
    for places, side in ((down, sheet.shape[0]), (across, sheet.shape[1])):
        first, last = np.full(count, side), np.zeros(count, np.int64)
        np.minimum.at(first, numbers, places)
        np.maximum.at(last, numbers, places)
        at_border = (first <= 1) | (last >= side - 2)
        length = np.maximum(length, np.where(at_border, (last - first) / side, 0))
    band = length > _BAND_LENGTH
    band[0] = False
    return np.asarray(band[labels])


def sharpened(
    image: UInt8Array,
    mpp: float,
    found: BoolArray,
    sheet: Sheet,
    ground: Ground,
    stain: Stain,
    blocked: BoolArray,
) -> BoolArray:
    """Draws the outline of `found` on the picture's own pixels, (h, w).

    Light that is spread over an edge shows half of the tissue's density at the edge itself.
    Colours are left out of it: JPEG keeps them at half the resolution.
    """
    size = image.shape[:2]
    inner = shrunken(found, 2)
    band = grown(found, 1) & ~inner & ~blocked
    mean = mean_of(stain.density)
    edge = resized(ground.level + _EDGE * _local_density(sheet, mean), size)
    darker = gaussian(mean_of(optical_density(image)), 5.6 / mpp) > edge
    drawn = enlarged(inner, size) | (enlarged(band, size) & darker)
    return closed(drawn, max(1, round(_CRACK_UM / mpp)))


def _local_density(sheet: Sheet, mean: Plane) -> Plane:
    """Density of the tissue that is near, weighted by itself so that bare glass does not count."""
    positive = np.maximum(mean, 0)
    square = sheet.blur(positive * positive, 32.0)
    return np.asarray(square / (sheet.blur(positive, 32.0) + 1e-4), np.float32)


def _pools(
    sheet: Sheet, ground: Ground, stain: Stain, empty: BoolArray, width_um: float
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64], BoolArray]:
    """Connected parts of what shows no stain: their numbers, areas, and whether they are clean."""
    labels, count = labelled(opened(empty, sheet.px(width_um)), connectivity=4)
    areas = np.maximum(np.bincount(labels.ravel(), minlength=count), 1)
    shown = np.bincount(labels.ravel(), np.minimum(stain.fine, 9).ravel(), minlength=count) / areas
    clean = shown < min(max(stain.ground + 0.7, 1.3), 2.5)
    clean[0] = False
    return labels, areas, clean

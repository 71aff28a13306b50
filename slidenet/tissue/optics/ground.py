"""The ground of a slide: what can be reached from bare glass without stepping over an edge.

A section has an edge of a few microns, however faint it is. Stain that ran out of it, uneven light
and dirty glass change over hundreds of microns. So the ground is flooded from the glass over all
that is smooth, and what it reaches is no tissue, coloured or not.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from slidenet.core.arrays import BoolArray
from slidenet.tissue.optics.density import (
    Plane,
    Sheet,
    channels,
    extremes_of,
    grown,
    labelled,
    mean_of,
    opened,
    resized,
    touching,
)
from slidenet.tissue.optics.glass import Glass

STEEP_UM = 130.0
"""A slope that would lose all its density within this length is an edge of something."""

_CEILING = 0.2  # density above which nothing is ground, and over which edges look all the same
_FINE_UM = 16.0
_TEXTURE_UM = 24.0
_SPREAD_UM = 96.0
_AT_GLASS = 0.03
_LEAST_POOL_UM2 = 16_000.0
_SLIGHT = 0.08
_LEVEL = 0.015
_ALONG = 0.5  # least share of a side of the picture that a strip of other glass takes
_SHORE = 0.3  # least share of the rim of coloured ground that is open to the rest of it


@dataclass(frozen=True, eq=False)
class Ground:
    """What is ground, and what lies above it.

    Attributes:
        reached: bool (h, w), what was flooded.
        coloured: bool (h, w), the part of it that is darker than glass: haze.
        above: float32 (h, w, 3), density above the ground around.
        level: float32 (h, w), mean density of that ground, against white.
        texture: float32 (h, w), local deviation of density.
        rough: The texture from which something is no ground.
    """

    reached: BoolArray
    coloured: BoolArray
    above: Plane
    level: Plane
    texture: Plane
    rough: float


def flood(sheet: Sheet, glass: Glass) -> Ground:
    """Floods the ground from the glass, and measures densities above it."""
    above = sheet.density - glass.density
    seen = np.clip(above, -0.02, _CEILING)
    slope = _slope(sheet, seen)
    mean = mean_of(seen)
    fine = mean - sheet.blur(mean, _TEXTURE_UM)
    texture = np.sqrt(sheet.blur(fine * fine, _TEXTURE_UM))
    height = sheet.blur(extremes_of(above)[1], _FINE_UM)
    certain = sheet.lit & glass.even & (np.abs(height) < _AT_GLASS)
    quiet, flat = 0.006, 0.003
    if certain.sum() > 200:
        quiet = float(np.clip(np.percentile(texture[certain], 90), 0.0025, 0.03))
        flat = float(np.clip(np.percentile(slope[certain], 90), 0.001, 0.012))
    risen = np.maximum(height, 0)
    smooth = sheet.lit & (height < _CEILING + 0.05) & (texture < 1.5 * quiet + 0.015 * risen)
    smooth &= slope < 1.5 * flat + risen * (sheet.um / STEEP_UM)
    smooth = opened(smooth, 2)
    reached = np.zeros_like(smooth)
    if glass.found:
        reached = touching(smooth, smooth & (height < _AT_GLASS), sheet.area(_LEAST_POOL_UM2))
        reached |= _other_glass(smooth & ~reached, height, sheet.area(_LEAST_POOL_UM2))
    high = height > max(0.025, 4 * glass.spread)
    coloured = opened(reached & high, 2)
    leaked = _leaked(reached & ~high, coloured)
    if coloured.sum() > reached.sum() / 2:
        leaked = coloured  # more of it than of bare glass: smooth tissue
    reached &= ~leaked
    strips = _strips(smooth & ~(reached & ~high), above, texture, 1.5 * quiet)
    reached |= strips
    coloured &= ~(leaked | strips)
    padding = sheet.white & (mean_of(glass.density) > 0.02)
    local = _spread_out(sheet, above, reached & ~padding)
    level = mean_of(glass.density) + mean_of(local)
    return Ground(reached, coloured, above - local, level, texture, 1.5 * quiet)


def _other_glass(smooth: BoolArray, height: Plane, least_px: float) -> BoolArray:
    """Parts at the picture's edge that are flat as glass but a little darker: a cover slip."""
    labels, count = labelled(smooth)
    edge = np.zeros(count, np.bool_)
    for side in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        edge[side] = True
    flat = labels.ravel()
    area = np.maximum(np.bincount(flat, minlength=count), 1)
    mean = np.bincount(flat, height.ravel(), count) / area
    variance = (
        np.bincount(flat, np.square(height, dtype=np.float64).ravel(), count) / area - mean**2
    )
    level = edge & (area > least_px) & (mean < _SLIGHT) & (variance < _LEVEL**2)
    level[0] = False
    return np.asarray(level[labels])


def _strips(smooth: BoolArray, above: Plane, texture: Plane, rough: float) -> BoolArray:
    """Glass beyond the edge of a cover slip: along most of a side, flat, greyish or yellowish.

    Glue and bare glass absorb blue most or all alike, stained tissue green or red; and there is
    nothing in them, where even smooth tissue has a texture above the noise of the glass.
    """
    labels, count = labelled(smooth)
    flat = labels.ravel()
    rough_px = np.bincount(flat[(texture > rough).ravel()], minlength=count)
    red, green, blue = (np.bincount(flat, plane.ravel(), count) for plane in channels(above))
    bare = (rough_px < 0.2 * np.bincount(flat, minlength=count)) & (blue > 0.95 * green)
    bare &= red < 1.1 * green
    bare[0] = False
    strip = np.zeros(count, np.bool_)
    for side in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        if bare[side].mean() > _ALONG:
            strip[side] = True
    return np.asarray((strip & bare)[labels])


def _slope(sheet: Sheet, density: Plane) -> Plane:
    """Steepest change of any channel from pixel to pixel."""
    smooth = sheet.blur(density, _FINE_UM)
    across = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, ksize=3, scale=0.125)
    down = cv2.Sobel(smooth, cv2.CV_32F, 0, 1, ksize=3, scale=0.125)
    return np.sqrt(extremes_of(np.asarray(across * across + down * down, np.float32))[1])


def _leaked(plain: BoolArray, coloured: BoolArray) -> BoolArray:
    """Coloured ground that hangs on the rest by a small part of its rim: faint tissue."""
    labels, count = labelled(coloured)
    if count == 1:
        return np.zeros_like(coloured)
    rim = grown(coloured, 2) & ~coloured
    # A number above 2^24 is no float32; there are fewer pixels of a picture than that.
    beside = cv2.dilate(labels.astype(np.float32), np.ones((5, 5))).astype(np.int32)
    around = np.bincount(beside[rim], minlength=count)
    open_to = np.bincount(beside[rim & plain], minlength=count)
    leak = open_to < _SHORE * around
    leak[0] = False
    return np.asarray(leak[labels])


def _spread_out(sheet: Sheet, above: Plane, reached: BoolArray) -> Plane:
    """Density of the ground above glass, carried on from where it was reached, (h, w, 3)."""
    half = (max(1, sheet.shape[0] // 2), max(1, sheet.shape[1] // 2))
    weight = reached.astype(np.float32)
    sigma_um = _SPREAD_UM * half[0] / sheet.shape[0]
    total = sheet.blur(resized(above * weight[..., None], half), sigma_um)
    near = sheet.blur(resized(weight, half), sigma_um)
    return np.maximum(resized(total / (near + 0.02)[..., None], sheet.shape), -0.1)

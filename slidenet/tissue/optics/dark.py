"""Bright tissue on dark ground (fluorescence, dark field): whether it is that, and where."""

import numpy as np

from slidenet.core.arrays import BoolArray, UInt8Array
from slidenet.tissue.optics.density import (
    GREY_LEVELS,
    Plane,
    Sheet,
    closed,
    enlarged,
    gaussian,
    labelled,
    opened,
    resized,
    touching,
)

_DARK = 60
_BRIGHT = 120
_ENOUGH_DARK = 0.15
_LITTLE_BRIGHT = (0.1, 0.02)
_EVEN_LEVELS = 6
_BLACK = 6  # of padding, also after JPEG
_WIDE_PX = 7
_GLASS_BY_GROUND = 0.1
_FINE_UM = 16.0
_GAP_UM = 40.0
_POOL_UM2 = 16_000.0
_LEAST_SIGNAL = 3.0
_FOOT = 0.2


def is_dark_ground(image: UInt8Array) -> bool:
    """Whether a picture uint8 (h, w, 3) shows light from tissue, not through it.

    Then a good part of it is dark, and next to nothing is bright in all channels, let alone
    evenly bright as glass is. Black padding around a section leaves the glass, or at least the
    pale tissue, that gives itself away. In a picture without colours more may be bright, if its
    dark part is even but no padding, since it is not black, and little of the bright part is even.
    """
    darkest, brightest = image.min(axis=2), image.max(axis=2)
    dark, bright = brightest < _DARK, darkest > _BRIGHT
    if dark.mean() < _ENOUGH_DARK:
        return False
    grey = darkest.astype(np.float32)
    even = np.abs(grey - gaussian(grey, 2.0)) < _EVEN_LEVELS
    if bright.mean() <= _LITTLE_BRIGHT[0]:
        return bool(opened(bright & even, 3).mean() < _LITTLE_BRIGHT[1])
    if np.percentile(brightest - darkest, 99.9) > GREY_LEVELS:
        return False
    grey = gaussian(grey, 1.5)  # the noise of a camera is not uneven
    even = np.abs(grey - gaussian(grey, 3.0)) < _EVEN_LEVELS
    ground = opened(dark & (grey > _BLACK) & even, _WIDE_PX).mean()
    glass = opened(bright & even, _WIDE_PX).mean()
    return bool(ground > _ENOUGH_DARK and glass < _GLASS_BY_GROUND * ground)


def bright_tissue(image: UInt8Array, sheet: Sheet, mpp: float, sensitivity: float) -> BoolArray:
    """Tissue on dark ground, on the picture's own pixels, bool (h, w).

    The ground is the commonest dark level, its noise what lies below that. Tissue is what is
    brighter than the noise and than the glow of what is near.
    """
    signal = sheet.blur(sheet.image.max(axis=2).astype(np.float32), _FINE_UM)
    level, noise = _ground_level(signal[sheet.lit])
    above = np.maximum(signal - level, 0)
    least = max(_LEAST_SIGNAL, sensitivity * noise)
    near = sheet.blur(above * above, 2 * _FINE_UM) / (sheet.blur(above, 2 * _FINE_UM) + 0.1)
    threshold = np.maximum(least, _FOOT * near)
    shown = sheet.lit & (above > threshold)
    labels, count = labelled(opened(~shown, sheet.px(_GAP_UM)), connectivity=4)
    outside = np.bincount(labels.ravel(), minlength=count) > sheet.area(_POOL_UM2)
    for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        outside[edge] = True
    outside[0] = False
    found = touching(sheet.lit & ~outside[labels], above > 2 * threshold, 4)
    size = image.shape[:2]
    fine = gaussian(image.max(axis=2).astype(np.float32), 8.0 / mpp) - level
    drawn = enlarged(found, size) & (fine > resized(np.asarray(threshold, np.float32), size))
    return closed(drawn, max(1, round(_GAP_UM / mpp)))


def _ground_level(signal: Plane) -> tuple[float, float]:
    """Commonest of the dark grey levels, and the noise: the spread of what is darker than it."""
    if not signal.size:
        return 0.0, 1.0
    counts = np.histogram(signal, bins=2 * _DARK, range=(0, _DARK))[0].astype(np.float32)
    counts = gaussian(counts[None], 2.0)[0]
    level = (float(counts.argmax()) + 0.5) / 2
    darker = signal[signal < level]
    noise = float(np.sqrt(np.mean((darker - level) ** 2))) if darker.size else 0.0
    return level, max(noise, 0.3)

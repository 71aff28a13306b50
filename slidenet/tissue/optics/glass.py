"""The bare glass of a slide, fitted from the slide itself: white, tinted or unevenly lit."""

from dataclasses import dataclass

import cv2
import numpy as np

from slidenet.core.arrays import BoolArray, Float64Array
from slidenet.tissue.optics.density import (
    WHITE,
    Plane,
    Sheet,
    grown,
    mean_of,
    opened,
    resized,
)

CELL_UM = 64.0
"""Glass is fitted on cells of this side; pixel noise is gone there."""

_FEWEST_CELLS_ACROSS = 60
_EVEN = 0.012  # least unevenness, in density, of three by three cells of anything but glass
_BRIGHTER = 0.06
_SOME = 0.003
_PADDING_BESIDE = 0.3
_PADDING_PX = 4
_BRIGHTEST_BAND = 0.08
_NOISE = (0.006, 0.02)
_ROUNDS = 10
_RIDGE = np.array([1e-6, 1e-3, 1e-3, 1e-2, 1e-2, 1e-2])
_DARKEST_UNSEEN_GLASS = 0.12


@dataclass(frozen=True, eq=False)
class Glass:
    """What the slide would look like without anything on it.

    Attributes:
        density: float32 (h, w, 3) on the working scale, against white.
        spread: How far glass differs from it, density.
        found: False where no glass could be seen; then it is a guess from the brightest pixels.
        even: bool (h, w) on the working scale: smooth like glass, whatever its brightness.
    """

    density: Plane
    spread: float
    found: bool
    even: BoolArray


def fit_glass(sheet: Sheet) -> Glass:
    """Fits a quadratic surface to the brightest even ground of a slide.

    Glass is what is even: its cells differ from their neighbours by less than stained tissue
    does. Of what is even, the brightest is taken, and what lies on one smooth surface with it.
    Padding of pure white is left out where other bright even ground lies beside it.
    """
    across = max(sheet.shape)
    step = max(1, min(sheet.px(CELL_UM), across // _FEWEST_CELLS_ACROSS))
    size = (max(1, sheet.shape[0] // step), max(1, sheet.shape[1] // step))
    cells = resized(sheet.density, size)
    lit = resized(sheet.lit.astype(np.float32), size) > 0.99
    around = cv2.blur(cells * cells, (3, 3)) - cv2.blur(cells, (3, 3)) ** 2
    even = lit & (np.asarray(around).max(axis=2) < _EVEN**2)
    white = cells.max(axis=2) < WHITE
    mean = mean_of(sheet.density)
    within = np.sqrt(np.maximum(resized(mean * mean, size) - resized(mean, size) ** 2, 0))
    if (even & ~white).sum() > 8:
        even &= within < 2 * np.percentile(within[even & ~white], 30) + 0.004
    fitted = _surface(cells, even, white)
    if fitted is None:
        lit_density = sheet.density[sheet.lit] if sheet.lit.any() else np.zeros((1, 3), np.float32)
        brightest = np.clip(np.percentile(lit_density, 1, axis=0), 0, _DARKEST_UNSEEN_GLASS)
        flat = np.broadcast_to(brightest.astype(np.float32), (*sheet.shape, 3))
        return Glass(flat, _NOISE[0], False, np.zeros(sheet.shape, np.bool_))
    surface, spread = resized(fitted[0], sheet.shape), fitted[1]
    near = resized(even.astype(np.float32), sheet.shape) > 0
    # The rim of padding, where resampling mixed it with the glass, is brighter than glass, too.
    padding = sheet.white | grown(opened(sheet.white, _PADDING_PX), 2)
    brighter = sheet.lit & (mean < mean_of(surface) - _BRIGHTER) & ~padding
    if brighter.sum() > _SOME * sheet.lit.sum():
        # Nothing but padding is brighter than glass, so what is even here is smooth tissue.
        surface = np.broadcast_to(np.median(sheet.density[brighter], axis=0), surface.shape)
        near = brighter
    return Glass(surface, spread, True, near)


def _surface(cells: Plane, even: BoolArray, white: BoolArray) -> tuple[Plane, float] | None:
    """Robust least squares; constant, plane or quadratic by how much of the slide is glass."""
    beside = even & ~white
    least = max(8, 0.01 * even.size)
    if beside.sum() > least and np.percentile(cells[beside].mean(axis=1), 5) < _PADDING_BESIDE:
        even = beside
    if even.sum() < 8:
        return None
    terms = _terms(cells.shape[:2])
    places, values = terms[even], cells[even].astype(np.float64)
    brightness = values.mean(axis=1)
    weights = (np.abs(brightness - np.percentile(brightness, 5)) < _BRIGHTEST_BAND).astype(float)
    for turn in range(_ROUNDS):
        share = weights.sum() / even.size
        order = 1 if turn == 0 or share < 0.02 else 3 if turn < 4 or share < 0.08 else 6
        weighted = places[:, :order] * weights[:, None]
        normal = weighted.T @ places[:, :order] + np.diag(_RIDGE[:order]) * weights.sum()
        factors = np.linalg.solve(normal, weighted.T @ values)
        error = np.abs(values - places[:, :order] @ factors).max(axis=1)
        spread = float(np.clip(1.48 * np.median(error[weights > 0.25]), *_NOISE))
        weights = 1 / (1 + (error / (2.5 * spread)) ** 4)
    glass = values[weights > 0.5]
    low, high = np.percentile(glass, 1, axis=0) - 0.03, np.percentile(glass, 99, axis=0) + 0.03
    return np.clip(terms[..., :order] @ factors, low, high).astype(np.float32), spread


def _terms(size: tuple[int, ...]) -> Float64Array:
    down, across = np.mgrid[: size[0], : size[1]]
    x, y = 2 * (across + 0.5) / size[1] - 1, 2 * (down + 0.5) / size[0] - 1
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)

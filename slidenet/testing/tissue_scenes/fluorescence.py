"""Fluorescence: bright tissue on dark ground."""

import numpy as np

from slidenet.core.arrays import BoolArray, UInt8Array
from slidenet.testing.tissue_scenes.fields import Float32Array, blurred, smooth_field
from slidenet.testing.tissue_scenes.scanner import jpeg
from slidenet.testing.tissue_scenes.scene import Canvas
from slidenet.testing.tissue_scenes.tissue import FAMILIES


def fluorescent(canvas: Canvas, mask: BoolArray, *, colours: int) -> UInt8Array:
    """Tissue in `mask` as a picture uint8 (h, w, 3): nuclei in blue, markers in other colours.

    Args:
        canvas: Gets the truth; its light is not used.
        mask: bool (h, w), the tissue.
        colours: 1 for nuclei alone (DAPI), 3 for two markers besides.
    """
    rng = canvas.rng
    nuclei, fibres, lumens = FAMILIES[canvas.family].texture(rng, canvas.shape)
    mask = mask & ~lumens
    canvas.truth |= mask
    inside = blurred(mask, 0.7)
    body = 0.45 + 0.55 * nuclei / nuclei.mean()
    blue = rng.uniform(30, 75) * body + rng.uniform(4, 14) * fibres / fibres.mean()
    hue = {"a": (0.10, 0.25, 1.0), "b": (0.02, 0.42, 0.95)}[canvas.palette]
    picture = np.zeros((*canvas.shape, 3), np.float32)
    picture += (inside * blue)[..., None] * np.array(hue, np.float32)
    if colours > 1:
        for channel in (0, 1):
            picture[..., channel] += inside * _marker(canvas, fibres)
    picture *= np.clip(1 + 0.2 * smooth_field(rng, canvas.shape, 200), 0.4, None)[..., None]
    glare = blurred(picture, 12) * rng.uniform(0.01, 0.05)
    ground = rng.uniform(0, 9) * np.array(hue) ** 0.5 + rng.uniform(0, 3, 3)
    picture += glare + ground + rng.normal(0, rng.uniform(0.5, 2), picture.shape)
    image = np.clip(picture.round(), 0, 255).astype(np.uint8)
    return jpeg(image, int(rng.integers(80, 95))) if rng.random() < 0.5 else image


def _marker(canvas: Canvas, fibres: Float32Array) -> Float32Array:
    """Amount of a marker that binds to some of the tissue, grey levels (h, w)."""
    rng = canvas.rng
    binds = np.clip(0.3 + 0.7 * smooth_field(rng, canvas.shape, 55, 3), 0.05, None)
    return np.asarray(rng.uniform(25, 60) * binds * fibres / fibres.mean(), np.float32)

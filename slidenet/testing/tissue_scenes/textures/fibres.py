"""Texture family "a": wavy fibres, crowds of nuclei, glands. The one to tune on."""

import cv2
import numpy as np

from slidenet.core.arrays import BoolArray
from slidenet.testing.tissue_scenes.fields import (
    Float32Array,
    Rng,
    Shape,
    blurred,
    grid,
    smooth_field,
)

STAINS = {
    "haematoxylin": (0.66, 0.68, 0.30),
    "eosin": (0.15, 0.86, 0.42),
    "dab": (0.30, 0.58, 0.76),
}
"""Optical density of red, green and blue per amount of stain; each scene varies them a little."""


def texture(rng: Rng, shape: Shape) -> tuple[Float32Array, Float32Array, BoolArray]:
    """Amounts of haematoxylin and eosin over the picture, and where there are lumens.

    Returns:
        float32 (h, w) twice, in any unit, and bool (h, w).
    """
    fibres = _fibres(rng, shape)
    crowded = 1 / (1 + np.exp(-4 * (smooth_field(rng, shape, 110, 3) - 0.5)))
    nuclei = blurred(rng.gamma(0.8, 1 / 0.8, shape), 0.55)
    pale = 0.75 + 0.3 * smooth_field(rng, shape, 140, 2)
    haematoxylin = nuclei * (0.3 + 1.5 * crowded) + 0.1
    eosin = np.clip(0.8 + 0.3 * fibres, 0.12, None) * np.clip(pale, 0.3, 1.3) * (1 - 0.4 * crowded)
    lumens = _glands(rng, shape, haematoxylin, eosin)
    return haematoxylin.astype(np.float32), eosin.astype(np.float32), lumens


def _fibres(rng: Rng, shape: Shape) -> Float32Array:
    """Stretched noise, seen through bent coordinates: mean 0, deviation 1."""
    side = 512
    noise = cv2.GaussianBlur(
        rng.normal(size=(side, side)).astype(np.float32), (0, 0), 9, sigmaY=1.1
    )
    x, y = grid(shape)
    turn = rng.uniform(0, np.pi)
    along = np.cos(turn) * x + np.sin(turn) * y + 30 * smooth_field(rng, shape, 150)
    across = np.cos(turn) * y - np.sin(turn) * x + 30 * smooth_field(rng, shape, 150)
    bent = cv2.remap(
        np.asarray(noise),
        np.mod(along, side).astype(np.float32),
        np.mod(across, side).astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_WRAP,
    )
    return np.asarray(bent / noise.std(), np.float32)


def _glands(rng: Rng, shape: Shape, haematoxylin: Float32Array, eosin: Float32Array) -> BoolArray:
    """Draws rings of epithelium into the stains, in place; returns their lumens."""
    height, width = shape
    ring, lumens = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    for _ in range(rng.integers(5, 60)):
        place = (float(rng.uniform(0, width)), float(rng.uniform(0, height)))
        radius = float(rng.gamma(3, 2.2) + 3)
        axes = (2 * radius, 2 * radius * float(rng.uniform(0.5, 1)))
        turn, wall = float(rng.uniform(0, 180)), float(rng.uniform(3, 7))
        cv2.ellipse(ring, (place, (axes[0] + 2 * wall, axes[1] + 2 * wall), turn), 1, -1)
        cv2.ellipse(lumens, (place, axes, turn), 1, -1)
    wall_soft = blurred(ring, 0.6)
    haematoxylin += 1.2 * wall_soft * rng.uniform(0.7, 1.3, shape).astype(np.float32)
    eosin *= 1 - 0.3 * wall_soft
    return np.asarray(lumens > 0)

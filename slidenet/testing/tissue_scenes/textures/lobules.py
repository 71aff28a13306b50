"""Texture family "b": lobules, septa, drawn nuclei, irregular gaps. Never to be tuned on."""

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
from slidenet.testing.tissue_scenes.textures.cells import voronoi

STAINS = {
    "haematoxylin": (0.74, 0.60, 0.26),
    "eosin": (0.26, 0.82, 0.36),
    "dab": (0.36, 0.62, 0.70),
}
"""As in family "a", of another laboratory: bluer haematoxylin, duller eosin, greyer brown."""


def texture(rng: Rng, shape: Shape) -> tuple[Float32Array, Float32Array, BoolArray]:
    """As `fibres.texture`."""
    labels, edges = voronoi(rng, shape, spacing=float(rng.uniform(16, 34)))
    tone = rng.normal(size=int(labels.max()) + 1).astype(np.float32)[labels]
    septa = np.clip(blurred(edges, float(rng.uniform(1.0, 2.2))) * 2.5, 0, 1)
    x, y = grid(shape)
    wave = 25 * smooth_field(rng, shape, 70, 2) + rng.normal() * x + rng.normal() * y
    stripes = np.sin(wave / 1.3).astype(np.float32)
    glassy = 1 / (1 + np.exp(-3 * smooth_field(rng, shape, 90, 2)))
    eosin = 0.5 + 0.15 * tone + 0.8 * septa * (1 - glassy) + 0.22 * stripes * glassy
    share = np.clip(0.10 + 0.10 * tone + 0.12 * (1 - glassy), 0.015, 0.5)
    nuclei = (rng.random(shape) < share) * rng.uniform(0.6, 1.4, shape)
    haematoxylin = 0.12 + 2.6 * blurred(nuclei, 0.7) + 0.15 * smooth_field(rng, shape, 50).clip(0)
    gaps = smooth_field(rng, shape, 26, 2) > rng.uniform(1.9, 2.6)
    lumens = np.asarray(
        cv2.morphologyEx(gaps.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    )
    return haematoxylin.astype(np.float32), eosin.clip(0.1).astype(np.float32), lumens > 0

"""Texture family "c": tissue nearly without texture, as thick sections and poor optics show it."""

import numpy as np

from slidenet.core.arrays import BoolArray
from slidenet.testing.tissue_scenes.fields import (
    Float32Array,
    Rng,
    Shape,
    blurred,
    smooth_field,
)
from slidenet.testing.tissue_scenes.textures import fibres

STAINS = fibres.STAINS


def texture(rng: Rng, shape: Shape) -> tuple[Float32Array, Float32Array, BoolArray]:
    """As `fibres.texture`: slow changes of shade, a trace of nuclei, few and large lumens."""
    grain = blurred(rng.random(shape), 0.8) - 0.5
    haematoxylin = np.clip(0.6 + 0.2 * smooth_field(rng, shape, 130, 2), 0.15, None)
    haematoxylin = haematoxylin * (1 + rng.uniform(0, 0.8) * grain)
    eosin = np.clip(0.8 + 0.15 * smooth_field(rng, shape, 90, 2), 0.2, None)
    lumens = smooth_field(rng, shape, 70) > rng.uniform(2.2, 3.0)
    return haematoxylin.astype(np.float32), eosin.astype(np.float32), lumens

"""A small real-looking picture and its smaller copies."""

import numpy as np
import pytest

from slidenet.testing import synthetic_slide
from slidenet.testing.layouts import halved_levels


@pytest.fixture(scope="session")
def levels():
    """uint8 (200, 300, 3) and two smaller copies; sides are no multiples of a tile."""
    texture = synthetic_slide(300, 200, seed=2)(0, 0, 300, 200)
    noise = np.random.default_rng(0).integers(0, 40, texture.shape, dtype=np.uint8)
    return halved_levels(texture // 2 + noise, 3)

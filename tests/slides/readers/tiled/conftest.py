"""A small real-looking picture and its smaller copies."""

import cv2
import numpy as np
import pytest

from slidenet.testing.layouts import halved_levels


@pytest.fixture(scope="session")
def levels():
    """uint8 (200, 300, 3) and two smaller copies; sides are no multiples of a tile."""
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    return halved_levels(cv2.GaussianBlur(noise, (0, 0), 1.5), 3)

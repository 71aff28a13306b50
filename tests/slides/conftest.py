"""Small generated slides, made once."""

import numpy as np
import pytest

from slidenet.testing import write_pyramid

NOISE_SIDE = 1500


def noise(seed: int = 0, side: int = NOISE_SIDE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


@pytest.fixture(scope="session")
def noise_image():
    """uint8 (1500, 1500, 3): every pixel differs from its neighbours, so shifts show."""
    return noise()


@pytest.fixture(scope="session")
def noise_slide(tmp_path_factory, noise_image):
    """The same pixels as a pyramid of two levels at 0.25 mpp."""
    path = tmp_path_factory.mktemp("slides") / "noise.tif"

    def paint(x, y, width, height):
        return noise_image[y : y + height, x : x + width]

    return write_pyramid(path, NOISE_SIDE, NOISE_SIDE, 0.25, paint)

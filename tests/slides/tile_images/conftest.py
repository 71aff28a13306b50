"""Folders of small tiles whose pixels are known."""

import numpy as np
import pytest
from PIL import Image

SIDE = 16


def tile_pixels(number, side=SIDE):
    """A tile of noise that no other number makes."""
    return np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8)


def write_tiles(folder, names, *, side=SIDE):
    """Tiles under `names`, numbered in that order."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        Image.fromarray(tile_pixels(number, side)).save(folder / name)
    return folder


@pytest.fixture
def make_folder(tmp_path):
    """Makes a folder of tiles from their names."""
    return lambda names, name="S1", **how: write_tiles(tmp_path / name, names, **how)

"""Slides of this folder's tests: pictures whose every pixel is known."""

import pytest
from PIL import Image

from slidenet.slides import open_slide


@pytest.fixture
def flat_slide(tmp_path):
    """Opens a picture uint8 (h, w, 3) as a slide of one level; mpp None leaves it undeclared."""
    opened = []

    def make(image, mpp=1.0):
        path = tmp_path / f"slide{len(opened)}.png"
        Image.fromarray(image).save(path)
        opened.append(open_slide(path, mpp))
        return opened[-1]

    yield make
    for slide in opened:
        slide.close()

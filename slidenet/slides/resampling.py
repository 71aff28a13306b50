"""Pixels at another size: area averaging down, bicubic up."""

import cv2
import numpy as np

from slidenet.slides.protocol import Pixels, Size


def resized(pixels: Pixels, size: Size) -> Pixels:
    """A picture at another size: untouched where it has it, areas averaged down, bicubic up.

    Args:
        pixels: uint8 (h, w, 3).
        size: (width, height) wanted.

    Returns:
        uint8 (height, width, 3).
    """
    width, height = size
    if pixels.shape[:2] == (height, width):
        return pixels
    smaller = width <= pixels.shape[1] and height <= pixels.shape[0]
    how = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(pixels, size, interpolation=how), dtype=np.uint8)

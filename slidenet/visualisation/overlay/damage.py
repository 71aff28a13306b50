"""What cannot be read, drawn so that nobody takes it for glass."""

import cv2
import numpy as np
import numpy.typing as npt

from slidenet.core.arrays import BoolArray, UInt8Array

DAMAGE_RGB = (250, 214, 130)
"""Neither a stain nor glass."""
HATCH_RGB = (176, 84, 0)
HATCH_PER_PX = 200
"""Hatching repeats once per this many pixels of the picture's longer side."""

_WORDS = "not readable"
_LEAST_PERIOD_PX = 6
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_FONT_PX = 22
"""Height of the font's line at scale 1."""


def fill_unreadable(picture: UInt8Array, unreadable: BoolArray) -> UInt8Array:
    """The picture with hatching in place of what could not be read.

    Args:
        picture: uint8 RGB (h, w, 3).
        unreadable: bool (h, w).
    """
    filled = picture.copy()
    filled[unreadable] = DAMAGE_RGB
    filled[unreadable & _hatching(picture)] = HATCH_RGB
    return filled


def hatch_boxes(picture: UInt8Array, boxes: npt.NDArray[np.intp]) -> UInt8Array:
    """The picture with hatching over tiles that cannot be read, and a frame around each.

    Args:
        picture: uint8 RGB (h, w, 3).
        boxes: (N, 4), left, top, right, bottom; the last two excluded.
    """
    drawn, hatching = picture.copy(), _hatching(picture)
    for left, top, right, bottom in boxes.tolist():
        inside = (slice(top, bottom), slice(left, right))
        drawn[inside][hatching[inside]] = HATCH_RGB
        cv2.rectangle(drawn, (left, top), (right - 1, bottom - 1), HATCH_RGB, 1)
    return drawn


def label_unreadable(picture: UInt8Array) -> UInt8Array:
    """The picture with a word in its corner that says what hatching is.

    A picture too small for the word is returned as it is.
    """
    line = max(14, round(max(picture.shape[:2]) / 45))
    scale = line / _FONT_PX * 0.75
    thickness = max(1, round(scale * 1.5))
    (text_px, _), _ = cv2.getTextSize(_WORDS, _FONT, scale, thickness)
    pad = line // 3
    height, width = line + 2 * pad, line + text_px + 3 * pad
    if height > picture.shape[0] or width > picture.shape[1]:
        return picture
    labelled = picture.copy()
    label = np.full((height, width, 3), 255, np.uint8)
    swatch = np.zeros((height, width), np.bool_)
    swatch[pad : pad + line, pad : pad + line] = True
    label = fill_unreadable(label, swatch)
    at = (line + 2 * pad, pad + round(line * 0.8))
    cv2.putText(label, _WORDS, at, _FONT, scale, (0, 0, 0), thickness, cv2.LINE_AA)
    cv2.rectangle(label, (0, 0), (width - 1, height - 1), HATCH_RGB, 1)
    labelled[:height, :width] = label
    return labelled


def _hatching(picture: UInt8Array) -> BoolArray:
    """Diagonal stripes, bool (h, w), a third of the picture."""
    height, width = picture.shape[:2]
    period = max(_LEAST_PERIOD_PX, round(max(height, width) / HATCH_PER_PX))
    rows, columns = np.ogrid[:height, :width]
    return np.asarray((rows + columns) % period < period / 3)

"""What cannot be read, drawn so that nobody takes it for glass."""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from slidenet.core.arrays import BoolArray, UInt8Array

DAMAGE_RGB = (250, 214, 130)
"""Neither a stain nor glass."""
HATCH_RGB = (176, 84, 0)
HATCH_PER_PX = 200
"""Hatching repeats once per this many pixels of the picture's longer side."""

UNREADABLE_WORDS = "not readable"
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


def hatch_boxes(
    picture: UInt8Array,
    boxes: npt.NDArray[np.intp],
    rgb: tuple[int, int, int] = HATCH_RGB,
) -> UInt8Array:
    """The picture with hatching over tiles that cannot be read, and a frame around each.

    Args:
        picture: uint8 RGB (h, w, 3).
        boxes: (N, 4), left, top, right, bottom; the last two excluded.
        rgb: Of stripes and frames.
    """
    drawn, hatching = picture.copy(), _hatching(picture)
    for left, top, right, bottom in boxes.tolist():
        inside = (slice(top, bottom), slice(left, right))
        drawn[inside][hatching[inside]] = rgb
        cv2.rectangle(drawn, (left, top), (right - 1, bottom - 1), rgb, 1)
    return drawn


def draw_legend(
    picture: UInt8Array,
    entries: Sequence[tuple[str, tuple[int, int, int] | None]],
    *,
    avoid: BoolArray | None = None,
) -> UInt8Array:
    """The picture with a box in a corner that says what colours and hatching are.

    A picture too small for the box is returned as it is.

    Args:
        picture: uint8 RGB (h, w, 3).
        entries: Words, each with its colour; None for hatching.
        avoid: bool (h, w): the corner is taken that covers the least of it; without it, or where
            corners are equal, the first of top left, top right, bottom left and bottom right.
    """
    line = max(14, round(max(picture.shape[:2]) / 45))
    scale = line / _FONT_PX * 0.75
    thickness = max(1, round(scale * 1.5))
    text_px = max(cv2.getTextSize(words, _FONT, scale, thickness)[0][0] for words, _ in entries)
    pad = line // 3
    height, width = len(entries) * (line + pad) + pad, line + text_px + 3 * pad
    if height > picture.shape[0] or width > picture.shape[1]:
        return picture
    box = np.full((height, width, 3), 255, np.uint8)
    for number, (words, colour) in enumerate(entries):
        top = pad + number * (line + pad)
        swatch = np.zeros((height, width), np.bool_)
        swatch[top : top + line, pad : pad + line] = True
        if colour is None:
            box = fill_unreadable(box, swatch)
        else:
            box[swatch] = colour
        at = (line + 2 * pad, top + round(line * 0.8))
        cv2.putText(box, words, at, _FONT, scale, (0, 0, 0), thickness, cv2.LINE_AA)
    frame = HATCH_RGB if entries[0][1] is None else (90, 90, 90)
    cv2.rectangle(box, (0, 0), (width - 1, height - 1), frame, 1)
    corners = [
        (slice(top, top + height), slice(left, left + width))
        for top in (0, picture.shape[0] - height)
        for left in (0, picture.shape[1] - width)
    ]
    corner = corners[0] if avoid is None else min(corners, key=lambda at: int(avoid[at].sum()))
    labelled = picture.copy()
    labelled[corner] = box
    return labelled


def _hatching(picture: UInt8Array) -> BoolArray:
    """Diagonal stripes, bool (h, w), a third of the picture."""
    height, width = picture.shape[:2]
    period = max(_LEAST_PERIOD_PX, round(max(height, width) / HATCH_PER_PX))
    rows, columns = np.ogrid[:height, :width]
    return np.asarray((rows + columns) % period < period / 3)

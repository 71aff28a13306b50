"""What was dropped, tinted by its reason on the picture of a slide."""

import cv2
import numpy as np

from slidenet.core.arrays import UInt8Array
from slidenet.tissue import Reason

REASON_RGB = {
    Reason.INK: (0, 90, 200),
    Reason.TOO_SMALL: (235, 140, 0),
    Reason.HOLE: (240, 215, 40),
    Reason.BLACK: (120, 120, 130),
    Reason.EXCLUDED: (215, 40, 20),
    Reason.DEBRIS: (120, 70, 40),
    Reason.HAZE: (60, 170, 230),
}
"""Colours no stain has at this strength. Bare glass gets none; what cannot be read is hatched."""

TINT = 0.45
LEAST_PX = 4
"""Fewer pixels of a reason are not named in the legend: nobody could find them."""


def tint_reasons(
    picture: UInt8Array, reasons: UInt8Array
) -> tuple[UInt8Array, list[tuple[str, tuple[int, int, int]]]]:
    """The picture with dropped regions tinted and outlined, and a legend of the reasons seen.

    Args:
        picture: uint8 RGB (h, w, 3), the whole slide.
        reasons: uint8 of any size that covers the slide, codes of `Reason`.

    Returns:
        A new picture; words and colour of every reason that is on it.
    """
    height, width = picture.shape[:2]
    codes = np.asarray(cv2.resize(reasons, (width, height), interpolation=cv2.INTER_NEAREST))
    tinted, legend = picture.copy(), []
    for reason, rgb in REASON_RGB.items():
        here = codes == reason
        count = int(np.count_nonzero(here))
        if not count:
            continue
        colour = np.array(rgb, np.float32)
        tinted[here] = np.rint(picture[here] * (1 - TINT) + colour * TINT)
        inner = cv2.erode(here.astype(np.uint8), np.ones((3, 3), np.uint8))
        tinted[here & (np.asarray(inner) == 0)] = rgb
        if count >= LEAST_PX:
            legend.append((reason.words, rgb))
    return tinted, legend

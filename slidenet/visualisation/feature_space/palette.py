"""Colours of clusters and classes: apart from each other, for colour-blind readers too."""

import colorsys

import numpy as np
from matplotlib.colors import to_rgb

from slidenet.core.arrays import UInt8Array
from slidenet.visualisation.style import COLOURS

_APART = (*COLOURS[:6], "#f0e442", COLOURS[6])
"""Those of Okabe and Ito (2008); grey is left for what is not known."""
_GOLDEN = 0.618034


def palette(num: int) -> UInt8Array:
    """So many colours, the first the easiest to tell apart: uint8 RGB (num, 3).

    Beyond eight, hues go around the circle by the golden ratio, dark and pale in turn.
    """
    further = [
        colorsys.hls_to_rgb((0.08 + number * _GOLDEN) % 1, (0.3, 0.72)[number % 2], 0.65)
        for number in range(max(num - len(_APART), 0))
    ]
    colours = np.array([*map(to_rgb, _APART), *further])[:num]
    return np.asarray(np.rint(255 * colours), np.uint8)

"""Whether a slide was lit from below (brightfield) or shines itself (fluorescence).

In brightfield tissue is darker than the bright background, in fluorescence brighter than the dark
one. What is built for the one is wrong for the other: thresholds take the background for tissue,
and tile encoders have seen brightfield only.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from slidenet.slides.protocol import Pixels, Slide

BRIGHTFIELD, FLUORESCENCE, UNKNOWN = "brightfield", "fluorescence", "unknown"

_KEY = re.compile(r"illuminat|contrast.?method|slide_type|acquisition.?mode|imaging.?mode", re.I)
_OME_FLUORESCENCE = re.compile(
    r"(IlluminationType=\"Epifluorescence\"|ContrastMethod=\"Fluorescence\"|EmissionWavelength=)"
)
_OVERVIEW_PX = 512
_BLACK = 3
_DARK, _BRIGHT, _PURE, _GREY = 64, 180, 48, 8
_MOST, _SOME_GLASS, _GLASS_BESIDE_BLACK = 0.5, 0.02, 0.1
_DARK_TO_BRIGHT = 5


@dataclass(frozen=True, slots=True)
class Illumination:
    """How a slide was lit.

    Attributes:
        kind: "brightfield", "fluorescence" or "unknown".
        source: What says so.
    """

    kind: str
    source: str

    def __str__(self) -> str:
        return f"{self.kind} ({self.source})"


def illumination_of(slide: Slide, picture: Pixels | None = None) -> Illumination:
    """How a slide was lit, by what its file says, else by its picture.

    Args:
        slide: An open slide.
        picture: An overview, uint8 (h, w, 3); None reads one.

    Raises:
        UnreadableSlideError: No overview can be read.
    """
    said = _said(slide.properties)
    return said or judge_picture(slide.thumbnail(_OVERVIEW_PX) if picture is None else picture)


def judge_picture(picture: Pixels) -> Illumination:
    """How a slide was lit, by an overview of it, uint8 (h, w, 3).

    A picture is fluorescence where more than half of it is dark, and five times as much as is
    near white. Black is left out: scanners and converters fill unscanned places with it. Where
    black is most of it, what is left is fluorescence if it is grey or of pure colours, and not
    pale as stained tissue.
    """
    brightest, darkest = picture.max(axis=2), picture.min(axis=2)
    lit = brightest > _BLACK
    if not lit.any():
        return Illumination(UNKNOWN, "its picture is black")
    black = 1 - float(lit.mean())
    brightest, darkest = brightest[lit], darkest[lit]
    dark, bright = float(np.mean(brightest < _DARK)), float(np.mean(darkest > _BRIGHT))
    source = f"of its picture {dark:.0%} is dark and {bright:.0%} near white"
    if dark > _MOST and dark > _DARK_TO_BRIGHT * bright:
        return Illumination(FLUORESCENCE, source)
    if black > _MOST and bright < _GLASS_BESIDE_BLACK:
        pure = np.median(darkest) < _PURE or np.median(brightest - darkest) < _GREY
        kind = FLUORESCENCE if pure else UNKNOWN
        return Illumination(kind, f"{black:.0%} of its picture is black, and little near white")
    return Illumination(BRIGHTFIELD if bright >= _SOME_GLASS else UNKNOWN, source)


def _said(properties: Mapping[str, str]) -> Illumination | None:
    for key, value in properties.items():
        if key.endswith("ImageDescription") and _OME_FLUORESCENCE.search(value):
            return Illumination(FLUORESCENCE, "its OME-XML")
        if not _KEY.search(key):
            continue
        words = value.lower()
        if "fluor" in words:
            return Illumination(FLUORESCENCE, f"property {key}")
        if "brightfield" in words or "transmi" in words:
            return Illumination(BRIGHTFIELD, f"property {key}")
    return None

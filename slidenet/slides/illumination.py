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
_DARK, _DARK_SHARE = 64, 0.5
_BRIGHT, _BRIGHT_SHARE = 180, 0.02
_DARK_TO_BRIGHT = 10


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

    A picture is fluorescence where more than half of it is dark, and ten times as much as is near
    white. Black is left out: scanners and converters fill unscanned places with it.
    """
    lit = picture.max(axis=2) > _BLACK
    if not lit.any():
        return Illumination(UNKNOWN, "its picture is black")
    brightest, darkest = picture.max(axis=2)[lit], picture.min(axis=2)[lit]
    dark, bright = float(np.mean(brightest < _DARK)), float(np.mean(darkest > _BRIGHT))
    source = f"of its picture {dark:.0%} is dark and {bright:.0%} near white"
    if dark > _DARK_SHARE and dark > _DARK_TO_BRIGHT * bright:
        return Illumination(FLUORESCENCE, source)
    return Illumination(BRIGHTFIELD if bright >= _BRIGHT_SHARE else UNKNOWN, source)


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

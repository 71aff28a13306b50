"""Where the microns per pixel of level 0 come from. Nothing here is ever guessed."""

import math
from collections.abc import Mapping

from slidenet.core.errors import MissingMppError
from slidenet.core.records import SlideMpp
from slidenet.core.units import Mpp

OVERRIDE = "override"
VENDOR = "vendor property openslide.mpp-x"
TIFF_TAGS = "TIFF resolution tags"

MIN_MPP = 0.05
"""Below this no light microscope resolves anything."""
MAX_MPP = 50.0
"""Above this tissue cannot be recognised; 72 dpi, the usual default of image programs, is 352.8."""
MAX_ASPECT_DIFFERENCE = 0.05

MICRONS_PER_UNIT = {"inch": 25400.0, "centimeter": 10000.0}

_REMEDY = (
    "fill the manifest column `mpp` for this slide (microns per pixel of level 0), or pass mpp"
)


def resolve_mpp(
    properties: Mapping[str, str], override: float | None, *, vendor: str, slide: str
) -> SlideMpp:
    """Resolution of level 0 from the user, else from what the file says.

    The objective power is never turned into a resolution: 20x is anything from 0.4 to 0.55.

    Args:
        properties: The slide's properties in openslide's names.
        override: What the user declared; wins over the file.
        vendor: openslide's name of the format; "generic-tiff" takes mpp from resolution tags.
        slide: Name of the slide, for messages.

    Raises:
        MissingMppError: No number, or one that cannot be.
    """
    if override is not None:
        return checked_mpp(override, override, source=OVERRIDE, slide=slide)
    texts = properties.get("openslide.mpp-x"), properties.get("openslide.mpp-y")
    if texts[0] is None and texts[1] is None:
        raise MissingMppError(
            "the file does not say its microns per pixel", remedy=_REMEDY, slide=slide
        )
    x, y = (_number(text) for text in texts)
    source = TIFF_TAGS if vendor in {"generic-tiff", "tiff"} else VENDOR
    return checked_mpp(x, y, source=source, slide=slide)


def checked_mpp(x: float, y: float, *, source: str, slide: str) -> SlideMpp:
    """One resolution from those of x and y, or `MissingMppError` when they cannot be true."""
    for value in (x, y):
        if not (math.isfinite(value) and MIN_MPP <= value <= MAX_MPP):
            raise MissingMppError(
                f"its microns per pixel are {value:g} ({source})",
                expected=f"a number from {MIN_MPP} to {MAX_MPP:g}",
                remedy=_REMEDY,
                slide=slide,
            )
    if max(x, y) / min(x, y) - 1 > MAX_ASPECT_DIFFERENCE:
        raise MissingMppError(
            f"its microns per pixel are {x:g} in x and {y:g} in y ({source})",
            expected=f"square pixels, within {MAX_ASPECT_DIFFERENCE:.0%}",
            remedy=_REMEDY,
            slide=slide,
        )
    # The mean of two equal floats must be that float: sqrt(x * x) need not be.
    return SlideMpp(Mpp(x if x == y else math.sqrt(x * y)), source)


def mpp_from_tiff_tags(resolution: float, unit: str) -> float | None:
    """Microns per pixel of "pixels per unit"; None where the unit is no length.

    Args:
        resolution: The value of the tag XResolution or YResolution.
        unit: "inch", "centimeter" or anything else.
    """
    if unit not in MICRONS_PER_UNIT or not resolution > 0:
        return None
    return MICRONS_PER_UNIT[unit] / resolution


def _number(text: str | None) -> float:
    try:
        return float(text) if text is not None else math.nan
    except ValueError:
        return math.nan

"""Where the microns per pixel of level 0 come from. Nothing here is ever guessed."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from slidenet.core.errors import MissingMppError
from slidenet.core.records import SlideMpp
from slidenet.core.units import NATIVE_MAGNIFICATION_MPP, Mpp
from slidenet.slides.tiff.ome import read_ome

DeclaredMpp = float | tuple[float, float]
"""Microns per pixel of level 0 by the user: one number, or those of x and y."""

OVERRIDE = "override"
"""What files call the resolution that the user gave."""
VENDOR = "vendor property openslide.mpp-x"
TIFF_TAGS = "TIFF resolution tags"
OME = "OME PhysicalSize"

MIN_MPP = 0.05
"""Below this no light microscope resolves anything."""
MAX_MPP = 50.0
"""Above this tissue cannot be recognised."""
MAX_ASPECT_DIFFERENCE = 0.01
"""Tiles are square in pixels: what differs by more between x and y would be stretched tissue."""
SAME_MPP = 0.02
"""Two sources further apart than this share contradict each other."""
_POWER_RANGE = (0.6, 1.7)
"""mpp x objective power / 10 of real scanners: 0.74 (40x at 0.185) to 1.1 (20x at 0.55)."""

MICRONS_PER_UNIT = {"inch": 25400.0, "centimeter": 10000.0}
_HIGHEST_PRINT_DPI = 9600
_LOWEST_SLIDE_DPI = 2540
_PRINT_DPI = (2880, 3600, 4000, 4800, 5760, 7200, 9600)

_RANGE = f"a number from {MIN_MPP} to {MAX_MPP:g}"
_REMEDY = (
    "fill the manifest column `mpp` for this slide (microns per pixel of level 0), or pass --mpp "
    "(in Python, mpp)"
)
_BOTH_REMEDY = (
    "resample the slide to square pixels; or, where the file is wrong, fill the manifest columns "
    "`mpp_x` and `mpp_y`"
)


_DECLARED_REMEDY = (
    "correct the one that is mistyped; a slide of other pixels must be resampled to square ones"
)


@dataclass(frozen=True, slots=True)
class Claim:
    """What one source says about level 0.

    Attributes:
        source: Its name.
        x: Microns per pixel across; NaN where it is no number.
        y: The same, down.
        problem: Why it is not believed, as a clause; None where it is.
    """

    source: str
    x: float
    y: float
    problem: str | None = None

    @property
    def is_square(self) -> bool:
        """Whether x and y are one resolution."""
        return max(self.x, self.y) / min(self.x, self.y) - 1 <= MAX_ASPECT_DIFFERENCE


def resolve_mpp(
    properties: Mapping[str, str], declared: DeclaredMpp | None, *, vendor: str, slide: str
) -> SlideMpp:
    """Resolution of level 0 from the user, else from what the file says.

    The objective power is never turned into a resolution: 20x is anything from 0.4 to 0.55.

    Args:
        properties: The slide's properties in openslide's names.
        declared: What the user declared; wins over the file. One number does not make pixels
            square of which the file says that they are not; two do.
        vendor: openslide's name of the format; "generic-tiff" takes mpp from resolution tags.
        slide: Name of the slide, for messages.

    Raises:
        MissingMppError: No number, one that cannot be, or pixels that are not square.
    """
    claims = list(_claims(properties, vendor))
    believed = [claim for claim in claims if claim.problem is None]
    if declared is not None:
        mpp = declared_mpp(declared, slide=slide)
        if not isinstance(declared, tuple) and believed:
            _check_square(believed[0], slide)
        return mpp
    if not believed:
        found = "the file does not say its microns per pixel"
        expected = ""
        if claims:
            first = claims[0]
            found = f"its microns per pixel are {first.x:g} ({first.source}), {first.problem}"
            if first.source == OME and math.isnan(first.x):
                found = f"its {OME} is no resolution: {first.problem}"
            possible = _is_possible(first.x) and _is_possible(first.y)
            expected = "the resolution of the scan" if possible else _RANGE
        raise MissingMppError(found, expected=expected, remedy=_REMEDY, slide=slide)
    _check_square(believed[0], slide)
    return SlideMpp(_mean(believed[0].x, believed[0].y), believed[0].source)


def declared_mpp(declared: DeclaredMpp, *, slide: str) -> SlideMpp:
    """The resolution a user declared.

    Raises:
        MissingMppError: It cannot be, or its pixels are not square.
    """
    x, y = declared if isinstance(declared, tuple) else (declared, declared)
    claim = _checked(OVERRIDE, x, y)
    if claim.problem is not None:
        raise MissingMppError(
            f"its microns per pixel are {x if _is_possible(y) else y:g} "
            f"({source_in_words(OVERRIDE)})",
            expected=_RANGE,
            remedy=_REMEDY,
            slide=slide,
        )
    _check_square(claim, slide)
    return SlideMpp(_mean(x, y), OVERRIDE)


def resolution_notes(
    properties: Mapping[str, str], chosen: SlideMpp, *, vendor: str
) -> tuple[str, ...]:
    """Where other things the file says contradict the resolution that is used, a sentence each.

    Args:
        properties: The slide's properties in openslide's names.
        chosen: The resolution in use.
        vendor: openslide's name of the format.
    """
    notes = []
    used = f"{chosen.value:.4g} mpp {source_in_words(chosen.source)} are used"
    for claim in _claims(properties, vendor):
        if claim.problem is not None or claim.source == chosen.source:
            continue
        mpp = _mean(claim.x, claim.y)
        if abs(mpp / chosen.value - 1) > SAME_MPP:
            notes.append(f"{claim.source}: {mpp:.4g} mpp, but {used}")
    power = _number(properties.get("openslide.objective-power"))
    if math.isfinite(power) and power > 0:
        ratio = chosen.value * power / NATIVE_MAGNIFICATION_MPP
        if not _POWER_RANGE[0] <= ratio <= _POWER_RANGE[1]:
            usual = NATIVE_MAGNIFICATION_MPP / power
            notes.append(f"objective power {power:g}x: about {usual:.3g} mpp, but {used}")
    return tuple(notes)


def source_in_words(source: str) -> str:
    """Where a resolution comes from, after its number: "given by you", "from TIFF resolution tags".

    Args:
        source: As `SlideMpp.source` has it.
    """
    return "given by you" if source == OVERRIDE else f"from {source}"


def mpp_from_tiff_tags(resolution: float, unit: str) -> float | None:
    """Microns per pixel of "pixels per unit"; None where the unit is no length.

    Args:
        resolution: The value of the tag XResolution or YResolution.
        unit: "inch", "centimeter" or anything else.
    """
    if unit not in MICRONS_PER_UNIT or not resolution > 0:
        return None
    return MICRONS_PER_UNIT[unit] / resolution


def _claims(properties: Mapping[str, str], vendor: str) -> Iterator[Claim]:
    """What the file says, the most trustworthy source first."""
    images = read_ome(properties.get("tiff.ImageDescription", ""))
    if images:
        scans = [image for image in images if image.associated is None and not image.is_elsewhere]
        largest = max(scans or images, key=lambda image: image.size[0] * image.size[1])
        x, y = largest.mpp
        if x is not None and y is not None:
            yield _checked(OME, x, y)
        elif largest.unit_problem is not None:
            yield Claim(OME, math.nan, math.nan, largest.unit_problem)
        elif x is not None or y is not None:
            yield Claim(OME, math.nan, math.nan, "said of one axis only")
    texts = properties.get("openslide.mpp-x"), properties.get("openslide.mpp-y")
    unit = properties.get("tiff.ResolutionUnit", "")
    from_tags = vendor in {"generic-tiff", "tiff"}
    if texts != (None, None):
        x, y = (_number(text) for text in texts)
        claim = _checked(TIFF_TAGS if from_tags else VENDOR, x, y)
        if from_tags and x > 0 and _is_for_print(x, unit):
            problem = f"which is {25400 / x:.0f} dpi, how to print it and not how it was scanned"
            claim = Claim(claim.source, x, y, problem)
        yield claim
    if not from_tags:
        tags = [
            mpp_from_tiff_tags(_number(properties.get(f"tiff.{axis}Resolution")), unit)
            for axis in "XY"
        ]
        x, y = (math.nan if mpp is None else mpp for mpp in tags)
        if _is_possible(x) and _is_possible(y) and not _is_for_print(x, unit):
            yield _checked(TIFF_TAGS, x, y)


def _checked(source: str, x: float, y: float) -> Claim:
    if _is_possible(x) and _is_possible(y):
        return Claim(source, x, y)
    wrong = y if _is_possible(x) else x
    return Claim(source, wrong, y, "which cannot be")


def _is_possible(mpp: float) -> bool:
    return math.isfinite(mpp) and MIN_MPP <= mpp <= MAX_MPP


def _is_for_print(mpp: float, unit: str) -> bool:
    """Whether a resolution tag says how to print: what a printer has, in its unit or as it is."""
    dpi = MICRONS_PER_UNIT["inch"] / mpp
    if dpi <= _LOWEST_SLIDE_DPI or (unit == "inch" and dpi <= _HIGHEST_PRINT_DPI):
        return True
    return any(abs(dpi / known - 1) < 5e-4 for known in _PRINT_DPI)


def _check_square(claim: Claim, slide: str) -> None:
    if not claim.is_square:
        raise MissingMppError(
            f"its microns per pixel are {claim.x:g} in x and {claim.y:g} in y "
            f"({source_in_words(claim.source)})",
            expected=f"square pixels, within {MAX_ASPECT_DIFFERENCE:.0%}",
            remedy=_DECLARED_REMEDY if claim.source == OVERRIDE else _BOTH_REMEDY,
            slide=slide,
        )


def _mean(x: float, y: float) -> Mpp:
    # The mean of two equal floats must be that float: sqrt(x * x) need not be.
    return Mpp(x if x == y else math.sqrt(x * y))


def _number(text: str | None) -> float:
    try:
        return float(text) if text is not None else math.nan
    except ValueError:
        return math.nan

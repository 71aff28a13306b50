"""What a reader must know to turn the samples of a page into 8-bit RGB; or why nobody can.

A page is judged once, by its tags. Readers say which needs they meet; a page with any other need
is refused with the words given here, so that no reader shows garbled pixels as the slide.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from slidenet.slides.tiff import tags
from slidenet.slides.tiff.directory import Directory
from slidenet.slides.tiff.picture import Picture


class Need(StrEnum):
    """What a reader must handle beyond chunky, upright, 8-bit RGB or YCbCr."""

    ALPHA = "alpha"
    BILEVEL = "bilevel"
    BYTE_PALETTE = "palette of bytes"
    COLOURS_AS_PAGES = "colours as pages"
    FEW_BITS = "few bits"
    GREY = "grey"
    GREY_ALPHA = "grey with alpha"
    MIN_IS_WHITE = "min is white"
    ORIENTATION = "orientation"
    PALETTE = "palette"
    PLANES = "planes"
    REVERSED_BITS = "reversed bits"
    SCALED_BITS = "scaled bits"
    SIXTEEN_BITS = "sixteen bits"
    SIXTEEN_BIT_GREY = "sixteen-bit grey"
    UNASSOCIATED_ALPHA = "unassociated alpha"
    UNSPECIFIED_SAMPLE = "unspecified sample"
    YCBCR_SAMPLES = "ycbcr samples"


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """The verdict on a page.

    Attributes:
        needs: What a reader must handle, with the clause that says what was found.
        refused: Why no reader can show it truly, as a clause; None where one may.
        significant_bits: Bits of a sample that are used, where the file says so; 16-bit samples
            of cameras often use 10, 12 or 14.
    """

    needs: Mapping[Need, str] = field(default_factory=dict)
    refused: str | None = None
    significant_bits: int | None = None

    def unmet(self, met: frozenset[Need]) -> str | None:
        """What is wrong for a reader that meets some needs, as a clause; None where nothing is."""
        if self.refused is not None:
            return self.refused
        return next((words for need, words in self.needs.items() if need not in met), None)


_COLOURS = {
    tags.MIN_IS_WHITE: 1,
    tags.MIN_IS_BLACK: 1,
    tags.RGB: 3,
    tags.PALETTE: 1,
    tags.YCBCR: 3,
}
_PHOTOMETRIC_NEEDS = {
    tags.MIN_IS_WHITE: (Need.MIN_IS_WHITE, "its samples are inverted (0 is white)"),
    tags.MIN_IS_BLACK: (Need.GREY, "it is grey, one sample per pixel"),
    tags.PALETTE: (Need.PALETTE, "its colours are those of a palette"),
}
_CODECS_OF_YCBCR = {tags.JPEG, tags.APERIO_J2K_YCBCR, tags.JPEG2000}
_NUMBER_FORMATS = {2: "signed numbers", 3: "floating-point numbers", 5: "complex", 6: "complex"}
_ORIENTATIONS = {
    2: "mirrored left to right",
    3: "turned by 180 degrees",
    4: "mirrored top to bottom",
    5: "mirrored and turned",
    6: "turned by 90 degrees",
    7: "mirrored and turned",
    8: "turned by 270 degrees",
}
_EXTRA_NEEDS = {
    0: (Need.UNSPECIFIED_SAMPLE, "it has a fourth sample of unknown meaning (tag ExtraSamples 0)"),
    1: (Need.ALPHA, "it has an alpha channel (associated)"),
    2: (Need.UNASSOCIATED_ALPHA, "it has an alpha channel (unassociated)"),
}


def pixel_format(page: Directory, *, significant_bits: int | None = None) -> PixelFormat:
    """The verdict on one page.

    Args:
        page: The page.
        significant_bits: What the OME-XML says, which no tag does.
    """
    refused = _refusal(page)
    if refused is not None:
        return PixelFormat({}, refused)
    needs: dict[Need, str] = {}
    if page.photometric in _PHOTOMETRIC_NEEDS:
        need, words = _PHOTOMETRIC_NEEDS[page.photometric]
        needs[need] = words
    if page.photometric == tags.YCBCR and page.compression not in _CODECS_OF_YCBCR:
        needs[Need.YCBCR_SAMPLES] = f"its samples are YCbCr under the compression {page.codec}"
    if page.bits == 1:
        needs[Need.BILEVEL] = "its samples have 1 bit"
    elif page.bits < 8:
        needs[Need.FEW_BITS] = f"its samples have {page.bits} bits"
    if page.bits == 16:
        grey = _COLOURS[page.photometric] == 1
        if grey:
            needs[Need.SIXTEEN_BIT_GREY] = "it is grey with samples of 16 bits"
        else:
            needs[Need.SIXTEEN_BITS] = "its samples have 16 bits"
        if significant_bits is None and page.max_sample_value is not None:
            significant_bits = max(page.max_sample_value.bit_length(), 8)
        if significant_bits is not None and significant_bits < 16:
            needs[Need.SCALED_BITS] = f"its samples of 16 bits use {significant_bits} of them"
    if page.samples > _COLOURS[page.photometric]:
        need, words = _EXTRA_NEEDS.get((page.extra_samples or (0,))[0], _EXTRA_NEEDS[0])
        needs[need] = words
        if _COLOURS[page.photometric] == 1:
            needs[Need.GREY_ALPHA] = "it is grey or of a palette, with a further sample"
    if page.colour_map is not None and 0 < page.colour_map.max() < 256:
        needs[Need.BYTE_PALETTE] = "its palette holds bytes where TIFF has 16 bits"
    if page.planar == tags.PLANAR and page.samples > 1:
        needs[Need.PLANES] = "its colours are stored as planes (tag PlanarConfiguration 2)"
    if page.orientation != 1:
        needs[Need.ORIENTATION] = (
            f"it is {_ORIENTATIONS[page.orientation]} (tag Orientation {page.orientation})"
        )
    if page.fill_order == 2 and page.compression != tags.JPEG:
        needs[Need.REVERSED_BITS] = "the bits of its bytes run backwards (tag FillOrder 2)"
    return PixelFormat(needs, significant_bits=significant_bits)


def picture_format(picture: Picture) -> PixelFormat:
    """The verdict on all levels of a slide together."""
    needs: dict[Need, str] = {}
    bits = picture.ome[0].significant_bits if picture.ome else None
    verdict = PixelFormat()
    for planes in picture.planes:
        verdict = pixel_format(planes[0], significant_bits=bits)
        if verdict.refused is not None:
            return verdict
        needs |= verdict.needs
    if len(picture.planes[0]) > 1:
        del needs[Need.GREY]
        needs[Need.COLOURS_AS_PAGES] = "its colours are pages of their own"
    if len({page.orientation for page in picture.levels}) > 1:
        return PixelFormat({}, "its levels are turned differently (tag Orientation)")
    return PixelFormat(needs, significant_bits=verdict.significant_bits)


def _refusal(page: Directory) -> str | None:
    if page.photometric == tags.SEPARATED:
        return "its samples are amounts of ink (CMYK), which are no colours without the press"
    if page.photometric not in _COLOURS:
        name = tags.PHOTOMETRICS.get(page.photometric, f"number {page.photometric}")
        return f"its samples are {name} (tag PhotometricInterpretation {page.photometric})"
    if page.sample_format in _NUMBER_FORMATS:
        words = _NUMBER_FORMATS[page.sample_format]
        return f"its samples are {words} of {page.bits} bits (tag SampleFormat)"
    if page.sample_format not in (tags.UNSIGNED, 4):
        return f"its samples are of the unknown format {page.sample_format} (tag SampleFormat)"
    if page.bits not in (1, 2, 4, 8, 16):
        return f"its samples have {page.bits} bits"
    if page.bits == 16 and page.compression == tags.JPEG:
        return "its JPEG data has 16 bits per sample"
    if page.predictor == 3:
        return "its predictor is that of floating-point numbers (tag Predictor 3)"
    if page.depth > 1:
        return f"it is a volume of {page.depth} slices"
    colours = _COLOURS[page.photometric]
    name = tags.PHOTOMETRICS[page.photometric]
    if page.samples < colours:
        return f"it has {page.samples} samples per pixel where {name} needs {colours}"
    if page.samples > colours + 1:
        return f"it has {page.samples} samples per pixel where {name} has {colours}: channels"
    if page.photometric == tags.PALETTE and page.colour_map is None:
        return "its palette is missing"
    return None

"""Files whose name says a scanner wrote them, though no reader knows their content.

What such a file holds beside the pixels of the slide (a photo of the glass, a label, a preview)
is a picture too. It must not be taken for the slide.
"""

from dataclasses import dataclass
from pathlib import Path

from slidenet.core.errors import UnreadableSlideError
from slidenet.slides.admission.content import describe_content, way_out
from slidenet.slides.admission.dicom import why_dicom_is_unknown
from slidenet.slides.admission.mirax import why_mirax_is_unknown
from slidenet.slides.admission.tiff import check_whole_tiff

_CONVERT = (
    "convert it into a pyramidal OME-TIFF (Bio-Formats: bfconvert, or bioformats2raw and "
    "raw2ometiff) and give that"
)
_OTHER_KINDS = ("a PDF", "an HDF5", "an XML", "an SQLite", "plain text", "data of an unknown")
_FASTSLIDE = ", or install the package fastslide and pass --reader fastslide"


@dataclass(frozen=True, slots=True)
class ScannerFormat:
    """A format of slides that is told by the ending of its name.

    Attributes:
        words: What the file is, with its article.
        read: Whether a reader of slidenet knows whole files of it.
        remedy: What to do about a file that no reader knows.
    """

    words: str
    read: bool
    remedy: str


def _known(words: str, remedy: str = "") -> ScannerFormat:
    again = "copy it again from the scanner, with all files of the slide beside it"
    return ScannerFormat(words, True, remedy or again)


def _foreign(words: str, remedy: str = _CONVERT) -> ScannerFormat:
    return ScannerFormat(words, False, remedy)


SCANNER_FORMATS = {
    ".svs": _known("an Aperio slide"),
    ".afi": _foreign(
        "an Aperio list of fluorescence channels", "give the .svs files that it names, one by one"
    ),
    ".ndpi": _known("a Hamamatsu slide"),
    ".ndpis": _foreign(
        "a Hamamatsu list of fluorescence channels",
        "give the .ndpi files that it names, one by one",
    ),
    ".vms": _known("the index of a Hamamatsu slide"),
    ".vmu": _known("the index of a Hamamatsu slide"),
    ".mrxs": _known("the index of a 3DHISTECH MIRAX slide"),
    ".scn": _known("a Leica slide"),
    ".bif": _known("a Ventana slide"),
    ".svslide": _known("a Sakura slide"),
    ".dcm": _known("a DICOM file", "export it as DICOM whole-slide images, or as a TIFF pyramid"),
    ".czi": _known("a Zeiss slide", f"save it in ZEN as brightfield, 24-bit RGB, or {_CONVERT}"),
    ".vsi": _foreign(
        "the container of an Olympus slide, whose pixels lie in .ets files in the folder "
        "_NAME_ beside it",
        _CONVERT + _FASTSLIDE,
    ),
    ".ets": _foreign("a part of an Olympus slide", _CONVERT + _FASTSLIDE),
    ".qptiff": _known("an Akoya or PerkinElmer slide", _CONVERT + _FASTSLIDE),
    ".isyntax": _foreign(
        "a Philips iSyntax slide",
        "export it as TIFF from the Philips software, or convert it with isyntax2raw and "
        "raw2ometiff" + _FASTSLIDE,
    ),
    ".i2syntax": _foreign("a Philips iSyntax slide", "export it as TIFF or DICOM from the scanner"),
    ".sdpc": _foreign("a Sqray slide", "export it as SVS or TIFF with the maker's software"),
    ".dyqx": _foreign("a Sqray slide", "export it as SVS or TIFF with the maker's software"),
    ".kfb": _foreign("a KFBio slide", "convert it into SVS or TIFF with the maker's converter"),
    ".kfbf": _foreign("a KFBio slide", "convert it into SVS or TIFF with the maker's converter"),
    ".tmap": _foreign("a UNIC slide", "export it as SVS or TIFF with the maker's software"),
    ".mds": _foreign("a Motic slide", "export it as SVS or TIFF with the maker's software"),
    ".mdsx": _foreign("a Motic slide", "export it as SVS or TIFF with the maker's software"),
    ".zvi": _foreign("a Zeiss ZVI image"),
    ".lsm": _foreign("a Zeiss LSM image"),
    ".lif": _foreign("a Leica LIF file of images"),
    ".nd2": _foreign("a Nikon ND2 image"),
    ".oir": _foreign("an Olympus OIR image"),
    ".oib": _foreign("an Olympus OIB image"),
    ".ims": _foreign("an Imaris image"),
    ".sld": _foreign("a SlideBook image"),
    ".jp2": _foreign("a JPEG 2000 image", "convert it into a tiled TIFF pyramid"),
    ".jpx": _foreign("a JPEG 2000 image", "convert it into a tiled TIFF pyramid"),
    ".j2k": _foreign("a JPEG 2000 image", "convert it into a tiled TIFF pyramid"),
    ".zarr": _foreign("a folder of OME-Zarr", "convert it into a pyramidal OME-TIFF (raw2ometiff)"),
}
"""Endings of file names, lower case. Those of plain images (.tif, .png, .jpg) are not here."""


def scanner_format(path: Path) -> ScannerFormat | None:
    """The format that the name of a file announces; None for names of plain images."""
    return SCANNER_FORMATS.get(path.suffix.lower())


def check_foreign_format(path: Path) -> None:
    """Refuses a file whose name says that it is of a format that no reader here knows.

    What can be read of such a file is not the slide, whatever its content looks like.

    Raises:
        UnreadableSlideError: Saying what the format is, and what to do.
    """
    announced = scanner_format(path)
    if announced is not None and not announced.read:
        raise UnreadableSlideError(
            f"its name says it is {announced.words}",
            expected="a format that slidenet reads",
            remedy=announced.remedy,
            slide=path.name,
        )


def check_no_scanner_file(path: Path) -> None:
    """Refuses a file with a scanner's ending; asked once no reader of slides knows its content.

    Raises:
        UnreadableSlideError: It is a TIFF that is cut; else saying what the name announces, what
            the file is, and what is missing.
    """
    check_foreign_format(path)
    announced = scanner_format(path)
    if announced is None:
        return
    check_whole_tiff(path, strips=True)  # it may be the slide that its name says, cut
    content = describe_content(path)
    remedy = announced.remedy
    if content in ("a PNG image", "a JPEG image"):
        remedy += f"; if it is just {content}, rename it so that its ending says so"
    is_index = path.suffix.lower() in (".vms", ".vmu")  # which are text
    missing = _missing_part(path)
    if content.startswith(("a ZIP", "a gzip", "a Git", "a web")) or (
        missing is None and not is_index and content.startswith(_OTHER_KINDS)
    ):
        remedy = way_out(content)
    found = f"it is not a slide but {content}, though its name is that of {announced.words}"
    if missing is not None:
        found = f"its name says it is {announced.words}, but {missing}"
    raise UnreadableSlideError(found, expected="a whole slide", remedy=remedy, slide=path.name)


def _missing_part(path: Path) -> str | None:
    """What a file of one of the readable formats lacks, as a clause; None where nobody knows."""
    ending = path.suffix.lower()
    if ending == ".mrxs":
        return why_mirax_is_unknown(path)
    return why_dicom_is_unknown(path) if ending == ".dcm" else None

"""Slides that openslide knows by their vendor: is the slide whole, and does it say the truth?"""

from collections.abc import Callable
from pathlib import Path

from slidenet.core.errors import UnreadableSlideError
from slidenet.slides.admission.dicom import check_dicom
from slidenet.slides.admission.mirax import check_mirax
from slidenet.slides.admission.tiff import check_picture, check_whole_tiff
from slidenet.slides.tiff import Need, TiffIndex

_CHECKS: dict[str, Callable[[Path], None]] = {
    "mirax": check_mirax,
    "dicom": check_dicom,  # also where its preamble is that of a TIFF
}
_FIRST_PAGE = ("aperio", "generic-tiff")
_OPENSLIDE_MEETS = frozenset(
    {
        Need.ALPHA,
        Need.BYTE_PALETTE,
        Need.GREY,
        Need.MIN_IS_WHITE,
        Need.PALETTE,
        Need.PLANES,
        Need.SIXTEEN_BITS,
        Need.UNASSOCIATED_ALPHA,
    }
)
"""What openslide was seen to show exactly, beyond 8-bit RGB and YCbCr; all else was garbled."""


def check_vendor_files(path: Path, vendor: str) -> TiffIndex | None:
    """Refuses a slide that is not whole, or would be read wrongly; no pixel is decoded.

    Args:
        path: The file openslide is to open.
        vendor: openslide's name of its format.

    Returns:
        The index of a TIFF, None of other files.

    Raises:
        UnreadableSlideError: Saying what is missing.
    """
    try:
        if vendor in _CHECKS:
            _CHECKS[vendor](path)
            return None
        index = check_whole_tiff(path)
    except OSError as error:
        raise UnreadableSlideError(
            f"{error.filename or 'a file of it'} cannot be read ({error.strerror})",
            expected="a readable slide",
            remedy="check its disk and permissions, and copy it again",
            slide=path.name,
        ) from error
    if index is not None:
        check_picture(
            index, reader="openslide", meets=_OPENSLIDE_MEETS, first_page=vendor in _FIRST_PAGE
        )
    return index

"""Slides that openslide knows by their vendor: is the slide whole, and does it say the truth?"""

from collections.abc import Callable
from pathlib import Path

from slidenet.core.errors import UnreadableSlideError
from slidenet.slides.admission.dicom import check_dicom
from slidenet.slides.admission.mirax import check_mirax
from slidenet.slides.admission.truncation import check_complete

_CHECKS: dict[str, Callable[[Path], None]] = {
    "mirax": check_mirax,
    "dicom": check_dicom,  # also where its preamble is that of a TIFF
    "hamamatsu": lambda path: None,  # offsets of NDPI wrap at 4 GiB
}


def check_vendor_files(path: Path, vendor: str) -> None:
    """Refuses a slide that is not whole, or would be read wrongly; no pixel is decoded.

    Args:
        path: The file openslide is to open.
        vendor: openslide's name of its format.

    Raises:
        UnreadableSlideError: Saying what is missing.
    """
    try:
        _CHECKS.get(vendor, check_complete)(path)
    except OSError as error:
        raise UnreadableSlideError(
            f"{error.filename or 'a file of it'} cannot be read ({error.strerror})",
            expected="a readable slide",
            remedy="check its disk and permissions, and copy it again",
            slide=path.name,
        ) from error

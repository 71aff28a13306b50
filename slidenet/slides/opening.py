"""Opening a slide, whatever it is."""

import os
from pathlib import Path

from openslide import OpenSlide

from slidenet.core.errors import UnreadableSlideError
from slidenet.slides.reader import Slide
from slidenet.slides.readers.flat_reader import FlatReader
from slidenet.slides.readers.openslide_reader import OpenSlideReader
from slidenet.slides.truncation import find_truncation


def open_slide(
    path: str | os.PathLike[str], mpp: float | None = None, *, icc: bool = False
) -> Slide:
    """Opens a slide, by its content and not by its name.

    Formats openslide 4 knows come first, then flat PNG, JPEG and TIFF images. A slide that does
    not say its resolution opens too; asking for its `slide_mpp` raises.

    Args:
        path: The file. Of a slide made of several files, the one openslide opens (.mrxs, .vms,
            any one .dcm).
        mpp: Microns per pixel of level 0, where the file does not say it or is wrong; wins over
            the file.
        icc: Apply the embedded ICC profile, so that pixels are sRGB. A file without a profile is
            read as it is; `icc_applied` then is False.

    Raises:
        MissingMppError: `mpp` was given and cannot be.
        UnreadableSlideError: Missing, empty, truncated, a folder, or not a slide.
    """
    path = Path(path)
    _check_file(path)
    vendor = OpenSlide.detect_format(path)
    if vendor != "hamamatsu":  # NDPI offsets wrap at 4 GiB
        reason = find_truncation(path, strips=vendor is None)
        if reason is not None:
            raise UnreadableSlideError(
                f"it is truncated or damaged: {reason}",
                expected="a complete file",
                remedy="copy it again and compare its size with the original's",
                slide=path.name,
            )
    if vendor is None:
        return FlatReader(path, "", mpp, icc)
    return OpenSlideReader(path, vendor, mpp, icc)


def _check_file(path: Path) -> None:
    """Refuses what cannot be a slide before any library sees it."""
    if path.is_dir():
        raise UnreadableSlideError(
            "it is a folder",
            expected="a slide file",
            remedy="give the file inside it (DICOM: any one .dcm; MIRAX: the .mrxs beside it)",
            slide=str(path),
        )
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except OSError as error:
        raise UnreadableSlideError(
            f"it cannot be opened ({error.strerror})",
            expected="a readable file",
            remedy="check the path and its permissions",
            slide=str(path),
        ) from error
    if empty:
        raise UnreadableSlideError(
            "it has zero bytes",
            expected="a slide file",
            remedy="copy it again",
            slide=path.name,
        )

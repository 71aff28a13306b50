"""TIFF files: whole, truthful about themselves, one picture, of pixels that the reader can show.

openslide and libtiff believe the header. A truncated file opens with fewer levels and failing
tiles, one flipped bit in a width moves every tile, channels in pages of their own lose all but the
first, and samples of another meaning become another colour, without any error.
"""

import logging
from pathlib import Path

import numpy as np

from slidenet.core.errors import UnreadableSlideError
from slidenet.slides.admission.jpeg_header import jpeg_colours
from slidenet.slides.admission.tile_heads import find_foreign_tiles
from slidenet.slides.limits import current_limits
from slidenet.slides.tiff import (
    Directory,
    Need,
    TiffIndex,
    find_fault,
    picture_format,
    tags,
)

_log = logging.getLogger(__name__)

_JPEG_HEAD_BYTES = 1 << 16
_EXPORT = "export it as 8-bit RGB, upright and opaque"


def check_whole_tiff(path: Path, *, strips: bool = False) -> TiffIndex | None:
    """Refuses a TIFF that is shorter than it says, or lies about itself.

    See `find_fault`, and of level 0 `find_foreign_tiles`.

    Returns:
        Its index; None where the file is no TIFF.

    Raises:
        UnreadableSlideError: Saying what is wrong.
    """
    limits = current_limits()
    index = TiffIndex.read(path, limits)
    if index is None:
        return None
    fault = find_fault(index, limits, strips=strips)
    if fault is None:
        # What is wrong with smaller levels makes them unused; see `check_pyramid`.
        level_0 = index.picture.levels[0]
        fault = find_foreign_tiles(path, level_0)
    if fault is None:
        return index
    if "(limit " in fault:
        remedy = "raise this limit of reading if the file is as it should be"
        raise UnreadableSlideError(fault, remedy=remedy, slide=path.name)
    raise UnreadableSlideError(
        f"it is truncated or damaged: {fault}",
        expected="a complete file",
        remedy="copy it again and compare its size with the original's",
        slide=path.name,
    )


def check_picture(
    index: TiffIndex, *, reader: str, meets: frozenset[Need], first_page: bool
) -> None:
    """Refuses a TIFF that a reader would not show as what it is; logs what it leaves out.

    Args:
        index: The index of a whole file.
        reader: Name of the reader, for messages.
        meets: What the reader handles beyond chunky, upright 8-bit RGB.
        first_page: Whether the reader takes the first page for the slide, whatever the others are.

    Raises:
        UnreadableSlideError: Saying why.
    """
    picture, slide = index.picture, index.path.name
    if picture.incomplete is not None:
        raise UnreadableSlideError(
            picture.incomplete,
            expected="one picture in RGB",
            remedy="export the slide as one RGB image (QuPath: File, Export images; or bfconvert)",
            slide=slide,
        )
    first, level_0 = index.directories[0], picture.levels[0]
    if first_page and first is not level_0:
        raise UnreadableSlideError(
            f"its first page has {first.width}x{first.height} px and page {level_0.number} has "
            f"{level_0.width}x{level_0.height} px",
            expected=f"the slide itself as the first page, which the reader {reader!r} takes",
            remedy="write it again with the largest page first, or in tiles (vips tiffsave --tile)",
            slide=slide,
        )
    unmet = picture_format(picture).unmet(meets)
    if unmet is not None:
        raise UnreadableSlideError(
            unmet,
            expected=f"pixels that the reader {reader!r} shows as they are: 8-bit RGB",
            remedy=_EXPORT,
            slide=slide,
        )
    for page in picture.levels:
        _check_jpeg_colours(page, index)
    for note in picture.notes:
        _log.warning("slide %r: %s", slide, note)


def _check_jpeg_colours(page: Directory, index: TiffIndex) -> None:
    """Refuses JPEG tiles whose own header contradicts the page's: readers believe the page.

    Raises:
        UnreadableSlideError: Saying what each of them says.
    """
    claimed = {tags.RGB: "RGB", tags.YCBCR: "YCbCr"}.get(page.photometric)
    stored = np.flatnonzero(page.byte_counts)
    if page.compression != tags.JPEG or claimed is None or not len(stored):
        return
    first = stored[0]
    with index.path.open("rb") as file:
        file.seek(int(page.offsets[first]))
        colours = jpeg_colours(file.read(min(int(page.byte_counts[first]), _JPEG_HEAD_BYTES)))
    if colours is None or colours.colours == claimed:
        return
    raise UnreadableSlideError(
        f"page {page.number} says its colours are {claimed} (tag PhotometricInterpretation "
        f"{page.photometric}), but its JPEG tiles are {colours.colours} ({colours.evidence}), so "
        "that they would be shown in wrong colours",
        expected="colours that are what the file says",
        remedy=f"set the tag to {tags.YCBCR if claimed == 'RGB' else tags.RGB} (tiffset), or "
        "export the slide again",
        slide=index.path.name,
    )

"""How large the images of a folder are, by the first bytes of each: 100,000 take a few seconds."""

import struct
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import UnidentifiedImageError

from slidenet.core.errors import UnreadableSlideError
from slidenet.slides.admission.jpeg_header import jpeg_frame
from slidenet.slides.limits import current_limits
from slidenet.slides.protocol import Size
from slidenet.slides.readers.flat_images import PILLOW_ERRORS, opened, upright_size

_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
_HEAD_BYTES = 4096


def image_sizes(folder: Path, names: Sequence[str]) -> list[Size | None]:
    """(width, height) of each image; None where its header cannot be read.

    Args:
        folder: Where they lie.
        names: Of the files.
    """
    return [_size(folder / name) for name in names]


def tile_side(sizes: Sequence[Size | None], names: Sequence[str], *, slide: str) -> int:
    """The side in pixels of the size that most images have.

    Raises:
        UnreadableSlideError: No header can be read, or that size is no square, or larger than any
            tile.
    """
    counts = Counter(size for size in sizes if size is not None)
    if not counts:
        raise UnreadableSlideError(
            f"none of its {len(names)} images can be read (first {names[0]})",
            expected="PNG, JPEG or TIFF images",
            remedy="copy them again",
            slide=slide,
        )
    (width, height), _ = counts.most_common(1)[0]
    first = names[sizes.index((width, height))]
    if width != height:
        raise UnreadableSlideError(
            f"its tiles are {width} x {height} px ({first})",
            expected="square tiles",
            remedy="cut them again as squares",
            slide=slide,
        )
    largest = current_limits().max_tile_px
    if width > largest:
        raise UnreadableSlideError(
            f"its images are {width:,} x {height:,} px ({first}), so they are slides or large "
            "parts of them",
            expected=f"tiles of at most {largest} px",
            remedy="list the images themselves in a slides.csv with a column slide_path",
            slide=slide,
        )
    return width


def check_one_size(
    sizes: Sequence[Size | None],
    side: int,
    names: Sequence[str],
    at_edge: Mapping[int, tuple[bool, bool]],
    *,
    slide: str,
) -> list[int]:
    """Indices of the tiles to leave out: smaller ones of the last column or row, cut by the edge.

    Args:
        sizes: Of each image.
        side: Of most of them.
        names: Of the files.
        at_edge: By index of each image of another size, whether no tile lies further right, and
            none further down; empty where tiles have no places.
        slide: For messages.

    Raises:
        UnreadableSlideError: Others have another size; all sizes are named.
    """
    cut = []
    for index, size in enumerate(sizes):
        if size is None or size == (side, side):
            continue
        (width, height), (last_column, last_row) = size, at_edge.get(index, (False, False))
        fits = width <= side and height <= side
        if fits and (width == side or last_column) and (height == side or last_row):
            cut.append(index)
            continue
        counts = Counter(size for size in sizes if size is not None).most_common(4)
        listed = ", ".join(
            f"{count:,} of {w} x {h} px (such as {names[sizes.index((w, h))]})"
            for (w, h), count in counts
        )
        raise UnreadableSlideError(
            f"its tiles have different sizes: {listed}",
            expected="one size (smaller ones only at the right and lower edge of the slide)",
            remedy="put the tiles of each size into a folder of their own",
            slide=slide,
        )
    return cut


def _size(path: Path) -> Size | None:
    try:
        with path.open("rb", buffering=0) as file:
            head = file.read(_HEAD_BYTES)
        if head.startswith(_PNG) and head[12:16] == b"IHDR" and b"eXIf" not in head:
            width, height = struct.unpack_from(">II", head, 16)
            return (width, height) if width and height else None
        if head.startswith(_JPEG) and b"Exif" not in head:
            frame = jpeg_frame(head)
            if frame is not None and frame.height:
                return frame.width, frame.height
        with opened(path) as image:
            return upright_size(image)
    except (UnidentifiedImageError, UnreadableSlideError, *PILLOW_ERRORS):
        return None

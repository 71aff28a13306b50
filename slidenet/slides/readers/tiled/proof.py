"""Whether openslide agrees, asked of the file itself each time it is opened.

The list of layouts says where the tiled reader has openslide's pixels. A file of a kind that nobody
has seen may pass the list all the same; one tile of each level, compared, tells it for the price of
a few decoded tiles.
"""

import numpy as np
import openslide
from openslide import OpenSlide
from PIL import ImageCms

from slidenet.core.arrays import IntArray
from slidenet.core.errors import PixelReadError
from slidenet.slides.colour import WHITE, to_rgb
from slidenet.slides.protocol import Pixels, Size
from slidenet.slides.readers.base import ReaderDeclinedError, SlideReader
from slidenet.slides.readers.tiled.layout import PHILIPS, TiledLayout
from slidenet.slides.readers.tiled.payload import UnknownKindError
from slidenet.slides.tiff import Directory

_MOST_TRIED = 4
_TILE_SIDE = "openslide.level[{}].tile-{}"


def check_same_levels(handle: OpenSlide, layout: TiledLayout) -> None:
    """Compares sizes of levels and tiles with openslide's.

    Raises:
        ReaderDeclinedError: They differ: directories were taken for other levels.
    """
    pages = layout.levels[: layout.num_openslide_levels]
    if handle.level_count != len(pages):
        raise ReaderDeclinedError(
            f"openslide sees {handle.level_count} levels, the index {len(pages)}"
        )
    for number, (page, size) in enumerate(zip(pages, handle.level_dimensions, strict=True)):
        tile = tuple(
            int(handle.properties.get(_TILE_SIDE.format(number, side), 0))
            for side in ("width", "height")
        )
        # Philips pads levels to whole tiles, openslide knows where the picture ends.
        fits = size[0] <= page.width and size[1] <= page.height
        if (size != page.size and not (layout.vendor == PHILIPS and fits)) or tile != (
            page.tile_width,
            page.tile_height,
        ):
            raise ReaderDeclinedError(
                f"openslide sees level {number} as {size[0]}x{size[1]} px in tiles of "
                f"{tile[0]}x{tile[1]} px, the index as {page.width}x{page.height} px in tiles of "
                f"{page.tile_width}x{page.tile_height} px"
            )


def check_same_pixels(
    slide: SlideReader,
    handle: OpenSlide,
    layout: TiledLayout,
    transform: ImageCms.ImageCmsTransform | None,
) -> None:
    """Reads a stored tile of each level both ways, others where the first does not agree.

    One tile that differs beside others that agree is damaged. So it is where it is the only one of
    its level and others stored in the same way agreed: then the slide stays here, as openslide
    notices less damage.

    Args:
        slide: What reads the tiles.
        handle: openslide's for the same file.
        layout: Where the levels are.
        transform: The colour transform that `slide` applies.

    Raises:
        ReaderDeclinedError: They differ, or tiles of a level are of a kind only openslide decodes.
    """
    proved: set[tuple[int, ...]] = set()
    for number, page in enumerate(layout.levels[: layout.num_openslide_levels]):
        kind = (page.compression, page.photometric, page.samples, page.predictor)
        differences: list[str] = []
        for corner in _telling_corners(page, slide.level_downsamples[number]):
            width, height = slide.level_dimensions[number]
            size = (
                min(page.tile_width, width - corner[0]),
                min(page.tile_height, height - corner[1]),
            )
            if min(size) < 1:
                continue  # all of it is padding
            try:
                theirs = _by_openslide(handle, corner, number, size, transform)
            except openslide.OpenSlideError:
                handle = OpenSlide(slide.path)  # after an error a handle answers nothing more
                continue
            try:
                mine = slide.read_level(corner, number, size)
            except PixelReadError as error:
                if _is_unknown_kind(error):  # else damaged, whatever openslide makes of it
                    differences.append(error.found)
                continue
            if theirs is None:
                continue
            if np.array_equal(mine, theirs):
                proved.add(kind)
                differences = []
                break
            differences.append(
                f"the tile at {corner} of level {number} does not come out as openslide decodes it"
            )
        if len(differences) > (1 if kind in proved else 0):
            raise ReaderDeclinedError(differences[0])


def _is_unknown_kind(error: BaseException) -> bool:
    """Whether an error comes of a payload that is whole but of a kind nobody decodes here."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, UnknownKindError):
        cause = cause.__cause__
    return cause is not None


def _telling_corners(page: Directory, downsample: float) -> list[Size]:
    """Corners of the tiles with most bytes, of those whose corner is a level-0 pixel."""
    across, down = page.grid
    columns = _whole(across, page.tile_width * downsample)
    rows = _whole(down, page.tile_height * downsample)
    counts = page.byte_counts.reshape(down, across)[np.ix_(rows, columns)]
    order = np.argsort(-counts, axis=None, kind="stable")[:_MOST_TRIED]
    found = (np.unravel_index(int(place), counts.shape) for place in order)
    return [
        (int(columns[column]) * page.tile_width, int(rows[row]) * page.tile_height)
        for row, column in found
        if counts[row, column] > 0
    ]


def _whole(count: int, step: float) -> IntArray:
    """The numbers below `count` whose product with `step` is whole."""
    places = np.arange(count) * step
    return np.flatnonzero(places == np.round(places))


def _by_openslide(
    handle: OpenSlide,
    corner: Size,
    level: int,
    size: Size,
    transform: ImageCms.ImageCmsTransform | None,
) -> Pixels | None:
    """What openslide shows of a tile; None where some of it is transparent."""
    downsample = handle.level_downsamples[level]
    place = (round(corner[0] * downsample), round(corner[1] * downsample))
    image = handle.read_region(place, level, size)
    if np.asarray(image)[..., 3].min() < 255:
        return None
    return to_rgb(image, WHITE, transform)

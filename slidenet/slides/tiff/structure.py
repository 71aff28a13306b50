"""Whether a TIFF can be what it claims: its lists, tiles and bytes agree. No pixel is read."""

import re

import numpy as np

from slidenet.core.arrays import IntArray
from slidenet.core.text import count_of
from slidenet.slides.limits import ReadingLimits
from slidenet.slides.tiff import tags
from slidenet.slides.tiff.directory import Directory
from slidenet.slides.tiff.index import TiffIndex
from slidenet.slides.tiff.ome import MOST_CHARACTERS

_HEADER_BYTES = 8
_MOST_LEVELS = 32
# "46000x32914 [42673,5576 2220x2967] (240x240) JPEG": scanned, cut out of it, in tiles of.
_APERIO_SIZES = re.compile(r"\n(?:\d+x\d+ \[\d+,\d+ )?(\d+)x(\d+)\]? \((\d+)x(\d+)\)")
_SLACK_BYTES = 8
"""Byte counts that are rounded up to words may reach this far into what follows."""


def find_fault(index: TiffIndex, limits: ReadingLimits, *, strips: bool = False) -> str | None:
    """Why a TIFF is not whole or lies, as a clause; None where nothing is known against it.

    The chain of directories, the levels of the slide, and the extents of every tiled page are
    looked at. A label or macro picture in strips may be damaged: it is never read.

    Args:
        index: The index.
        limits: Sides of tiles.
        strips: Whether pages in strips count, as they do where the slide is such a page.
    """
    if index.problems:
        return index.problems[0]
    description = len(index.directories[0].description)
    if description > MOST_CHARACTERS:
        return f"its description has {description:,} characters, more than {MOST_CHARACTERS:,}"
    picture = index.picture
    if len(picture.levels) > _MOST_LEVELS:
        return (
            f"it claims {len(picture.levels)} levels; {_MOST_LEVELS} halvings make any slide 1 px"
        )
    regions = _index_regions(index)
    levels = [page for planes in picture.planes for page in planes]
    for page in levels:
        fault = next(iter(page.problems), None) or _tile_side(page, limits)
        fault = fault or _extents(page, index.file_bytes, regions)
        if fault is not None:
            return f"{_name(page, index)}: {fault}"
    flipped = _flipped_bit(levels[0])
    if flipped is not None:
        return flipped
    if not levels[0].byte_counts.any():
        return f"no byte of its {levels[0].width}x{levels[0].height} px is stored"
    for page in _all_pages(index):
        if page not in levels and (page.is_tiled or strips):
            fault = _extents(page, index.file_bytes, regions)
            if fault is not None:
                return f"{_name(page, index)}: {fault}"
    return None


def _all_pages(index: TiffIndex) -> list[Directory]:
    return [page for one in index.directories for page in (one, *one.subifds)]


def _name(page: Directory, index: TiffIndex) -> str:
    pages = index.directories
    within = "" if page in pages else " (SubIFD)"
    return f"page {page.number}{within} of {page.width}x{page.height} px"


def _flipped_bit(page: Directory) -> str | None:
    """Whether a size is one bit off what the description of an Aperio slide says.

    A description that differs otherwise was kept by a program that cut the slide, and is no fault.
    """
    said = _APERIO_SIZES.search(page.description)
    if said is None:
        return None
    names = ("width", "height", "tile width", "tile height")
    sizes = (page.width, page.height, page.tile_width, page.tile_height)
    for name, size, text in zip(names, sizes, said.groups(), strict=True):
        if (size ^ int(text)).bit_count() == 1:
            return f"its {name} is {size} px, one bit off the {text} of its description"
    return None


def _tile_side(page: Directory, limits: ReadingLimits) -> str | None:
    if page.is_tiled and max(page.tile_width, page.tile_height) > limits.max_tile_px:
        return (
            f"its tiles have {page.tile_width}x{page.tile_height} px, more than "
            f"{limits.max_tile_px} (limit max_tile_px)"
        )
    return None


def _extents(page: Directory, file_bytes: int, regions: tuple[IntArray, IntArray]) -> str | None:
    """Whether the bytes of tiles or strips lie in the file, each in its own place.

    Args:
        page: The page.
        file_bytes: Size of the file.
        regions: Where the index lies, as starts and ends.
    """
    offsets, counts = page.offsets, page.byte_counts
    if len(offsets) != len(counts):
        return "its lists of tiles differ in length"
    what = "tile" if page.is_tiled else "strip"
    stored = counts != 0
    starts, lengths = offsets[stored], counts[stored]
    if not len(starts):
        return None
    ends = starts + lengths
    negative = (starts < 0) | (lengths < 0) | (ends < 0)
    if negative.any():
        return f"{count_of(what, int(negative.sum()))} should lie beyond any file's end"
    if int(ends.max()) > file_bytes:
        return f"pixel data should reach byte {int(ends.max())}, the file ends at {file_bytes}"
    in_header = int((starts < _HEADER_BYTES).sum())
    if in_header:
        return f"{count_of(what, in_header)} should lie in the header, before byte {_HEADER_BYTES}"
    wrong = _wrong_lengths(page, counts)
    if wrong:
        return (
            f"{count_of(what, wrong)} without compression hold other bytes than {page.tile_width}x"
            f"{page.tile_height} px take"
        )
    if (np.diff(starts) < 0).any():
        order = np.argsort(starts, kind="stable")
        starts, ends = starts[order], ends[order]
    slack = 0 if page.compression == tags.NONE else _SLACK_BYTES
    overlapping = _overlaps(starts, ends, slack)
    if overlapping:
        return f"the bytes of {count_of(what, overlapping)} overlap those of others"
    if _cover(starts, ends - slack, regions):
        return f"the bytes of a {what} should lie where the file's own lists lie"
    return None


def _wrong_lengths(page: Directory, counts: IntArray) -> int:
    """How many uncompressed tiles or strips hold less than their pixels take, or all tiles more."""
    if page.compression != tags.NONE or page.photometric == tags.YCBCR:
        return 0
    if len(counts) != page.num_tiles:
        return 0  # a page that nobody reads; of levels it was said before
    down = page.grid[1]
    needed = np.full(len(counts), page.decoded_bytes(0))
    needed[down - 1 :: down] = page.decoded_bytes(down - 1)  # the last strip is shorter
    stored = counts != 0
    if page.is_tiled and (counts > needed)[stored].all():
        return int(stored.sum())
    return int((counts < needed)[stored].sum())


def _overlaps(starts: IntArray, ends: IntArray, slack: int) -> int:
    """How many tiles, in the order of the file, begin inside the one before.

    Equal tiles may share their bytes.
    """
    other = starts[1:] != starts[:-1]
    return int((other & (starts[1:] + slack < ends[:-1])).sum())


def _index_regions(index: TiffIndex) -> tuple[IntArray, IntArray]:
    """Starts and ends of all directories and lists of tiles."""
    regions = []
    for page in _all_pages(index):
        regions.append((page.offset, page.end))
        for stored in (page.stored_offsets, page.stored_byte_counts):
            if stored is not None:
                regions.append((stored.position, stored.position + stored.num_bytes))
    begin, end = np.array(regions, np.int64).T
    return begin, end


def _cover(starts: IntArray, ends: IntArray, regions: tuple[IntArray, IntArray]) -> bool:
    """Whether a tile lies over a region; tiles are in the order of the file."""
    begin, end = regions
    last = np.searchsorted(starts, end) - 1  # the last tile that begins before a region ends
    return bool(((last >= 0) & (ends[last] > begin)).any())

"""Which files the tiled reader takes: an exact list of layouts, and why others are declined.

On the list are layouts whose pixels were compared with openslide's bit for bit. Everything else
(overlapping tiles, canvases, whole levels in one JPEG, samples that mean something else) is left to
openslide, which knows the vendors.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from openslide import OpenSlide

from slidenet.slides.limits import current_limits
from slidenet.slides.readers.base import ReaderDeclinedError
from slidenet.slides.readers.tiled.decoders import DECODABLE
from slidenet.slides.tiff import Directory, TiffIndex, tags

GENERIC, APERIO, PHILIPS = "generic-tiff", "aperio", "philips"

_OPENSLIDE_CODECS = {
    tags.NONE, tags.LZW, tags.JPEG, tags.DEFLATE, tags.OLD_DEFLATE, tags.PACKBITS, tags.ZSTD,
}  # fmt: skip
_APERIO_CODECS = {tags.APERIO_J2K_YCBCR, tags.APERIO_J2K_RGB}
_WITH_PREDICTOR = {tags.LZW, tags.DEFLATE, tags.OLD_DEFLATE, tags.ZSTD, tags.LZMA}
_ALSO_UNKNOWN = {"generic-tiff": GENERIC, "ome": GENERIC, "aperio": APERIO}
"""Families whose files are also read where openslide does not know them (big-endian ones)."""
_REDUCED = 1
_PLAIN = ("generic-tiff", "ome")


@dataclass(frozen=True, slots=True)
class TiledLayout:
    """The levels of a file on the list.

    Attributes:
        vendor: openslide's word for the format.
        levels: Directory of each level, largest first.
        num_openslide_levels: How many of them openslide has too; 0 where it cannot open the file,
            or shows another page.
        description: What the file says about itself: of OME-TIFF the first page says it of all.
        planes: For each level the three grey pages that are its red, green and blue, also where
            one page keeps them in tiles of their own; empty where its tiles hold all colours.
    """

    vendor: str
    levels: tuple[Directory, ...]
    num_openslide_levels: int
    description: str
    planes: tuple[tuple[Directory, ...], ...] = ()


def is_tiled_tiff(path: Path) -> bool:
    """Whether the slide of a file is stored as tiles; NDPI, which has none, is left out."""
    index = TiffIndex.read(path)
    if index is None or index.ndpi or not index.directories:
        return False
    return index.picture.levels[0].is_tiled


def is_picture_elsewhere(index: TiffIndex) -> bool:
    """Whether the slide of a plain TIFF is not its first page alone, which openslide shows."""
    picture = index.picture
    if picture.family not in _PLAIN:
        return False
    return len(picture.planes[0]) > 1 or picture.levels[0] is not index.directories[0]


def find_layout(path: Path, index: TiffIndex | None) -> TiledLayout:
    """The layout of a tiled TIFF.

    Args:
        path: The file.
        index: Its index; None where it is no TIFF.

    Raises:
        ReaderDeclinedError: It is not on the list; the reason is a clause.
    """
    if index is None or index.problems or not index.directories:
        raise ReaderDeclinedError((*(index.problems if index else ()), "it is no TIFF")[0])
    vendor = OpenSlide.detect_format(path)
    planes: tuple[tuple[Directory, ...], ...] = ()
    if vendor in {APERIO, PHILIPS}:
        levels = tuple(page for page in index.directories if page.is_tiled)
        num_openslide_levels = len(levels)
    elif vendor == GENERIC and not is_picture_elsewhere(index):
        levels, num_openslide_levels = _generic_levels(index)
    elif vendor == GENERIC or (vendor is None and index.picture.family in _ALSO_UNKNOWN):
        levels, num_openslide_levels = index.picture.levels, 0
        planes = index.picture.planes if len(index.picture.planes[0]) > 1 else ()
        vendor = vendor or _ALSO_UNKNOWN[index.picture.family]
    else:
        raise ReaderDeclinedError(
            f"the tiles of {vendor or index.picture.family} slides overlap or lie on a canvas"
        )
    if vendor == GENERIC and not planes and all(map(_is_planar_rgb, levels)):
        planes = tuple(_colours_of(page) for page in levels)
        levels = tuple(red for red, *_ in planes)
    for number, page in enumerate(levels):
        reason = _why_not(page)
        if reason is not None:
            raise ReaderDeclinedError(f"of level {number} {reason}")
    codecs = {page.compression for page in levels}
    known = _OPENSLIDE_CODECS | (_APERIO_CODECS if vendor == APERIO else set())
    if not codecs <= known:
        num_openslide_levels = 0
    first = index.directories[0] if index.picture.ome else levels[0]
    return TiledLayout(vendor, levels, num_openslide_levels, first.description, planes)


def _generic_levels(index: TiffIndex) -> tuple[tuple[Directory, ...], int]:
    """Level 0 and its reduced copies: pages, as openslide has it, else SubIFDs (OME-TIFF)."""
    first, *others = index.directories
    copies = [page for page in others if page.is_tiled and page.subfile_type & _REDUCED]
    num_openslide_levels = 1 + len(copies)
    if not copies:
        chosen = {id(page) for page in index.picture.levels}
        copies = [page for page in first.subifds if id(page) in chosen]
    levels = (first, *sorted(copies, key=lambda page: -page.width))
    if len({page.width for page in levels}) < len(levels):
        raise ReaderDeclinedError("two of its levels are equally wide")
    if levels[0].width != max(page.width for page in levels):
        raise ReaderDeclinedError("a later page is larger than the first")
    return levels, num_openslide_levels


def _is_planar_rgb(page: Directory) -> bool:
    """Whether red, green and blue lie in tiles of their own, and no tile is missing."""
    return (
        page.planar == tags.PLANAR
        and (page.samples, page.photometric) == (3, tags.RGB)
        and bool(page.byte_counts.all())
    )


def _colours_of(page: Directory) -> tuple[Directory, ...]:
    """Red, green and blue of a page with colours in tiles of their own, as grey pages."""
    offsets, counts = page.stored_offsets, page.stored_byte_counts
    assert offsets is not None, "its lists were checked"
    assert counts is not None, "its lists were checked"
    return tuple(
        replace(
            page,
            samples=1,
            photometric=tags.MIN_IS_BLACK,
            planar=tags.CHUNKY,
            stored_offsets=offsets.part(colour, 3),
            stored_byte_counts=counts.part(colour, 3),
        )
        for colour in range(3)
    )


def _why_not(page: Directory) -> str | None:
    """Why the pixels of a level might not be openslide's, as what follows "of level 0"."""
    if page.problems:
        return f"the directory is damaged: {page.problems[0]}"
    most = current_limits().max_tile_px
    if max(page.tile_width, page.tile_height) > most:
        return f"tiles have more than {most} px a side (limit max_tile_px)"
    if page.compression not in DECODABLE:
        return f"tiles are compressed by {page.codec}"
    if page.bits != 8 or page.sample_format != tags.UNSIGNED:
        return f"samples are no unsigned bytes ({page.bits} bits)"
    if page.orientation != 1:
        return f"the orientation is {page.orientation}"
    if page.planar != tags.CHUNKY or page.depth != 1 or page.fill_order != 1:
        return "samples are not side by side"
    allowed = {1: {tags.MIN_IS_BLACK}, 3: {tags.RGB}}.get(page.samples, set())
    if page.samples == 3 and page.compression in {tags.JPEG, *_APERIO_CODECS}:
        allowed = {tags.RGB, tags.YCBCR}
    if page.extra_samples:
        return f"{page.samples} samples per pixel are colours and a further sample (alpha)"
    if page.photometric not in allowed:
        words = tags.PHOTOMETRICS.get(page.photometric, str(page.photometric))
        return f"{page.samples} samples per pixel mean {words}"
    if page.predictor != 1 and (page.predictor != 2 or page.compression not in _WITH_PREDICTOR):
        return f"samples have predictor {page.predictor}"
    return None

"""Whether the tiles of a TIFF begin as its header says: the codec, and the frame of a JPEG.

One flipped bit turns JPEG into deflate, or RGB into YCbCr, in the header alone. The first bytes of
a few tiles of each level tell; where only some of them disagree, those tiles are damaged and not
the header.
"""

from pathlib import Path

import imagecodecs
import numpy as np

from slidenet.core.arrays import IntArray
from slidenet.slides.admission.jpeg_header import JpegFrame, jpeg_frame
from slidenet.slides.tiff import Directory, tags

_MOST_TILES = 8
_HEAD_BYTES = 2048
_MOST_DECODED = 3
_MOST_DECODED_BYTES = 1 << 26
_BOX = b"\x00\x00\x00\x0c"

_BEGINNINGS: dict[int, tuple[bytes, ...]] = {
    tags.JPEG: (b"\xff\xd8",),
    tags.APERIO_J2K_YCBCR: (b"\xff\x4f\xff\x51", _BOX),
    tags.APERIO_J2K_RGB: (b"\xff\x4f\xff\x51", _BOX),
    tags.JPEG2000: (b"\xff\x4f\xff\x51", _BOX),
    34925: (b"\xfd7zXZ",),
    34926: (b"\x28\xb5\x2f\xfd",),
    50000: (b"\x28\xb5\x2f\xfd",),
    34927: (b"RIFF",),
    50001: (b"RIFF",),
    50002: (b"\xff\x0a", _BOX),
}

_DECOMPRESSORS = {
    tags.LZW: imagecodecs.lzw_decode,
    tags.DEFLATE: imagecodecs.zlib_decode,
    tags.OLD_DEFLATE: imagecodecs.zlib_decode,
    tags.PACKBITS: imagecodecs.packbits_decode,
    34925: imagecodecs.lzma_decode,
    50000: imagecodecs.zstd_decode,
}

_MOST_RATIO = {tags.DEFLATE: 1100, tags.OLD_DEFLATE: 1100, tags.LZW: 3000, tags.PACKBITS: 70}
"""No codec shrinks data to less than one in so many bytes."""


def find_foreign_tiles(path: Path, page: Directory) -> str | None:
    """What the tiles of a page contradict in its header, as a clause; None where nothing.

    Args:
        path: The file.
        page: A page whose lists of tiles were checked.

    Raises:
        OSError: The file cannot be read.
    """
    heads = _heads(path, page)
    if not heads:
        return None
    fault = _foreign_codec(page, heads)
    if fault is None and page.compression == tags.JPEG:
        return _foreign_frames(page, heads)
    return fault or _foreign_length(path, page)


def _foreign_length(path: Path, page: Directory) -> str | None:
    """Whether a few tiles or strips decompress to other sizes than their pixels take.

    libtiff takes as much as it expects and leaves the rest: a strip of a wrong width is shown with
    its rows shifted against each other.
    """
    decompress = _DECOMPRESSORS.get(page.compression)
    if decompress is None or page.photometric == tags.YCBCR:
        return None
    found = []
    for place in _spread(page, _MOST_DECODED):
        expected = page.decoded_bytes(int(place))
        count = int(page.byte_counts[place])
        if expected > count * _MOST_RATIO.get(page.compression, expected):
            return f"its data of {count} bytes cannot hold the {expected} that its pixels take"
        if expected > _MOST_DECODED_BYTES or count > 2 * expected + _HEAD_BYTES:
            continue
        with path.open("rb") as file:
            file.seek(int(page.offsets[place]))
            payload = file.read(count)
        try:
            length = len(decompress(payload, out=max(16 * expected, 65536)))
        except (RuntimeError, ValueError):
            continue  # damaged: the next one may tell
        found.append((length, expected))
    if not found or any(length == expected for length, expected in found):
        return None
    length, expected = found[0]
    return f"its data decompresses to {length} bytes where {expected} belong"


def _spread(page: Directory, most: int) -> IntArray:
    """A few stored tiles, spread over the page."""
    stored = np.flatnonzero(page.byte_counts)
    places: IntArray = stored[np.linspace(0, len(stored) - 1, min(len(stored), most)).astype(int)]
    return places


def _heads(path: Path, page: Directory) -> list[bytes]:
    """The first bytes of a few stored tiles, spread over the page."""
    heads = []
    with path.open("rb") as file:
        for place in _spread(page, _MOST_TILES):
            file.seek(int(page.offsets[place]))
            heads.append(file.read(min(int(page.byte_counts[place]), _HEAD_BYTES)))
    return heads


def _foreign_codec(page: Directory, heads: list[bytes]) -> str | None:
    if page.compression not in (*_BEGINNINGS, *_DECOMPRESSORS):
        return _known_codec(page, heads)
    if page.compression in (tags.DEFLATE, tags.OLD_DEFLATE):
        foreign = [not _begins_as_zlib(head) for head in heads]
    elif page.compression == tags.LZW:
        foreign = [not _begins_as_lzw(head) for head in heads]
    elif page.compression in _BEGINNINGS:
        foreign = [not head.startswith(_BEGINNINGS[page.compression]) for head in heads]
    else:
        return None
    if not all(foreign):
        return None
    what = "zeros" if not any(map(any, heads)) else "something else"
    return f"its tiles should be compressed by {page.codec}, but hold {what}"


def _known_codec(page: Directory, heads: list[bytes]) -> str | None:
    """What data of a codec without a beginning of its own (none at all) is known to be instead."""
    for codec in (tags.JPEG, tags.JPEG2000):
        if all(head[:4].startswith(_BEGINNINGS[codec]) and any(head[2:4]) for head in heads):
            name = tags.compression_name(codec)
            return f"its tiles should be compressed by {page.codec}, but hold {name}"
    return None


def _begins_as_zlib(head: bytes) -> bool:
    return len(head) >= 2 and head[0] & 15 == 8 and int.from_bytes(head[:2], "big") % 31 == 0


def _begins_as_lzw(head: bytes) -> bool:
    """A code of nine bits that clears the table, or the same in the order of old files."""
    return len(head) >= 2 and ((head[0] == 0x80 and head[1] < 0x80) or head[:2] == b"\x00\x01")


def _foreign_frames(page: Directory, heads: list[bytes]) -> str | None:
    frames = [frame for head in heads if (frame := jpeg_frame(head)) is not None]
    if not frames:
        return None
    samples = page.samples if page.planar == tags.CHUNKY else 1
    first = frames[0]
    if all(len(frame.components) != samples for frame in frames):
        return f"its JPEG data has {len(first.components)} samples per pixel, its header {samples}"
    if all(frame.bits != page.bits for frame in frames):
        return f"its JPEG data has {first.bits} bits per sample, its header {page.bits}"
    if page.is_tiled and all(_other_size(frame, page) for frame in frames):
        return (
            f"its JPEG tiles have {first.width}x{first.height} px, its header says "
            f"{page.tile_width}x{page.tile_height} px"
        )
    # Hamamatsu writes 0 where a side does not fit into the 16 bits of JPEG.
    if not page.is_tiled and all(frame.width not in (0, page.width) for frame in frames):
        return f"its JPEG data is {first.width} px wide, its header says {page.width}"
    is_whole = page.num_tiles == 1
    if is_whole and not page.is_tiled and first.height not in (0, page.height):
        return f"its JPEG data is {first.height} px high, its header says {page.height}"
    if page.photometric == tags.RGB and all(frame.is_subsampled for frame in frames):
        return "its header says RGB, but the chroma of its JPEG data is subsampled as in YCbCr"
    return None


def _other_size(frame: JpegFrame, page: Directory) -> bool:
    return (frame.width, frame.height) != (page.tile_width, page.tile_height)

"""Damage that Pillow's decoders draw over: JPEG and deflate data of flat images, read strictly.

Pillow shows what libjpeg makes of zeros and flipped bits, and what libtiff has of a strip before
its stream breaks. Strict decoders notice both.
"""

import zlib
from pathlib import Path

from slidenet.core.arrays import UInt8Array
from slidenet.slides.readers.tiled.jpeg import check_strip, decode_whole
from slidenet.slides.readers.tiled.payload import PayloadError
from slidenet.slides.tiff import Directory, tags

_JPEG_BLOCK = 16
_DEFLATE = (tags.DEFLATE, tags.OLD_DEFLATE)


def strict_jpeg(path: Path, *, grey: bool) -> UInt8Array:
    """The pixels of a JPEG file as they lie in it, uint8 (height, width, 3) or (height, width).

    Raises:
        ValueError: It is damaged.
    """
    pixels = decode_whole(path.read_bytes(), grey=grey)
    return pixels[..., 0] if grey else pixels


def check_strips(path: Path, page: Directory) -> None:
    """Decodes each strip or tile of a page under JPEG or deflate, and keeps nothing.

    Raises:
        ValueError: One is damaged.
    """
    if page.compression not in (tags.JPEG, *_DEFLATE):
        return
    # A page in one strip may say "2**32 - 1 rows per strip".
    rows = page.tile_height if page.is_tiled else min(page.tile_height, page.height + _JPEG_BLOCK)
    with path.open("rb") as file:
        for place, (offset, count) in enumerate(zip(page.offsets, page.byte_counts, strict=True)):
            file.seek(int(offset))
            payload = file.read(int(count))
            try:
                if page.compression == tags.JPEG:
                    check_strip(payload, page.jpeg_tables, page.tile_width * rows)
                else:
                    _check_deflate(payload, page.decoded_bytes(place), page.decoded_bytes(0))
            except (PayloadError, ValueError, zlib.error) as error:
                kind = "tile" if page.is_tiled else "strip"
                raise ValueError(f"{kind} {place}: {error}") from error


def _check_deflate(payload: bytes, expected: int, most: int) -> None:
    """Raises ValueError for a stream that breaks, or does not end with its pixels.

    A last strip may be as long as the others.
    """
    stream = zlib.decompressobj()
    written = len(stream.decompress(payload, most + 1))
    if not (stream.eof and written >= expected):
        raise ValueError(f"its data does not end with the {expected} bytes of its pixels")

"""Damage that Pillow's decoders draw over: JPEG and deflate data of flat images, read strictly.

Pillow shows what libjpeg makes of zeros and flipped bits, and what libtiff has of a strip before
its stream breaks. Strict decoders notice both.
"""

import zlib
from pathlib import Path

from slidenet.core.arrays import UInt8Array
from slidenet.slides.readers.tiled.jpeg import decode_whole, with_tables
from slidenet.slides.readers.tiled.payload import PayloadError
from slidenet.slides.tiff import Directory, tags

_DEFLATE = (tags.DEFLATE, tags.OLD_DEFLATE)


def strict_jpeg(path: Path, *, grey: bool) -> UInt8Array:
    """The pixels of a JPEG file as they lie in it, uint8 (height, width, 3) or (height, width).

    Raises:
        ValueError: It is damaged.
    """
    pixels = decode_whole(path.read_bytes(), "GRAY" if grey else "RGB")
    return pixels[..., 0] if grey else pixels


def check_strips(path: Path, page: Directory) -> None:
    """Decodes each strip or tile of a page under JPEG or deflate, and keeps nothing.

    Raises:
        ValueError: One is damaged.
    """
    if page.compression not in (tags.JPEG, *_DEFLATE):
        return
    with path.open("rb") as file:
        for place, (offset, count) in enumerate(zip(page.offsets, page.byte_counts, strict=True)):
            file.seek(int(offset))
            payload = file.read(int(count))
            try:
                if page.compression == tags.JPEG:
                    decode_whole(with_tables(payload, page.jpeg_tables), "")
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

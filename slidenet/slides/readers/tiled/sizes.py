"""The size that a compressed picture claims, read from its first bytes.

Decoders allocate what a header claims; a header is compared with the index of the file before any
of them sees it.
"""

import struct

from slidenet.slides.readers.tiled.payload import (
    PayloadError,
    TileFormat,
    UnknownKindError,
)

_SIZ = b"\xff\x4f\xff\x51"
_EOC = b"\xff\xd9"
_ZEROS_OF_DAMAGE = 64
"""More zeros at the end than compressed data has by itself."""
_JXL_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}
_JXL_BITS = (9, 13, 18, 30)


def check_jpeg_2000(payload: bytes, stored: TileFormat) -> None:
    """Compares size, samples and bits of a JPEG 2000 codestream with the index.

    Raises:
        PayloadError: They differ, chroma is stored at a lower resolution, or it ends in zeros.
    """
    start = payload.find(_SIZ)
    if start < 0 or len(payload) < start + 42:
        raise PayloadError("it does not begin as JPEG 2000")
    right, bottom, left, top = struct.unpack_from(">4I", payload, start + 8)
    (samples,) = struct.unpack_from(">H", payload, start + 40)
    stored.check_size(right - left, bottom - top, samples)
    components = payload[start + 42 : start + 42 + 3 * samples]
    if components[0::3] != b"\x07" * samples:
        raise UnknownKindError("JPEG 2000 of other than 8 bits per sample")
    if set(components[1::3] + components[2::3]) != {1}:
        raise UnknownKindError("JPEG 2000 with chroma at a lower resolution")
    _check_end(payload, _EOC)


def check_webp(payload: bytes, stored: TileFormat) -> None:
    """Compares the size of a WebP picture with the index.

    Raises:
        PayloadError: They differ, it is no WebP, or it ends in zeros.
    """
    if payload[:4] != b"RIFF" or payload[8:12] != b"WEBP" or len(payload) < 30:
        raise PayloadError("it does not begin as WebP")
    kind = payload[12:16]
    if kind == b"VP8X":
        width = int.from_bytes(payload[24:27], "little") + 1
        height = int.from_bytes(payload[27:30], "little") + 1
    elif kind == b"VP8L":
        packed = int.from_bytes(payload[21:25], "little")
        width, height = (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1
    elif kind == b"VP8 ":
        width, height = (v & 0x3FFF for v in struct.unpack_from("<HH", payload, 26))
    else:
        raise PayloadError(f"WebP of an unknown kind {kind!r}")
    stored.check_size(width, height)
    _check_end(payload[: 8 + int.from_bytes(payload[4:8], "little")])


def check_jpeg_xl(payload: bytes, stored: TileFormat) -> None:
    """Compares the size of a JPEG XL picture with the index.

    Raises:
        PayloadError: They differ, or it is no JPEG XL.
    """
    start = 0
    if payload[4:8] == b"JXL ":
        boxes = [at for at in (payload.find(b"jxlc"), payload.find(b"jxlp")) if at >= 0]
        # A part ("jxlp") begins with its number, 4 bytes.
        start = min(boxes) + (4 if payload[min(boxes) :][:4] == b"jxlc" else 8) if boxes else -1
    if start < 0 or payload[start : start + 2] != b"\xff\x0a":
        raise PayloadError("it does not begin as JPEG XL")
    bits = _Bits(payload[start + 2 : start + 14])
    small = bits.take(1)
    height = 8 * (bits.take(5) + 1) if small else bits.take(_JXL_BITS[bits.take(2)]) + 1
    ratio = bits.take(3)
    if ratio:
        numerator, denominator = _JXL_RATIOS[ratio]
        width = height * numerator // denominator
    else:
        width = 8 * (bits.take(5) + 1) if small else bits.take(_JXL_BITS[bits.take(2)]) + 1
    stored.check_size(width, height)


def _check_end(payload: bytes, marker: bytes = b"") -> None:
    """Refuses data whose end was never written, which these decoders take for pixels.

    Copies that were broken off after their size had been allocated end so. Zeros behind the end
    marker are padding.

    Raises:
        PayloadError: It ends in zeros.
    """
    data = payload.rstrip(b"\0")
    if len(payload) - len(data) >= _ZEROS_OF_DAMAGE and not (marker and data.endswith(marker)):
        raise PayloadError(f"its last {len(payload) - len(data)} bytes are zeros, not data")


class _Bits:
    """Takes numbers from bytes, lowest bits first."""

    def __init__(self, data: bytes) -> None:
        self._rest = int.from_bytes(data, "little")

    def take(self, count: int) -> int:
        value = self._rest & ((1 << count) - 1)
        self._rest >>= count
        return value

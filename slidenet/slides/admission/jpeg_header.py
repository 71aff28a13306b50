"""What the header of a JPEG stream says about its colours."""

import struct
from dataclasses import dataclass

_START, _SCAN, _APP0, _APP14 = 0xD8, 0xDA, 0xE0, 0xEE
_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH = {0x01, _START, *range(0xD0, 0xD8)}


@dataclass(frozen=True, slots=True)
class JpegColours:
    """How the three components of a JPEG stream make a colour.

    Attributes:
        colours: "RGB" or "YCbCr".
        evidence: What in the stream says so.
    """

    colours: str
    evidence: str


def jpeg_colours(stream: bytes) -> JpegColours | None:
    """The colours a stream of three components says it holds; None where it does not say.

    Three components without any mark are usually YCbCr, but DICOM and TIFF say in their own
    header what such a stream is.

    Args:
        stream: The start of a stream, up to its first scan.
    """
    components: list[tuple[int, int]] = []
    jfif = False
    adobe: int | None = None
    place = 2 if stream[:2] == b"\xff\xd8" else len(stream)
    while place + 4 <= len(stream) and stream[place] == 0xFF:
        marker = stream[place + 1]
        if marker == 0xFF:  # fill byte
            place += 1
            continue
        if marker in _WITHOUT_LENGTH:
            place += 2
            continue
        if marker == _SCAN:
            break
        (length,) = struct.unpack_from(">H", stream, place + 2)
        body = stream[place + 4 : place + 2 + length]
        if marker == _APP0:
            jfif |= body.startswith(b"JFIF")
        elif marker == _APP14 and body.startswith(b"Adobe") and len(body) >= 12:
            adobe = body[11]
        elif marker in _FRAMES and len(body) >= 6:
            ends = range(6, min(6 + 3 * body[5], len(body) - 2), 3)
            components = [(body[i], body[i + 1]) for i in ends]
        place += 2 + length
    if len(components) != 3:
        return None
    if adobe is not None:
        name = {0: "RGB", 1: "YCbCr"}.get(adobe)
        return None if name is None else JpegColours(name, f"Adobe marker with transform {adobe}")
    if bytes(name for name, _ in components) == b"RGB":
        return JpegColours("RGB", "its components are named R, G and B")
    if len({sampling for _, sampling in components}) > 1:
        return JpegColours("YCbCr", "its chroma is subsampled")
    return JpegColours("YCbCr", "a JFIF header") if jfif else None

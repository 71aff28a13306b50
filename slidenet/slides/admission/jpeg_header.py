"""What the header of a JPEG or JPEG 2000 stream says about its size and its colours."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

_SIZ, _COD = b"\xff\x4f\xff\x51", 0x52  # of JPEG 2000
_START, _SCAN, _APP0, _APP14 = 0xD8, 0xDA, 0xE0, 0xEE
_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_LAST_HUFFMAN = 0xC7
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


@dataclass(frozen=True, slots=True)
class JpegFrame:
    """The frame header of a JPEG stream.

    Attributes:
        width: Pixels across.
        height: Pixels down; 0 where the stream says it only at its end.
        bits: Bits of each sample.
        components: (name, sampling across, sampling down) of each component.
        coding: "Huffman", "arithmetic" or "lossless".
    """

    width: int
    height: int
    bits: int
    components: tuple[tuple[int, int, int], ...]
    coding: str = "Huffman"

    @property
    def is_subsampled(self) -> bool:
        """Whether its components have different resolutions."""
        return len({component[1:] for component in self.components}) > 1


def jpeg_frame(stream: bytes) -> JpegFrame | None:
    """The frame header of a stream; None where its start holds none.

    Args:
        stream: The start of a stream, up to its first scan.
    """
    for marker, body in _segments(stream):
        if marker in _FRAMES and len(body) >= 6:
            bits, height, width, count = struct.unpack_from(">BHHB", body)
            ends = range(6, min(6 + 3 * count, len(body) - 2), 3)
            components = tuple((body[i], body[i + 1] >> 4, body[i + 1] & 15) for i in ends)
            coding = "Huffman" if marker <= _LAST_HUFFMAN else "arithmetic"
            coding = "lossless" if marker & 3 == 3 else coding
            return JpegFrame(width, height, bits, components, coding)
    return None


def jpeg_colours(stream: bytes) -> JpegColours | None:
    """The colours a stream of three components says it holds; None where it does not say.

    Three components without any mark are usually YCbCr, but DICOM and TIFF say in their own
    header what such a stream is.

    Args:
        stream: The start of a stream, up to its first scan.
    """
    frame = jpeg_frame(stream)
    if frame is None or len(frame.components) != 3:
        return None
    jfif = False
    adobe: int | None = None
    for marker, body in _segments(stream):
        if marker == _APP0:
            jfif |= body.startswith(b"JFIF")
        elif marker == _APP14 and body.startswith(b"Adobe") and len(body) >= 12:
            adobe = body[11]
    if adobe is not None:
        name = {0: "RGB", 1: "YCbCr"}.get(adobe)
        return None if name is None else JpegColours(name, f"Adobe marker with transform {adobe}")
    if bytes(component[0] for component in frame.components) == b"RGB":
        return JpegColours("RGB", "its components are named R, G and B")
    if frame.is_subsampled:
        return JpegColours("YCbCr", "its chroma is subsampled")
    return JpegColours("YCbCr", "a JFIF header") if jfif else None


def has_colour_transform(stream: bytes) -> bool:
    """Whether a JPEG 2000 codestream says that its components are RGB, transformed within it.

    Args:
        stream: The start of a codestream, in a file of boxes or alone.
    """
    place = stream.find(_SIZ) + 2
    while place >= 2 and place + 9 <= len(stream) and stream[place] == 0xFF:
        if stream[place + 1] == _COD:
            return stream[place + 8] == 1
        place += 2 + int.from_bytes(stream[place + 2 : place + 4], "big")
    return False


def _segments(stream: bytes) -> Iterator[tuple[int, bytes]]:
    """(marker, content) of each segment up to the first scan."""
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
            return
        (length,) = struct.unpack_from(">H", stream, place + 2)
        yield marker, stream[place + 4 : place + 2 + length]
        place += 2 + length

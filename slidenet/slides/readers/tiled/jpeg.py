"""JPEG tiles, decoded to the very pixels that openslide gives.

openslide hands libjpeg-turbo the tables and the tile and tells it the colour space that the TIFF
index names. A decoder that takes a whole JPEG learns the colour space from markers instead, so the
tile is put together as one: the APP14 marker that says what the index says, the tables, the tile.
Without that marker RGB tiles (Aperio's) come out wrong by 48 grey levels and no decoder complains.

Only `simplejpeg` in its strict mode decodes here: other decoders (also fast modes of the same
library) have other pixels, and notice a quarter of the damage that it notices.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import simplejpeg

from slidenet.slides.readers.tiled.payload import (
    Decoded,
    PayloadError,
    TileFormat,
    UnknownKindError,
)
from slidenet.slides.resampling import resized
from slidenet.slides.tiff.tags import RGB

_SOI, _EOI = b"\xff\xd8", b"\xff\xd9"
_APP0, _APP14, _SOS = 0xE0, 0xEE, 0xDA
_FRAMES = {0xC0, 0xC1, 0xC2}  # baseline, extended, progressive; all of Huffman
_OTHER_FRAMES = {0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF, 0xF7}
_MAX_SEGMENTS = 200


@dataclass(frozen=True, slots=True)
class _Header:
    """What comes before the first scan of a tile.

    Attributes:
        stored: The bytes as they are stored.
        kept: The same without the markers that name a colour space.
        most_shrink: At how small a part of the size the decoder should decode. Where colours are
            sampled differently across and down (4:2:2, 4:4:0, 4:1:1) it shrinks them more than it
            must: at 1/4 such pixels are as far from averaged areas as a shift by one pixel.
    """

    stored: bytes
    kept: bytes
    most_shrink: int = 8


class JpegDecoder:
    """Decodes the JPEG tiles of one level; several threads may use it at the same time.

    Args:
        stored: How the tiles are stored.

    Raises:
        PayloadError: The common tables are no JPEG.
    """

    def __init__(self, stored: TileFormat) -> None:
        self._format = stored
        marker = b"" if stored.samples == 1 else _adobe_marker(stored.photometric != RGB)
        tables = b""
        if stored.jpeg_tables:
            if stored.jpeg_tables[:2] != _SOI or stored.jpeg_tables[-2:] != _EOI:
                raise PayloadError("the common JPEG tables are cut off")
            tables = _without_colour_markers(stored.jpeg_tables[2:-2])
        self._prefix = _SOI + marker + tables
        self._last = _Header(b"", b"")

    def decode(self, payload: bytes, out: Decoded | None = None, shrink: int = 1) -> Decoded:
        """Pixels of one tile.

        Args:
            payload: The bytes stored.
            out: Array to write to, C-contiguous; None makes one.
            shrink: 2, 4 or 8 decode at that part of the size, in the decoder's own way where its
                colours allow it; else areas are averaged.

        Returns:
            uint8 (height / shrink, width / shrink, 3), RGB.

        Raises:
            PayloadError: It is damaged, or not the JPEG that the index promises.
        """
        whole, most_shrink = self._complete(payload)
        if shrink > most_shrink:
            pixels = resized(
                self.decode(payload), (self._format.width // shrink, self._format.height // shrink)
            )
            if out is None:
                return pixels
            out[:] = pixels
            return out
        try:
            return self._decoded(whole, out, shrink)
        except ValueError as error:
            if "extraneous bytes" in str(error):
                unpadded = _without_padding(whole)
                if unpadded is not None:
                    try:
                        return self._decoded(unpadded, out, shrink)
                    except ValueError:
                        pass  # the zeros stood for data: the first error is the true one
            raise PayloadError(f"JPEG: {error}") from error

    def _decoded(self, whole: bytes, out: Decoded | None, shrink: int) -> Decoded:
        height, width = self._format.height // shrink, self._format.width // shrink
        if shrink == 1:
            pixels = simplejpeg.decode_jpeg(whole, "RGB", buffer=out)
        else:
            pixels = simplejpeg.decode_jpeg(
                whole, "RGB", min_height=height, min_width=width, min_factor=shrink, buffer=out
            )
        assert pixels.shape == (height, width, 3), "the header was checked"
        return pixels  # type: ignore[no-any-return]

    def _complete(self, payload: bytes) -> tuple[bytes, int]:
        """A JPEG of its own (colour marker, tables, tile), and how much it may be shrunk."""
        header = self._last
        if not header.stored or not payload.startswith(header.stored):
            # Tiles of one level have the same header but for tables of their own.
            header = self._last = _read_header(payload, self._format)
        rest = memoryview(payload)[len(header.stored) :]
        return b"".join((self._prefix, header.kept, rest)), header.most_shrink


def _adobe_marker(is_ycbcr: bool) -> bytes:
    """The APP14 segment that tells libjpeg the colour space."""
    return b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00" + bytes([is_ycbcr])


def _read_header(payload: bytes, stored: TileFormat) -> _Header:
    """Walks the segments up to the first scan and compares the frame with the index."""
    if payload[:2] != _SOI:
        raise PayloadError("it does not begin as a JPEG")
    kept: list[bytes] = []
    position = 2
    frame = b""
    for marker, start, end in _segments(payload, 2):
        if marker in _OTHER_FRAMES:
            raise UnknownKindError(f"JPEG of a kind that is not read (marker {marker:#x})")
        if marker in _FRAMES:
            frame = payload[start + 4 : end]
            _check_frame(frame, stored)
        if marker == _SOS:
            if not frame:
                raise PayloadError("JPEG without a frame header")
            sampling = frame[7::3] if stored.samples == 3 else b"\x11"
            sides = max(v >> 4 for v in sampling), max(v & 15 for v in sampling)
            most_shrink = {1: 8, 2: 2}.get(max(sides) // max(min(sides), 1), 1)
            return _Header(payload[:position], b"".join(kept), most_shrink)
        if marker not in {_APP0, _APP14}:
            kept.append(payload[start:end])
        position = end
    raise PayloadError("JPEG that ends before its first scan")


def _segments(data: bytes, position: int) -> Iterator[tuple[int, int, int]]:
    """(marker, start, end) of each segment; ends where the data does or no marker follows."""
    for _ in range(_MAX_SEGMENTS):
        while data[position : position + 2] == b"\xff\xff":
            position += 1  # fill bytes
        if position + 4 > len(data):
            return
        if data[position] != 0xFF:
            raise PayloadError(f"JPEG whose byte {position} should begin a segment")
        end = position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        if end > len(data):
            return
        yield data[position + 1], position, end
        position = end


def _check_frame(fields: bytes, stored: TileFormat) -> None:
    if len(fields) < 6:
        raise PayloadError("JPEG with a frame header that is cut off")
    if fields[0] != 8:
        raise UnknownKindError(f"JPEG of {fields[0]} bits per sample")
    height, width = int.from_bytes(fields[1:3], "big"), int.from_bytes(fields[3:5], "big")
    stored.check_size(width, height, samples=fields[5])


def _without_colour_markers(tables: bytes) -> bytes:
    return b"".join(
        tables[start:end]
        for marker, start, end in _segments(tables, 0)
        if marker not in {_APP0, _APP14}
    )


def _without_padding(whole: bytes) -> bytes | None:
    """The same without zeros between the last data and the end marker; None if there are none.

    Some writers pad the data so. openslide accepts any bytes there; but bytes are also left over
    where damage made the decoder lose its place, and those pixels are wrong. What still decodes
    strictly once the zeros are gone had ended complete before them.
    """
    end = whole.rfind(_EOI)
    data = whole[:end].rstrip(b"\x00")
    if data.endswith(b"\xff"):
        data += b"\x00"  # it belongs to the data: FF 00 stands for FF
    return None if end < 0 or len(data) == end else data + _EOI


def decode_whole(whole: bytes, *, grey: bool) -> Decoded:
    """The pixels of a JPEG that is no tile, by its own markers.

    Args:
        whole: The file, whose size was checked.
        grey: Whether its samples are grey.

    Raises:
        ValueError: It is damaged.
    """
    colours = "GRAY" if grey else "RGB"
    try:
        return simplejpeg.decode_jpeg(whole, colours)  # type: ignore[no-any-return]
    except ValueError as error:
        unpadded = _without_padding(whole) if "extraneous bytes" in str(error) else None
        if unpadded is None:
            raise
    return simplejpeg.decode_jpeg(unpadded, colours)  # type: ignore[no-any-return]


def check_strip(payload: bytes, tables: bytes | None, most_px: int) -> None:
    """Decodes a JPEG strip and keeps nothing.

    Args:
        payload: The bytes stored.
        tables: The common tables of its page.
        most_px: Pixels that it may have at most.

    Raises:
        PayloadError: It is no JPEG.
        ValueError: It is damaged, or larger.
    """
    whole = payload if not tables else _SOI + tables[2:-2] + payload[2:]
    kinds = _FRAMES | _OTHER_FRAMES
    frame = next((whole[i + 4 : j] for marker, i, j in _segments(whole, 2) if marker in kinds), b"")
    if len(frame) < 6:
        raise PayloadError("JPEG without a frame header")
    height, width = int.from_bytes(frame[1:3], "big"), int.from_bytes(frame[3:5], "big")
    if width * height > most_px:
        raise PayloadError(f"it claims {width}x{height} px")
    if frame[5] in (1, 3):
        decode_whole(whole, grey=frame[5] == 1)

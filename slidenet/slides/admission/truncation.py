"""No TIFF that ends too early.

openslide opens a truncated TIFF whose first directory survived as if it were whole, with fewer
levels and failing tiles; half a slide would be embedded as a slide.
"""

import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np

from slidenet.core.errors import UnreadableSlideError

_TILE_OFFSETS, _TILE_BYTE_COUNTS = 324, 325
_STRIP_OFFSETS, _STRIP_BYTE_COUNTS = 273, 279
_TYPE_CODES = {3: "u2", 4: "u4", 16: "u8"}
_MAX_DIRECTORIES = 10_000


def check_complete(path: Path, *, strips: bool = False) -> None:
    """Refuses a TIFF that is shorter than it says; see `find_truncation`.

    Raises:
        UnreadableSlideError: Saying where it ends.
    """
    reason = find_truncation(path, strips=strips)
    if reason is not None:
        raise UnreadableSlideError(
            f"it is truncated or damaged: {reason}",
            expected="a complete file",
            remedy="copy it again and compare its size with the original's",
            slide=path.name,
        )


def find_truncation(path: Path, *, strips: bool = False) -> str | None:
    """Why a TIFF is shorter than it says, as a clause; None if it is whole or no TIFF.

    Directories and the extents of tiles are compared with the file's size; no pixel is read.
    Hamamatsu NDPI, which bends the 32-bit offsets, must not be passed here.

    Args:
        path: The file.
        strips: Look at strips as well as tiles. Off for scanner formats, where only label and
            macro images have strips, and their absence harms nobody.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        layout = _Layout.of(file.read(16))
        if layout is None:
            return None
        offset = layout.first
        for _ in range(_MAX_DIRECTORIES):
            if offset == 0:
                return None
            if offset + 8 > size:
                return f"a TIFF directory should lie at byte {offset}, the file ends at {size}"
            directory = layout.read_directory(file, offset)
            if directory is None:
                return (
                    f"the TIFF directory at byte {offset} cannot be read, the file ends at {size}"
                )
            tags, offset = directory
            pairs = [(_TILE_OFFSETS, _TILE_BYTE_COUNTS)]
            pairs += [(_STRIP_OFFSETS, _STRIP_BYTE_COUNTS)] if strips else []
            for first, second in pairs:
                end = layout.end_of_data(file, tags.get(first), tags.get(second))
                if end is None:
                    return f"the list of tiles is cut off, the file ends at {size}"
                if end > size:
                    return f"pixel data should reach byte {end}, the file ends at {size}"
    return None


class _Layout:
    """Byte order and field widths of classic TIFF and BigTIFF."""

    def __init__(self, order: str, big: bool, first: int) -> None:
        self.order = order
        self.big = big
        self.first = first

    @classmethod
    def of(cls, head: bytes) -> "_Layout | None":
        order = {b"II": "<", b"MM": ">"}.get(head[:2])
        if order is None or len(head) < 16:
            return None
        version = struct.unpack_from(order + "H", head, 2)[0]
        if version == 42:
            return cls(order, False, struct.unpack_from(order + "I", head, 4)[0])
        if version == 43:
            return cls(order, True, struct.unpack_from(order + "Q", head, 8)[0])
        return None

    def read_directory(
        self, file: BinaryIO, offset: int
    ) -> tuple[dict[int, tuple[int, int, bytes]], int] | None:
        """Tags as {number: (type, count, value field)} and where the next directory lies."""
        head, entry, tail = ("Q", "HHQ8s", "Q") if self.big else ("H", "HHI4s", "I")
        file.seek(offset)
        field = file.read(struct.calcsize("=" + head))
        (count,) = struct.unpack(self.order + head, field)
        width = struct.calcsize("=" + entry)
        if count > 65535:
            return None
        body = file.read(count * width + struct.calcsize("=" + tail))
        if len(body) < count * width + struct.calcsize("=" + tail):
            return None
        tags = {
            number: (kind, length, value)
            for number, kind, length, value in struct.iter_unpack(
                self.order + entry, body[: count * width]
            )
        }
        return tags, struct.unpack_from(self.order + tail, body, count * width)[0]

    def end_of_data(
        self,
        file: BinaryIO,
        offsets: tuple[int, int, bytes] | None,
        byte_counts: tuple[int, int, bytes] | None,
    ) -> int | None:
        """Byte after the last tile or strip, 0 where there are none; None for a broken list."""
        if offsets is None or byte_counts is None:
            return 0
        starts, lengths = self._numbers(file, offsets), self._numbers(file, byte_counts)
        if len(starts) != len(lengths):
            return None
        return int((starts + lengths).max(initial=0))

    def _numbers(self, file: BinaryIO, tag: tuple[int, int, bytes]) -> np.ndarray:
        kind, count, field = tag
        dtype = np.dtype(self.order + _TYPE_CODES.get(kind, "u4"))
        data = field
        if count * dtype.itemsize > len(field):
            file.seek(struct.unpack(self.order + ("Q" if self.big else "I"), field)[0])
            data = file.read(count * dtype.itemsize)
        whole = data[: len(data) // dtype.itemsize * dtype.itemsize]
        return np.frombuffer(whole, dtype)[:count].astype(np.int64)

"""Headers and directories of TIFF files as they stand in the file, nothing of it believed yet.

Three layouts: classic TIFF (32-bit offsets), BigTIFF (64-bit), and Hamamatsu's NDPI, a classic
TIFF whose offsets are 64 bits wide where it counts: in the header, at the end of a directory, and
by a list of high words behind it, one for each entry.
"""

import struct
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from slidenet.slides.tiff.tags import TYPE_BYTES, TYPE_DTYPES, Tag

_MAX_ENTRIES = 4096
_INLINE = {"classic": 4, "big": 8}


class TiffFaultError(Exception):
    """What is wrong with a TIFF index, as a clause; caught inside this folder."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One tag of a directory.

    Attributes:
        kind: Field type, as numbered by the TIFF standard.
        count: Number of values.
        position: Byte of the file at which the values begin, whether inside the entry or not.
        high: Upper 32 bits of a value that stands inside the entry (NDPI).
    """

    kind: int
    count: int
    position: int
    high: int = 0

    @property
    def num_bytes(self) -> int:
        """Bytes of its values; 0 for a field type that does not exist."""
        return self.count * TYPE_BYTES.get(self.kind, 0)


@dataclass(frozen=True, slots=True)
class RawDirectory:
    """One directory as it stands in the file.

    Attributes:
        offset: Byte at which it begins.
        end: Byte after it.
        entries: Its entries by tag.
        following: Where the next directory lies; 0: nowhere.
    """

    offset: int
    end: int
    entries: dict[int, Entry]
    following: int


class Source:
    """The bytes of a file under a budget.

    Args:
        file: Open for reading bytes.
        size: Its size.
        budget: Bytes that may be read in all.
    """

    def __init__(self, file: BinaryIO, size: int, budget: int) -> None:
        self.size = size
        self._file = file
        self._left = budget
        self._budget = budget

    def read(self, position: int, length: int) -> bytes:
        """Bytes of the file.

        Raises:
            TiffFaultError: They lie beyond its end, or the budget is spent.
        """
        if position + length > self.size:
            raise TiffFaultError(
                f"{length} bytes should lie at byte {position}, the file ends at {self.size}"
            )
        self.spend(length)
        self._file.seek(position)
        data = self._file.read(length)
        if len(data) < length:
            raise TiffFaultError(f"the file changed while it was read, at byte {position}")
        return data

    def spend(self, length: int) -> None:
        """Counts bytes that are read now or later.

        Raises:
            TiffFaultError: The budget is spent.
        """
        self._left -= length
        if self._left < 0:
            raise TiffFaultError(
                f"its directories and lists of tiles take more than {self._budget} bytes "
                "(limit max_index_bytes)"
            )


@dataclass(frozen=True, slots=True)
class Layout:
    """Byte order and widths of a file's fields.

    Attributes:
        order: "<" little endian or ">" big endian.
        big: BigTIFF.
        ndpi: Hamamatsu's widening of classic TIFF.
        first: Where the first directory lies.
    """

    order: str
    big: bool
    ndpi: bool
    first: int

    @classmethod
    def of(cls, source: Source) -> "Layout | None":
        """Layout of a file; None where it is no TIFF."""
        if source.size < 8:
            return None
        head = source.read(0, min(16, source.size))
        order = {b"II": "<", b"MM": ">"}.get(head[:2])
        if order is None:
            return None
        version = struct.unpack_from(order + "H", head, 2)[0]
        if version == 43 and len(head) == 16 and head[4:8] == struct.pack(order + "HH", 8, 0):
            return cls(order, True, False, struct.unpack_from(order + "Q", head, 8)[0])
        if version != 42:
            return None
        if order == "<" and len(head) == 16:
            ndpi = cls(order, False, True, struct.unpack_from("<Q", head, 4)[0])
            if ndpi._is_ndpi(source):
                return ndpi
        return cls(order, False, False, struct.unpack_from(order + "I", head, 4)[0])

    def _is_ndpi(self, source: Source) -> bool:
        try:
            return Tag.NDPI_VERSION in self.read_directory(source, self.first).entries
        except TiffFaultError:
            return False

    def read_directory(self, source: Source, offset: int) -> RawDirectory:
        """The directory at a byte. Of a tag that stands twice the first is taken, as by libtiff.

        Raises:
            TiffFaultError: It cannot be read, or has no entry or too many.
        """
        head, entry = ("Q", "HHQ") if self.big else ("H", "HHI")
        tail = "Q" if self.big or self.ndpi else "I"
        inline = _INLINE["big" if self.big else "classic"]
        head_bytes = struct.calcsize("=" + head)
        (count,) = struct.unpack(self.order + head, source.read(offset, head_bytes))
        if not count:
            raise TiffFaultError(
                f"at byte {offset}, where a directory should lie, are zeros, as in a copy that was "
                "not finished"
            )
        if count > _MAX_ENTRIES:
            raise TiffFaultError(f"the directory at byte {offset} claims {count} entries")
        fixed = struct.calcsize("=" + entry)
        step = fixed + inline
        start = offset + head_bytes
        num_tail = struct.calcsize("=" + tail)
        body = source.read(start, count * step + num_tail)
        highs = self._high_words(source, start + len(body), count)
        word = self.order + ("Q" if self.big else "I")
        entries: dict[int, Entry] = {}
        for i in range(count):
            tag, kind, length = struct.unpack_from(self.order + entry, body, i * step)
            position, high = start + i * step + fixed, highs[i]
            if length * TYPE_BYTES.get(kind, 0) > inline:
                position, high = (
                    struct.unpack_from(word, body, i * step + fixed)[0] + (high << 32),
                    0,
                )
            entries.setdefault(tag, Entry(kind, length, position, high))
        following = struct.unpack_from(self.order + tail, body, count * step)[0]
        return RawDirectory(offset, start + len(body), entries, following)

    def _high_words(self, source: Source, position: int, count: int) -> tuple[int, ...]:
        """The upper 32 bits of each entry's offset; zeros but in NDPI files beyond 4 GiB."""
        if not self.ndpi or source.size < 2**32 or position + 4 * count > source.size:
            return (0,) * count
        highs = struct.unpack(f"<{count}I", source.read(position, 4 * count))
        return tuple(high if high <= source.size >> 32 else 0 for high in highs)

    def numbers(self, source: Source, entry: Entry) -> tuple[float, ...]:
        """The values of an entry; fractions become floats, those over zero 0.

        Raises:
            TiffFaultError: They lie beyond the end of the file, or are no numbers.
        """
        data = source.read(entry.position, entry.num_bytes)
        if entry.kind in (5, 10):
            pairs = np.frombuffer(data, self.order + ("u4" if entry.kind == 5 else "i4"))
            return tuple(
                float(above) / float(below) if below else 0.0
                for above, below in pairs.reshape(-1, 2)
            )
        if entry.kind not in TYPE_DTYPES:
            raise TiffFaultError(f"a number is stored as field type {entry.kind}")
        values: list[float] = np.frombuffer(data, self.order + TYPE_DTYPES[entry.kind]).tolist()
        return tuple(values)

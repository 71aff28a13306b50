"""What one DICOM file says about itself, read in bounded work: no pixel is decoded.

Only the elements below and the place of the pixel data are looked for; everything else is skipped.
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

TRANSFER_SYNTAX, SOP_CLASS, IMAGE_TYPE = 0x00020010, 0x00020002, 0x00080008
SERIES, ORGANISATION = 0x0020000E, 0x00209311
SAMPLES, PHOTOMETRIC, FRAMES, ROWS, COLUMNS = 0x280002, 0x280004, 0x280008, 0x280010, 0x280011
BITS_ALLOCATED, BITS_STORED, SIGNED = 0x280100, 0x280101, 0x280103
MATRIX_COLUMNS, MATRIX_ROWS, FOCAL_PLANES = 0x480006, 0x480007, 0x480303
_FRAME_OFFSETS, _PIXEL_DATA = 0x7FE00001, 0x7FE00010
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_TEXTS = {TRANSFER_SYNTAX, SOP_CLASS, IMAGE_TYPE, SERIES, ORGANISATION, PHOTOMETRIC, FRAMES}
_NUMBERS = {
    SAMPLES,
    ROWS,
    COLUMNS,
    BITS_ALLOCATED,
    BITS_STORED,
    SIGNED,
    MATRIX_COLUMNS,
    MATRIX_ROWS,
    FOCAL_PLANES,
}

IMPLICIT, EXPLICIT_BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
_LONG_VR = {b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"SQ", b"UC", b"UR", b"UT", b"UN"} | {
    b"SV",
    b"UV",
}
_UNDEFINED = 0xFFFFFFFF
_MAX_ELEMENTS = 500_000
_MAX_VALUE_BYTES = 4096
_MAX_FRAME_HEAD_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class DicomFile:
    """One DICOM file.

    Attributes:
        texts: Values of the text elements above, by tag.
        numbers: Values of the whole-number elements above, by tag.
        truncation: Why the file is shorter than it says, as a clause; None where it is whole.
        first_frame: The first bytes of the first frame; empty where none was found.
    """

    texts: dict[int, str]
    numbers: dict[int, int]
    truncation: str | None
    first_frame: bytes

    @classmethod
    def read(cls, path: Path) -> "DicomFile | None":
        """Reads a file; None where it is no DICOM file."""
        with path.open("rb") as file:
            if file.read(132)[128:] != b"DICM":
                return None
            return _Parser(file, path.stat().st_size).parse()

    @property
    def flavour(self) -> str:
        """The third word of the image type: "VOLUME" (the slide), "LABEL", "OVERVIEW", ..."""
        words = self.texts.get(IMAGE_TYPE, "").split("\\")
        return words[2] if len(words) > 2 else ""

    @property
    def num_frames(self) -> int:
        """Frames that the file says it holds."""
        text = self.texts.get(FRAMES, "1")
        return int(text) if text.isdecimal() and len(text) < 10 else 1


class _Cut(Exception):
    """The file ends inside an element that starts at this byte."""


class _Parser:
    """Walks the elements of a file up to its pixel data."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._size = size
        self._order = "<"
        self._explicit = True
        self._budget = _MAX_ELEMENTS
        self._texts: dict[int, str] = {}
        self._numbers: dict[int, int] = {}
        self._offsets: np.ndarray | None = None
        self._frame = b""

    def parse(self) -> DicomFile:
        try:
            self._elements()
            reason = None
        except _Cut as cut:
            reason = f"{cut}, the file ends at {self._size}"
        return DicomFile(self._texts, self._numbers, reason, self._frame)

    def _elements(self) -> None:
        """Collects what is looked for, in order of the tags, until the pixel data."""
        in_meta = True
        while self._file.tell() < self._size and self._budget > 0:
            start = self._file.tell()
            if in_meta and self._file.read(2) != b"\x02\x00":  # the group of file meta is over
                in_meta = False
                syntax = self._texts.get(TRANSFER_SYNTAX, "")
                if syntax == DEFLATED:
                    return  # refused by its name
                self._explicit = syntax != IMPLICIT
                self._order = ">" if syntax == EXPLICIT_BIG else "<"
            self._file.seek(start)
            tag, length = self._header()
            if tag == _PIXEL_DATA:
                return self._pixel_data(length)
            if length == _UNDEFINED:
                self._skip_nested(start)
                continue
            value = self._file.tell()
            if value + length > self._size:
                raise _Cut(f"an element should reach byte {value + length}")
            if length <= _MAX_VALUE_BYTES and (tag in _TEXTS or tag in _NUMBERS):
                self._keep(tag, self._file.read(length))
            elif tag == _FRAME_OFFSETS:
                self._offsets = np.frombuffer(self._file.read(length // 8 * 8), "<u8")
            self._file.seek(value + length)
        if self._budget > 0:
            raise _Cut("its pixel data is not there")

    def _keep(self, tag: int, value: bytes) -> None:
        if tag in _TEXTS:
            self._texts[tag] = value.decode("latin-1").strip("\0 ")
        elif len(value) in (2, 4):
            kind = "H" if len(value) == 2 else "I"
            self._numbers[tag] = struct.unpack(self._order + kind, value)[0]

    def _header(self) -> tuple[int, int]:
        """Tag and length of the element here; the file then stands at its value."""
        self._budget -= 1
        start = self._file.tell()
        head = self._file.read(8)
        if len(head) < 8:
            raise _Cut(f"an element starts at byte {start}")
        group, element = struct.unpack_from(self._order + "HH", head)
        tag = group << 16 | element
        if not self._explicit or group == 0xFFFE:
            return tag, struct.unpack_from(self._order + "I", head, 4)[0]
        if head[4:6] not in _LONG_VR:
            return tag, struct.unpack_from(self._order + "H", head, 6)[0]
        more = self._file.read(4)
        if len(more) < 4:
            raise _Cut(f"an element starts at byte {start}")
        return tag, struct.unpack(self._order + "I", more)[0]

    def _skip_nested(self, start: int) -> None:
        """Walks to the end of a sequence of undefined length, with whatever lies inside it."""
        depth = 1
        while depth > 0 and self._budget > 0:
            tag, length = self._header()
            if tag in (_ITEM_END, _SEQUENCE_END):
                depth -= 1
            elif length == _UNDEFINED:
                depth += 1
            elif self._file.tell() + length > self._size:
                raise _Cut(f"the sequence at byte {start} is cut off")
            else:
                self._file.seek(length, 1)

    def _pixel_data(self, length: int) -> None:
        start = self._file.tell()
        if length != _UNDEFINED:
            if start + length > self._size:
                raise _Cut(f"its pixel data should reach byte {start + length}")
            return
        tag, table_bytes = self._header()
        if tag != _ITEM:
            return  # no frames that anybody could find; the reader says so
        first = self._file.tell() + table_bytes
        if first > self._size:
            raise _Cut(f"the table of its frames should reach byte {first}")
        if self._offsets is None or not len(self._offsets):
            self._offsets = np.frombuffer(self._file.read(table_bytes // 4 * 4), "<u4")
        self._file.seek(first)
        _, frame_bytes = self._header()
        self._frame = self._file.read(min(frame_bytes, _MAX_FRAME_HEAD_BYTES))
        # The last frame that the table names stands for those before it, which lie before it.
        last = int(self._offsets.max(initial=0))
        if first + last + 8 > self._size:
            raise _Cut(f"a frame should start at byte {first + last}")
        self._file.seek(first + last)
        while self._budget > 0:
            here = self._file.tell()
            tag, frame_bytes = self._header()
            if tag == _SEQUENCE_END:
                return
            if tag != _ITEM:
                raise _Cut(f"a frame or the end of all should start at byte {here}")
            if here + 8 + frame_bytes > self._size:
                raise _Cut(f"a frame should reach byte {here + 8 + frame_bytes}")
            self._file.seek(frame_bytes, 1)

"""Directories from their entries: every claim checked before it is believed."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from slidenet.slides.tiff.directory import Directory, StoredNumbers
from slidenet.slides.tiff.entries import Layout, RawDirectory, Source, TiffFaultError
from slidenet.slides.tiff.tags import COMPRESSIONS, TYPE_DTYPES, Tag

_MAX_SIDE = 2**31 - 1
_MOST_SAMPLES = 65535
_MOST_VALUES = 3 * 2**16
"""The longest list of numbers that is read at once: the palette of 16-bit samples."""
_WHOLE_TYPES = {1, 3, 4, 13, 16, 18}
_NUMBER_TYPES = {5, 8, 9, 10, 11, 12, 17}

_SINGLE = {
    "width": (Tag.IMAGE_WIDTH, range(1, _MAX_SIDE)),
    "height": (Tag.IMAGE_LENGTH, range(1, _MAX_SIDE)),
    "compression": (Tag.COMPRESSION, range(1, 65536)),
    "photometric": (Tag.PHOTOMETRIC, range(65536)),
    "samples": (Tag.SAMPLES_PER_PIXEL, range(1, _MOST_SAMPLES + 1)),
    "planar": (Tag.PLANAR_CONFIGURATION, range(1, 3)),
    "predictor": (Tag.PREDICTOR, range(1, 4)),
    "fill_order": (Tag.FILL_ORDER, range(1, 3)),
    "depth": (Tag.IMAGE_DEPTH, range(1, _MAX_SIDE)),
    "subfile_type": (Tag.SUBFILE_TYPE, range(2**32)),
}
_TEXTS = {
    "description": Tag.IMAGE_DESCRIPTION,
    "software": Tag.SOFTWARE,
    "make": Tag.MAKE,
    "xmp": Tag.XMP,
}
_BYTES = {
    "jpeg_tables": Tag.JPEG_TABLES,
    "icc_profile": Tag.ICC_PROFILE,
}


@dataclass(slots=True)
class DirectoryBuilder:
    """Makes one `Directory`; see there for the fields.

    Args:
        path: The file.
        source: Its bytes.
        layout: Its layout.
        raw: The directory.
    """

    path: Path
    source: Source
    layout: Layout
    raw: RawDirectory
    problems: list[str] = field(default_factory=list)

    def build(self, number: int) -> Directory:
        """The directory, but for its SubIFDs.

        Args:
            number: Its place in the chain.
        """
        found: dict[str, Any] = {"number": number, "offset": self.raw.offset, "end": self.raw.end}
        for name, (tag, allowed) in _SINGLE.items():
            value = self._whole(tag, allowed)
            if value is not None:
                found[name] = value
        for side, tag in (("width", Tag.IMAGE_WIDTH), ("height", Tag.IMAGE_LENGTH)):
            if side not in found and tag not in self.raw.entries:
                self.problems.append(f"its {side} is missing")
        found |= self._sample_layout(found.get("samples", 1))
        found |= self._cut(found.get("width", 0), found.get("height", 0))
        found |= self._meaning()
        found |= {name: text for name, tag in _TEXTS.items() if (text := self._text(tag))}
        found |= {name: data for name, tag in _BYTES.items() if (data := self._bytes(tag))}
        directory = Directory(**found)
        if directory.compression not in COMPRESSIONS:
            self.problems.append(f"its compression is {directory.codec}, which does not exist")
        self._check_lists(directory)
        object.__setattr__(directory, "problems", tuple(self.problems))
        return directory

    def subifd_offsets(self) -> tuple[int, ...]:
        """Where the directories lie that this one alone points to."""
        return tuple(int(value) for value in self._values(Tag.SUB_IFDS, _WHOLE_TYPES) or ())

    def _sample_layout(self, samples: int) -> dict[str, Any]:
        """Bits and number format, which every sample must share."""
        found: dict[str, Any] = {}
        for name, tag in (
            ("bits", Tag.BITS_PER_SAMPLE),
            ("sample_format", Tag.SAMPLE_FORMAT),
        ):
            values = self._values(tag, _WHOLE_TYPES)
            if not values:
                continue
            if len(values) not in (1, samples) or len(set(values)) > 1:
                given = ", ".join(f"{value:g}" for value in values[:8])
                self.problems.append(
                    f"its samples differ: {tag.name} is {given} for {samples} samples per pixel"
                )
            found[name] = int(values[0])
        return found

    def _cut(self, width: int, height: int) -> dict[str, Any]:
        """Tiles or strips, and where they lie."""
        tiled = Tag.TILE_OFFSETS in self.raw.entries or Tag.TILE_WIDTH in self.raw.entries
        if not tiled:
            rows = self._whole(Tag.ROWS_PER_STRIP, range(1, 2**32)) or height
            found = {"tile_width": width, "tile_height": min(rows, height)}
        else:
            found = {
                "tile_width": self._whole(Tag.TILE_WIDTH, range(1, _MAX_SIDE)) or 0,
                "tile_height": self._whole(Tag.TILE_LENGTH, range(1, _MAX_SIDE)) or 0,
            }
        first, second = (
            (Tag.TILE_OFFSETS, Tag.TILE_BYTE_COUNTS)
            if tiled
            else (Tag.STRIP_OFFSETS, Tag.STRIP_BYTE_COUNTS)
        )
        # Some writers put the lists of tiles under the tags of strips; the standard allows it.
        if tiled and first not in self.raw.entries:
            first = Tag.STRIP_OFFSETS
        if tiled and second not in self.raw.entries:
            second = Tag.STRIP_BYTE_COUNTS
        return {
            "is_tiled": tiled,
            **found,
            "stored_offsets": self._stored(first),
            "stored_byte_counts": self._stored(second),
        }

    def _meaning(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        extra = self._values(Tag.EXTRA_SAMPLES, _WHOLE_TYPES)
        if extra:
            found["extra_samples"] = tuple(int(value) for value in extra)
        subsampling = self._values(Tag.YCBCR_SUBSAMPLING, _WHOLE_TYPES)
        if subsampling:
            if len(subsampling) != 2 or not set(subsampling) <= {1, 2, 4}:
                self.problems.append("its YCbCr subsampling is none")
            else:
                found["ycbcr_subsampling"] = tuple(int(value) for value in subsampling)
        palette = self._values(Tag.COLOR_MAP, {3})
        if palette and len(palette) % 3 == 0:
            found["colour_map"] = np.array(palette, np.uint16).reshape(3, -1)
        largest = self._values(Tag.MAX_SAMPLE_VALUE, _WHOLE_TYPES)
        if largest:
            found["max_sample_value"] = int(max(largest))
        turned = self._whole(Tag.ORIENTATION, range(9))
        found["orientation"] = turned or 1  # 0 is written by careless programs for "as it is"
        x, y = self._loose(Tag.X_RESOLUTION), self._loose(Tag.Y_RESOLUTION)
        if x is not None and y is not None:
            found["resolution"] = (x, y)
        unit = self._loose(Tag.RESOLUTION_UNIT)
        if unit is not None:
            found["resolution_unit"] = int(unit) if unit in (1, 2, 3) else 1
        if self.layout.ndpi:
            found["lens"] = self._loose(Tag.NDPI_LENS)
            found["focal_plane"] = int(self._loose(Tag.NDPI_FOCAL_PLANE) or 0)
        return found

    def _check_lists(self, directory: Directory) -> None:
        """The lists of tiles are as long as the grid says."""
        what = "tile" if directory.is_tiled else "strip"
        stored = directory.stored_offsets, directory.stored_byte_counts
        for numbers, words in zip(stored, ("offsets", "byte counts"), strict=True):
            if numbers is None:
                self.problems.append(f"its list of {what} {words} is missing")
            elif numbers.count != directory.num_tiles:
                self.problems.append(
                    f"it lists {numbers.count} {what} {words} where {directory.width}x"
                    f"{directory.height} px in {what}s of {directory.tile_width}x"
                    f"{directory.tile_height} px need {directory.num_tiles}"
                )

    def _stored(self, tag: Tag) -> StoredNumbers | None:
        entry = self.raw.entries.get(tag)
        if entry is None:
            return None
        try:
            if entry.kind not in _WHOLE_TYPES:
                raise TiffFaultError(f"{tag.name} has field type {entry.kind}")
            if entry.position + entry.num_bytes > self.source.size:
                raise TiffFaultError(
                    f"{tag.name} should reach byte {entry.position + entry.num_bytes}, the file "
                    f"ends at {self.source.size}"
                )
            self.source.spend(entry.num_bytes)
        except TiffFaultError as fault:
            self.problems.append(str(fault))
            return None
        dtype = self.layout.order + TYPE_DTYPES[entry.kind]
        high = entry.high if entry.count == 1 else 0
        return StoredNumbers(self.path, entry.position, entry.count, dtype, high)

    def _whole(self, tag: Tag, allowed: range) -> int | None:
        """The only value of a tag; None where it is missing or cannot be (then a problem)."""
        values = self._values(tag, _WHOLE_TYPES)
        if values is None:
            return None
        if len(values) != 1 or values[0] not in allowed:
            given = ", ".join(f"{value:g}" for value in values[:4])
            self.problems.append(f"{tag.name} is {given or 'empty'}")
            return None
        return int(values[0])

    def _loose(self, tag: Tag) -> float | None:
        """The first value of a tag that says nothing about where pixels lie; None if it is none."""
        entry = self.raw.entries.get(tag)
        if entry is None or entry.kind not in {*_WHOLE_TYPES, *_NUMBER_TYPES} or entry.count > 16:
            return None
        values = self._values(tag, {entry.kind})
        return float(values[0]) if values and math.isfinite(values[0]) else None

    def _values(self, tag: Tag, kinds: set[int]) -> tuple[float, ...] | None:
        entry = self.raw.entries.get(tag)
        if entry is None:
            return None
        try:
            if entry.kind not in kinds:
                raise TiffFaultError(f"{tag.name} has field type {entry.kind}")
            if entry.count > _MOST_VALUES:
                raise TiffFaultError(f"{tag.name} has {entry.count} values")
            return self.layout.numbers(self.source, entry)
        except TiffFaultError as fault:
            self.problems.append(str(fault))
            return None

    def _text(self, tag: Tag) -> str:
        return (self._bytes(tag) or b"").split(b"\0", 1)[0].decode("utf-8", "replace").strip()

    def _bytes(self, tag: Tag) -> bytes | None:
        entry = self.raw.entries.get(tag)
        if entry is None or entry.num_bytes == 0:
            return None
        try:
            return self.source.read(entry.position, entry.num_bytes)
        except TiffFaultError as fault:
            self.problems.append(f"{tag.name}: {fault}")
            return None

"""Damage as it happens to slides: bits that flip, copies that end early, headers that lie.

Each fault is drawn from a seed and done in place to a tiled TIFF; what it did is returned in words,
with the tiles of level 0 whose pixels may have changed.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from slidenet.core.extras import require_extra

_TILES_PER_FAULT = 6
_END_OF_IMAGE = b"\xff\xd9"


@dataclass(frozen=True, slots=True)
class Damage:
    """What was done to a file.

    Attributes:
        kind: A name of `PAYLOAD_FAULTS` or `HEADER_FAULTS`.
        words: What it was, for people.
        tiles: Indices of the level-0 tiles whose stored bytes or place in the index were changed;
            None where the header was, so that any tile may show it.
    """

    kind: str
    words: str
    tiles: tuple[int, ...] | None


def damage_slide(path: str | Path, kind: str, seed: int) -> Damage:
    """Damages a tiled TIFF in place.

    Args:
        path: The file.
        kind: A name of `PAYLOAD_FAULTS` or `HEADER_FAULTS`.
        seed: Decides the places.

    Returns:
        What was done.
    """
    rng = np.random.default_rng(seed)
    tifffile = require_extra("tifffile", extra="testing", purpose="breaking generated slides")
    with tifffile.TiffFile(path) as tiff, Path(path).open("r+b") as file:
        page = tiff.pages[0]
        if kind in HEADER_FAULTS:
            return Damage(kind, HEADER_FAULTS[kind](file, tiff, rng), None)
        stored = [i for i, length in enumerate(page.databytecounts) if length > 0]
        count = min(_TILES_PER_FAULT, len(stored))
        tiles = tuple(sorted(int(i) for i in rng.choice(stored, count, replace=False)))
        for index in tiles:
            offset, length = page.dataoffsets[index], page.databytecounts[index]
            file.seek(offset)
            payload = np.frombuffer(file.read(length), np.uint8).copy()
            PAYLOAD_FAULTS[kind](payload, rng)
            file.seek(offset)
            file.write(payload.tobytes())
    return Damage(kind, f"{kind.replace('_', ' ')} in {count} tiles", tiles)


def _flip_bits(count: int) -> Callable[[Any, np.random.Generator], None]:
    def flip(payload: Any, rng: np.random.Generator) -> None:
        # Past the header: a flipped marker is refused by all, a flipped coefficient by few.
        start = len(payload) // 8
        for place in rng.integers(start, len(payload), count):
            payload[place] ^= 1 << int(rng.integers(8))

    return flip


def _fill(value: Callable[[np.random.Generator, int], Any], length: int | None) -> Any:
    def fill(payload: Any, rng: np.random.Generator) -> None:
        size = len(payload) // 2 if length is None else min(length, len(payload))
        start = (
            len(payload) - size if length is None else int(rng.integers(len(payload) - size + 1))
        )
        payload[start : start + size] = value(rng, size)

    return fill


def _zeros(rng: np.random.Generator, size: int) -> Any:
    return np.zeros(size, np.uint8)


def _noise(rng: np.random.Generator, size: int) -> Any:
    return rng.integers(0, 256, size, dtype=np.uint8)


def _end_early(payload: Any, rng: np.random.Generator) -> None:
    place = int(rng.integers(len(payload) // 2, len(payload) - 2))
    payload[place : place + 2] = np.frombuffer(_END_OF_IMAGE, np.uint8)


def _no_start(payload: Any, rng: np.random.Generator) -> None:
    payload[:2] = 0


PAYLOAD_FAULTS: dict[str, Callable[[Any, np.random.Generator], None]] = {
    "one_bit": _flip_bits(1),
    "eight_bits": _flip_bits(8),
    "zeros_64": _fill(_zeros, 64),
    "noise_64": _fill(_noise, 64),
    "zeros_second_half": _fill(_zeros, None),
    "noise_second_half": _fill(_noise, None),
    "ends_early": _end_early,
    "no_start": _no_start,
}
"""What happens to the stored bytes of tiles: name -> a function that changes them in place."""


def _flip_in(start: int, length: int, file: Any, rng: np.random.Generator) -> str:
    place, bit = start + int(rng.integers(length)), int(rng.integers(8))
    file.seek(place)
    (byte,) = file.read(1)
    file.seek(place)
    file.write(bytes([byte ^ 1 << bit]))
    return f"bit {bit} of byte {place}"


def _flip_directory(file: Any, tiff: Any, rng: np.random.Generator) -> str:
    page = tiff.pages[int(rng.integers(len(tiff.pages)))]
    tags = list(page.tags)
    entry = 20 if tiff.is_bigtiff else 12
    tag = tags[int(rng.integers(len(tags)))]
    return f"{_flip_in(tag.offset, entry, file, rng)}, tag {tag.name}"


def _flip_size(file: Any, tiff: Any, rng: np.random.Generator) -> str:
    names = ("ImageWidth", "ImageLength", "TileWidth", "TileLength")
    tag = tiff.pages[0].tags[names[int(rng.integers(len(names)))]]
    return f"{_flip_in(tag.valueoffset, 2, file, rng)}, {tag.name}"


def _flip_offsets(file: Any, tiff: Any, rng: np.random.Generator) -> str:
    tag = tiff.pages[0].tags["TileOffsets"]
    length = tag.count * struct.calcsize("=" + _width(tag))
    return f"{_flip_in(tag.valueoffset, length, file, rng)}, TileOffsets"


def _width(tag: Any) -> str:
    return {3: "H", 4: "I", 16: "Q"}[int(tag.dtype)]


def _zero_byte_counts(file: Any, tiff: Any, rng: np.random.Generator) -> str:
    tag = tiff.pages[0].tags["TileByteCounts"]
    size = struct.calcsize("=" + _width(tag))
    count = min(_TILES_PER_FAULT, tag.count)
    for index in rng.choice(tag.count, count, replace=False):
        file.seek(tag.valueoffset + int(index) * size)
        file.write(bytes(size))
    return f"{count} byte counts are zero"


def _swap_index(file: Any, tiff: Any, rng: np.random.Generator) -> str:
    for name in ("TileOffsets", "TileByteCounts"):
        tag = tiff.pages[0].tags[name]
        size = struct.calcsize("=" + _width(tag))
        file.seek(tag.valueoffset)
        values = [file.read(size) for _ in range(tag.count)]
        values[0], values[-1] = values[-1], values[0]
        file.seek(tag.valueoffset)
        file.write(b"".join(values))
    return "first and last tile change places"


def _huge_tag(name: str) -> Callable[[Any, Any, np.random.Generator], str]:
    def write(file: Any, tiff: Any, rng: np.random.Generator) -> str:
        tag = tiff.pages[0].tags[name]
        value = (1_000_000, 2**31 - 16, 2**31 - 1)[int(rng.integers(3))]
        file.seek(tag.offset + 2)  # the type becomes a 32-bit number, whose value lies in the entry
        file.write(struct.pack(tiff.byteorder + "H", 4))
        file.seek(tag.offset + (12 if tiff.is_bigtiff else 8))
        file.write(struct.pack(tiff.byteorder + "I", value))
        return f"{name} = {value}"

    return write


def _cycle(file: Any, tiff: Any, rng: np.random.Generator) -> str:
    page = tiff.pages[-1]
    big = tiff.is_bigtiff
    entries = len(page.tags)
    file.seek(page.offset + (8 + 20 * entries if big else 2 + 12 * entries))
    file.write(struct.pack(tiff.byteorder + ("Q" if big else "I"), tiff.pages[0].offset))
    return "the last directory points to the first"


def _cut(file: Any, tiff: Any, rng: np.random.Generator) -> str:
    size = tiff.filehandle.size
    end = int(rng.integers(size // 10, size))
    file.truncate(end)
    return f"cut off at byte {end} of {size}"


def _zero_tail(file: Any, tiff: Any, rng: np.random.Generator) -> str:
    size = tiff.filehandle.size
    start = int(rng.integers(size // 10, size))
    file.seek(start)
    file.write(bytes(size - start))
    return f"zeros from byte {start} of {size}"


HEADER_FAULTS: dict[str, Callable[[Any, Any, np.random.Generator], str]] = {
    "bit_in_directory": _flip_directory,
    "bit_in_size": _flip_size,
    "bit_in_offsets": _flip_offsets,
    "zero_byte_counts": _zero_byte_counts,
    "swapped_tiles": _swap_index,
    "huge_width": _huge_tag("ImageWidth"),
    "huge_height": _huge_tag("ImageLength"),
    "huge_tile_width": _huge_tag("TileWidth"),
    "huge_tile_height": _huge_tag("TileLength"),
    "cycle": _cycle,
    "cut_off": _cut,
    "zeros_at_end": _zero_tail,
}
"""What happens to the index of a TIFF: name -> a function that changes the open file."""

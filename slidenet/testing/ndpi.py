"""Writes small slides in Hamamatsu's NDPI format, wherever in a large file they lie."""

import struct
from pathlib import Path

import numpy as np
import simplejpeg

from slidenet.core.arrays import UInt8Array

_LENS = 20.0


def write_ndpi(path: str | Path, image: UInt8Array, *, start: int = 0, levels: int = 2) -> Path:
    """Writes a pyramid as NDPI: one JPEG a level, 64-bit offsets in a classic TIFF.

    Args:
        path: File to write.
        image: uint8 (height, width, 3), sides multiples of 16 for each level.
        start: Byte before which nothing lies; the file has a hole there and takes no room on most
            disks. Beyond 2**32 offsets no longer fit into the 32 bits of a TIFF.
        levels: Number of levels, each half as large as the one before.

    Returns:
        `path`.
    """
    path = Path(path)
    with path.open("wb") as file:
        file.write(b"II*\0" + bytes(8))
        file.seek(max(start, 12))
        link = 4
        for level in range(levels):
            pixels = np.ascontiguousarray(image[:: 2**level, :: 2**level])
            data = simplejpeg.encode_jpeg(pixels, quality=95, colorsubsampling="444")
            place = file.tell()
            file.write(data)
            end = _write_directory(file.tell(), pixels, place, len(data), _LENS / 2**level)
            offset = file.tell() + len(end[0])
            file.write(end[0] + end[1])
            following = file.tell()
            file.seek(link)
            file.write(struct.pack("<Q", offset))
            link = offset + 2 + 12 * end[2]
            file.seek(following)
    return path


def _write_directory(
    start: int, pixels: UInt8Array, place: int, num_bytes: int, lens: float
) -> tuple[bytes, bytes, int]:
    """Values that do not fit into entries, the directory behind them, and how many entries."""
    height, width = pixels.shape[:2]
    values = struct.pack("<3H", 8, 8, 8) + b"Hamamatsu\0" + struct.pack("<2I2I", 20000, 1, 20000, 1)
    entries: list[tuple[int, int, int, int]] = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, 3, start),
        (259, 3, 1, 7),
        (262, 3, 1, 6),
        (271, 2, 10, start + 6),
        (273, 4, 1, place),
        (277, 3, 1, 3),
        (278, 4, 1, height),
        (279, 4, 1, num_bytes),
        (282, 5, 1, start + 16),
        (283, 5, 1, start + 24),
        (296, 3, 1, 3),
        (65420, 3, 1, 1),
        (65421, 11, 1, struct.unpack("<I", struct.pack("<f", lens))[0]),
        (65424, 9, 1, 0),
    ]
    low = [
        struct.pack("<HHII", tag, kind, count, v & 0xFFFFFFFF) for tag, kind, count, v in entries
    ]
    high = struct.pack(f"<{len(entries)}I", *(value >> 32 for *_, value in entries))
    directory = struct.pack("<H", len(entries)) + b"".join(low) + bytes(8) + high
    return values, directory, len(entries)

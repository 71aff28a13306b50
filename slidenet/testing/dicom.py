"""Writes small DICOM whole-slide images, one file per level, with any header it is told."""

import struct
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from PIL import Image

from slidenet.core.arrays import UInt8Array

JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
_LONG = ("OB", "SQ")
_SERIES = "1.2.3.4"


def write_dicom(
    path: str | Path,
    pixels: UInt8Array,
    *,
    mpp: float = 0.5,
    side_px: int = 128,
    frames: Sequence[bytes] | None = None,
    syntax: str = JPEG_BASELINE,
    photometric: str = "YBR_FULL_422",
    sop_class: str = WHOLE_SLIDE,
    flavour: str = "VOLUME",
    samples: int = 3,
    bits: int = 8,
    num_frames: int | None = None,
    offset_table: bool = False,
    preamble: bytes = bytes(128),
) -> Path:
    """Writes one level that openslide opens as "dicom".

    Levels written into one folder are one slide, for all carry the same series.

    Args:
        path: File to write.
        pixels: uint8 (height, width, 3).
        mpp: Microns per pixel.
        side_px: Side of a frame.
        frames: Encoded frames in rows; None encodes `pixels` as JPEG (JFIF, YCbCr 4:2:0).
        syntax: Transfer syntax, of `frames`.
        photometric: What the file says of its colours.
        sop_class: What the file says it is.
        flavour: What the file shows: "VOLUME" (the slide), "LABEL", "OVERVIEW", "THUMBNAIL".
        samples: What the file says of its samples per pixel.
        bits: What the file says of its bits per sample.
        num_frames: What the file says of its frames; None tells the truth.
        offset_table: Write where each frame lies.
        preamble: The first 128 bytes.

    Returns:
        `path`.
    """
    path = Path(path)
    height, width = pixels.shape[:2]
    stored = _jpeg_frames(pixels, side_px) if frames is None else list(frames)
    instance = f"1.2.3.5.{width}.{height}"
    meta = _element(2, 2, "UI", sop_class) + _element(2, 3, "UI", instance)
    meta += _element(2, 0x10, "UI", syntax) + _element(2, 0x12, "UI", "1.2.3")
    spacing = _element(0x28, 0x30, "DS", f"{mpp / 1000:.7f}\\{mpp / 1000:.7f}")
    shared = _element(0x28, 0x9110, "SQ", _item(spacing))
    body = (
        _element(8, 8, "CS", f"ORIGINAL\\PRIMARY\\{flavour}\\NONE")
        + _element(8, 0x16, "UI", sop_class)
        + _element(8, 0x18, "UI", instance)
        + _element(8, 0x60, "CS", "SM")
        + _element(0x20, 0xE, "UI", _SERIES)
        + _element(0x20, 0x9311, "CS", "TILED_FULL")
        + _element(0x28, 2, "US", samples)
        + _element(0x28, 4, "CS", photometric)
        + _element(0x28, 6, "US", 0)
        + _element(0x28, 8, "IS", str(len(stored) if num_frames is None else num_frames))
        + _element(0x28, 0x10, "US", side_px)
        + _element(0x28, 0x11, "US", side_px)
        + _element(0x28, 0x100, "US", 8 if bits == 8 else 16)
        + _element(0x28, 0x101, "US", bits)
        + _element(0x28, 0x102, "US", bits - 1)
        + _element(0x28, 0x103, "US", 0)
        + _element(0x48, 6, "UL", width)
        + _element(0x48, 7, "UL", height)
        + _element(0x5200, 0x9229, "SQ", _item(shared))
    )
    stored = [frame + bytes(len(frame) % 2) for frame in stored]
    table = b""
    if offset_table:
        starts = [sum(len(f) + 8 for f in stored[:i]) for i in range(len(stored))]
        table = struct.pack(f"<{len(starts)}I", *starts)
    pixel_data = struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OB", 0, 0xFFFFFFFF)
    pixel_data += b"".join(_item(frame) for frame in [table, *stored])
    pixel_data += struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    length = _element(2, 0, "UL", len(meta))
    path.write_bytes(preamble + b"DICM" + length + meta + body + pixel_data)
    return path


def _jpeg_frames(pixels: UInt8Array, side_px: int) -> list[bytes]:
    frames = []
    for y in range(0, pixels.shape[0], side_px):
        for x in range(0, pixels.shape[1], side_px):
            tile = Image.new("RGB", (side_px, side_px), (255, 255, 255))
            tile.paste(Image.fromarray(pixels[y : y + side_px, x : x + side_px]), (0, 0))
            encoded = BytesIO()
            tile.save(encoded, "JPEG", quality=95)
            frames.append(encoded.getvalue())
    return frames


def _element(group: int, element: int, kind: str, value: str | int | bytes) -> bytes:
    """An element with explicit kind, little endian, padded to an even length."""
    if isinstance(value, int):
        value = struct.pack("<H" if kind == "US" else "<I", value)
    elif isinstance(value, str):
        value = value.encode()
        value += (b"\0" if kind == "UI" else b" ") * (len(value) % 2)
    head = struct.pack("<HH2s", group, element, kind.encode())
    long = kind in _LONG
    return head + struct.pack("<HI" if long else "<H", *([0] if long else []), len(value)) + value


def _item(content: bytes) -> bytes:
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(content)) + content

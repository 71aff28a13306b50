"""Writes small Zeiss CZI slides: one uncompressed tile, and XML that says what it is."""

import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt

_XML = """<ImageDocument><Metadata><Information><Image><SizeX>{width}</SizeX><SizeY>{height}</SizeY>
<SizeC>1</SizeC>{bits}<PixelType>{kind}</PixelType></Image></Information><Scaling><Items>
<Distance Id="X"><Value>{metres}</Value></Distance>
<Distance Id="Y"><Value>{metres}</Value></Distance>
</Items></Scaling></Metadata></ImageDocument>"""
_KINDS = {("u1", 3): ("Bgr24", 3), ("u2", 3): ("Bgr48", 4), ("u2", 1): ("Gray16", 1)}
_SUBBLOCK_HEAD_BYTES = 288


def write_czi(
    path: str | Path,
    pixels: npt.NDArray[np.uint8] | npt.NDArray[np.uint16],
    *,
    mpp: float = 0.5,
    bits: int | None = None,
    compression: int = 0,
    dimension: bytes = b"M",
) -> Path:
    """Writes a slide of one tile that openslide takes for "zeiss".

    Args:
        path: File to write.
        pixels: uint8 or uint16 (height, width, 3) RGB, or uint16 (height, width) grey.
        mpp: Microns per pixel.
        bits: Bits of a sample that the file says are used; None says nothing.
        compression: What the file says of its compression: 0 none, 1 JPEG, 4 JPEG XR.
        dimension: Name of a third dimension of the tile: M mosaic, Z stack.

    Returns:
        `path`.
    """
    height, width = pixels.shape[:2]
    samples = 1 if pixels.ndim == 2 else pixels.shape[2]
    kind, number = _KINDS[pixels.dtype.str[1:], samples]
    stored = np.ascontiguousarray(pixels[..., ::-1] if samples == 3 else pixels)
    xml = _XML.format(
        width=width,
        height=height,
        kind=kind,
        metres=mpp / 1e6,
        bits="" if bits is None else f"<ComponentBitCount>{bits}</ComponentBitCount>",
    ).encode()
    subblock_at = 32 + 512
    sizes = ((b"X", width), (b"Y", height), (dimension, 1))
    entry = struct.pack("<2siqiibB4xi", b"DV", number, subblock_at, 0, compression, 0, 0, 3)
    for name, size in sizes:
        entry += struct.pack("<4siifi", name, 0, size, 0.0, size)
    subblock = _segment(b"ZISRAWSUBBLOCK", _subblock(entry, stored.tobytes()))
    directory_at = subblock_at + len(subblock)
    directory = _segment(b"ZISRAWDIRECTORY", struct.pack("<i124x", 1) + entry)
    metadata_at = directory_at + len(directory)
    metadata = _segment(b"ZISRAWMETADATA", struct.pack("<ii248x", len(xml), 0) + xml)
    attachments_at = metadata_at + len(metadata)
    attachments = _segment(b"ZISRAWATTDIR", struct.pack("<i252x", 0))
    places = struct.pack("<iqqiq", 0, directory_at, metadata_at, 0, attachments_at)
    head = struct.pack("<4i32x", 1, 0, 0, 0) + places
    head = _segment(b"ZISRAWFILE", head.ljust(512, b"\0"))
    path = Path(path)
    path.write_bytes(head + subblock + directory + metadata + attachments)
    return path


def _subblock(entry: bytes, data: bytes) -> bytes:
    head = struct.pack("<iiq", 0, 0, len(data)) + entry
    return head.ljust(_SUBBLOCK_HEAD_BYTES - 32, b"\0") + data


def _segment(name: bytes, content: bytes) -> bytes:
    return struct.pack("<16sqq", name, len(content), len(content)) + content

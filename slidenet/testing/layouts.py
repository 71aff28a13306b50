"""Writes TIFF pyramids in the layouts that scanners and converters use, whatever the codec."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
import simplejpeg

from slidenet.core.arrays import UInt8Array
from slidenet.core.extras import require_extra

APERIO_DESCRIPTION = "Aperio Image Library v1.0\r\n{}x{} ({}x{}) |AppMag = 20|MPP = 0.5"
_JPEG_TABLES = 347
_MARKERS_OF_COLOUR = {0xE0, 0xEE}
_MARKERS_OF_TABLES = {0xC4, 0xDB}
_SOS = 0xDA


def halved_levels(picture: UInt8Array, num_levels: int) -> list[UInt8Array]:
    """A picture and its smaller copies, each half as wide and as high as the one before."""
    levels = [picture]
    while len(levels) < num_levels:
        height, width = (side // 2 for side in levels[-1].shape[:2])
        whole = levels[-1][: 2 * height, : 2 * width]
        shrunk = cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA)
        levels.append(np.asarray(shrunk, np.uint8))
    return levels


def write_layout(
    path: str | Path,
    levels: Sequence[UInt8Array],
    *,
    compression: str = "deflate",
    photometric: str = "rgb",
    tile_px: int = 64,
    aperio: bool = False,
    subifds: bool = False,
    common_tables: bool = False,
    missing: Mapping[int, Sequence[int]] | None = None,
    **options: Any,
) -> Path:
    """Writes levels as tiled pages of one TIFF, or as a page with SubIFDs.

    Args:
        path: File to write.
        levels: uint8 (height, width[, 3]) of each level, largest first.
        compression: "jpeg", or another name that tifffile knows ("lzw", "jpeg2000", "webp", ...).
        photometric: "rgb", "ycbcr" (JPEG) or "minisblack". RGB in a JPEG has no marker that says
            so, as in Aperio's files.
        tile_px: Side of the file's own tiles, a multiple of 16.
        aperio: Describe the first page as Aperio does, and flag no page as reduced.
        subifds: Smaller levels hang on the first page, as in OME-TIFF.
        common_tables: Tables of JPEGs stand once per page, in the tag JPEGTables.
        missing: Per level the numbers of the tiles that are not stored.
        options: Further arguments of tifffile's `TiffWriter` (`bigtiff`, `byteorder`) or of its
            `write`, for every page.

    Returns:
        `path`.
    """
    tifffile = require_extra("tifffile", extra="testing", purpose="writing generated slides")
    path = Path(path)
    file = {name: options.pop(name) for name in ("bigtiff", "byteorder") if name in options}
    with tifffile.TiffWriter(path, **file) as tiff:
        for number, pixels in enumerate(levels):
            page: dict[str, Any] = {
                "photometric": photometric,
                "compression": compression,
                "metadata": None,
                "software": False,
                "tile": (tile_px, tile_px),
                "subfiletype": int(number > 0 and not aperio),
                **options,
            }
            if aperio:
                height, width = pixels.shape[:2]
                page["description"] = APERIO_DESCRIPTION.format(width, height, tile_px, tile_px)
            if subifds and number == 0:
                page["subifds"] = len(levels) - 1
            if compression != "jpeg":
                tiff.write(pixels, **page)
                continue
            tiles, tables = _jpeg_tiles(pixels, tile_px, photometric, common_tables)
            if tables is not None:
                page["extratags"] = [(_JPEG_TABLES, 7, len(tables), tables, True)]
            if photometric == "ycbcr":
                page["subsampling"] = (2, 2)
            tiff.write(iter(tiles), shape=pixels.shape, dtype=np.uint8, **page)
    if compression == "jpeg" and photometric == "rgb":
        _say_rgb(path)
    for level, numbers in (missing or {}).items():
        forget_tiles(path, level, numbers)
    return path


def _say_rgb(path: Path) -> None:
    """Corrects what tifffile says of JPEGs that were encoded before: always YCbCr."""
    tifffile = require_extra("tifffile", extra="testing", purpose="changing generated slides")
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        tiff.pages.useframes = False
        for page in tiff.pages:
            for one in (page, *(page.pages or ())):
                one.tags["PhotometricInterpretation"].overwrite(2)


def write_philips(
    path: str | Path,
    levels: Sequence[UInt8Array],
    *,
    tile_px: int = 64,
    missing: Mapping[int, Sequence[int]] | None = None,
) -> Path:
    """Writes levels as Philips does: each padded to whole tiles, their true sizes in XML.

    Args:
        path: File to write.
        levels: uint8 (height, width, 3) of each level, each half as large as the one before; the
            sides of the first are multiples of `tile_px`.
        tile_px: Side of the file's own tiles, a multiple of 16.
        missing: Per level the numbers of the tiles that are not stored.

    Returns:
        `path`.
    """
    height, width = levels[0].shape[:2]
    assert width % tile_px == 0 == height % tile_px, "the first level is not padded"
    padded = []
    for pixels in levels:
        sides = [(0, -side % tile_px) for side in pixels.shape[:2]]
        padded.append(np.pad(pixels, [*sides, (0, 0)], constant_values=200))
    return write_layout(
        path,
        padded,
        compression="jpeg",
        photometric="ycbcr",
        tile_px=tile_px,
        missing=missing,
        bigtiff=True,
        software="Philips DP v1.0",
        description=_philips_xml([pixels.shape[:2] for pixels in padded]),
    )


def _philips_xml(sizes: Sequence[tuple[int, ...]]) -> str:
    """The description of a slide of 0.25 mpp, by (height, width) of its padded levels."""

    def value(name: str, group: str, element: str, kind: str, content: object) -> str:
        return (
            f'<Attribute Name="{name}" Group="{group}" Element="{element}" PMSVR="{kind}">'
            f"{content}</Attribute>"
        )

    def image(kind: str, content: str) -> str:
        return f'<DataObject ObjectType="{kind}">{content}</DataObject>'

    def spacing(downsample: int) -> str:
        step = 0.00025 * downsample
        name = "DICOM_PIXEL_SPACING"
        return value(name, "0x0028", "0x0030", "IDoubleArray", f'"{step}" "{step}"')

    levels = "".join(
        image(
            "PixelDataRepresentation",
            spacing(2**i)
            + value("PIIM_PIXEL_DATA_REPRESENTATION_NUMBER", "0x1001", "0x8B02", "IUInt16", i)
            + value("PIIM_PIXEL_DATA_REPRESENTATION_COLUMNS", "0x2001", "0x115E", "IUInt32", w)
            + value("PIIM_PIXEL_DATA_REPRESENTATION_ROWS", "0x2001", "0x115D", "IUInt32", h),
        )
        for i, (h, w) in enumerate(sizes)
    )
    array = "IDataObjectArray"
    scan = image(
        "DPScannedImage",
        value("PIM_DP_IMAGE_TYPE", "0x301D", "0x1004", "IString", "WSI")
        + spacing(1)
        + value(
            "PIIM_PIXEL_DATA_REPRESENTATION_SEQUENCE",
            "0x1001",
            "0x8B01",
            array,
            f"<Array>{levels}</Array>",
        ),
    )
    scans = value("PIM_DP_SCANNED_IMAGES", "0x301D", "0x1003", array, f"<Array>{scan}</Array>")
    maker = value("DICOM_MANUFACTURER", "0x0008", "0x0070", "IString", "PHILIPS")
    return '<?xml version="1.0" encoding="UTF-8" ?>' + image("DPUfsImport", maker + scans)


def forget_tiles(path: str | Path, level: int, numbers: Sequence[int]) -> None:
    """Sets the byte counts of some tiles to 0, as scanners do for tiles they did not store."""
    tifffile = require_extra("tifffile", extra="testing", purpose="changing generated slides")
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        counts = tiff.pages[level].tags["TileByteCounts"]
        values = [counts.value] if counts.count == 1 else list(counts.value)
        for number in numbers:
            values[number] = 0
        counts.overwrite(values[0] if counts.count == 1 else tuple(values))


def _jpeg_tiles(
    pixels: UInt8Array, tile_px: int, photometric: str, common_tables: bool
) -> tuple[list[bytes], bytes | None]:
    """Encoded tiles, row by row, and the tables that were taken out of them."""
    stored = [_without(_encoded(tile, photometric), _MARKERS_OF_COLOUR)
              for tile in cut_tiles(pixels, tile_px)]  # fmt: skip
    if not common_tables:
        return stored, None
    kept = (data for marker, data in _segments(stored[0]) if marker in _MARKERS_OF_TABLES)
    tables = b"\xff\xd8" + b"".join(kept) + b"\xff\xd9"
    return [_without(tile, _MARKERS_OF_TABLES) for tile in stored], tables


def cut_tiles(pixels: UInt8Array, tile_px: int) -> Iterator[UInt8Array]:
    """Whole tiles of a picture, row by row; the last ones repeat the edge."""
    height, width = pixels.shape[:2]
    sides = [(0, -height % tile_px), (0, -width % tile_px)] + [(0, 0)] * (pixels.ndim - 2)
    padded = np.pad(pixels, sides, mode="edge")
    for top in range(0, height, tile_px):
        for left in range(0, width, tile_px):
            yield np.ascontiguousarray(padded[top : top + tile_px, left : left + tile_px])


def _encoded(tile: UInt8Array, photometric: str) -> bytes:
    if photometric == "ycbcr":
        data: bytes = simplejpeg.encode_jpeg(tile, 90, "RGB", "420", fastdct=False)
        return data
    space = "GRAYSCALE" if photometric == "minisblack" else "RGB"
    return bytes(imagecodecs.jpeg8_encode(tile, level=90, colorspace=space, outcolorspace=space))


def _without(jpeg: bytes, markers: set[int]) -> bytes:
    """The JPEG without some of the segments before its first scan."""
    kept = [data for marker, data in _segments(jpeg) if marker not in markers]
    head = 2 + sum(len(data) for _, data in _segments(jpeg))
    return jpeg[:2] + b"".join(kept) + jpeg[head:]


def _segments(jpeg: bytes) -> Iterator[tuple[int, bytes]]:
    """(marker, bytes) of the segments before the first scan."""
    position = 2
    while jpeg[position + 1] != _SOS:
        length = 2 + int.from_bytes(jpeg[position + 2 : position + 4], "big")
        yield jpeg[position + 1], jpeg[position : position + length]
        position += length

"""What openslide's errors mean, and the way out of each."""

import re
from collections.abc import Callable, Mapping

from slidenet.slides.tiff.tags import compression_name

_TIFF = (
    "convert it into a tiled pyramid in JPEG (vips tiffsave IN OUT.tif --tile --pyramid "
    "--compression jpeg)"
)
_OME_TIFF = "convert it into a pyramidal OME-TIFF (bioformats2raw and raw2ometiff)"
_COPY = "copy it again, with all files of the slide beside it"

_FULL_RANGE_LEAST = 128
_DIMENSIONS = {"Z": "focal planes", "T": "time points", "C": "channels", "V": "views"}
_MEANINGS: tuple[tuple[str, Callable[[re.Match[str]], tuple[str, str]]], ...] = (
    (
        r"Unsupported TIFF compression: (\d+)",
        lambda m: (f"its tiles are compressed by {compression_name(int(m[1]))}", _TIFF),
    ),
    (
        r"Pixel type (\w+) is not supported",
        lambda m: (
            f"its pixels are of the Zeiss type {m[1]}, and only those of colour cameras (BGR24, "
            "BGR48) are read",
            f"export the channels you need as 8-bit RGB in ZEN, or {_OME_TIFF}",
        ),
    ),
    (
        r"(?:([\w ]+) compression|Compression (\d+)) is not supported",
        lambda m: (
            f"its pixels are compressed by {(m[1] or f'type {m[2]}').strip()}",
            "save it in ZEN uncompressed or as Zstd, install fastslide and pass --reader "
            f"fastslide, or {_OME_TIFF}",
        ),
    ),
    (
        r"Unrecognized subblock dimension \"(\w)|Nonzero subblock (channel)",
        lambda m: (
            f"it holds several {_DIMENSIONS.get(m[1] or 'C', f'pictures (dimension {m[1]})')}",
            "export one picture in RGB in ZEN (Extended Focus, or Create Image Subset)",
        ),
    ),
    (
        r"dissimilar main images",
        lambda m: ("it holds several scans of different resolution", "export each scan alone"),
    ),
    (
        r"doesn't have a matching slide identifier",
        lambda m: ("its index belongs to another slide", "copy the whole folder again"),
    ),
    (
        r"Unsupported photometric interpretation (\S+)",
        lambda m: (
            f"its colours are stored as {m[1]}, and only RGB and YBR_FULL_422 are read",
            "convert it to one of them (DCMTK: dcmdjpeg, then dcmcjpeg)",
        ),
    ),
    (
        r"SOP instances?",
        lambda m: ("files of its series are missing", "copy all files of the series"),
    ),
    (
        r"(?i)no such file|couldn't open|couldn't f?open|cannot open",
        lambda m: ("a file of the slide is missing", _COPY),
    ),
    (
        r"(?i)(couldn't|can't|cannot) (f?read|f?seek|load)|end of file|premature|short read",
        lambda m: ("a part of it cannot be read: it may be truncated", _COPY),
    ),
)


def why_not_opened(vendor: str, message: str) -> tuple[str, str]:
    """What a slide has that openslide cannot open it, as a clause, and what to do.

    Args:
        vendor: openslide's name of the format.
        message: Its error.
    """
    found = f"openslide takes it for {vendor!r} but cannot open it ({message})"
    for pattern, meaning in _MEANINGS:
        match = re.search(pattern, message)
        if match is not None:
            cause, remedy = meaning(match)
            return f"{cause} ({vendor}; openslide says: {message})", remedy
    return found, f"{_COPY}, or export it again"


def narrow_samples(properties: Mapping[str, str], largest: Callable[[], int]) -> str | None:
    """Why the samples of an open slide are darker than they mean, as a clause; None for none.

    Of Zeiss pixels of 16 bits openslide takes the upper eight, and cameras use 12 or 14.

    Args:
        properties: The slide's properties in openslide's names.
        largest: Gives the largest of the eight-bit samples of an overview.
    """
    image = "zeiss.Information.Image"
    if properties.get(f"{image}.PixelType", "").lower() != "bgr48":
        return None
    bits = properties.get(f"{image}.ComponentBitCount", "")
    if bits.isdecimal() and int(bits) < 16:
        return f"its samples of 16 bits use {bits} of them (Zeiss Bgr48), and would be too dark"
    if largest() >= _FULL_RANGE_LEAST:
        return None
    return (
        "its samples of 16 bits (Zeiss Bgr48) reach less than half of their range, so that how "
        "many bits are used (12? 14?) cannot be told"
    )

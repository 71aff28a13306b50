"""Pictures inside a page: as `data:` addresses, so that nothing is asked from anywhere."""

import base64
import io
import warnings
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image, UnidentifiedImageError

from slidenet.core.arrays import UInt8Array
from slidenet.visualisation.style import figure_bytes

JPEG_QUALITY = 76
MOST_PIXELS = 80_000_000
"""Of a picture file; one that claims more is not decoded."""

FAULTS = (
    OSError, ValueError, SyntaxError, EOFError, MemoryError, UnidentifiedImageError,
    Image.DecompressionBombError, Image.DecompressionBombWarning,
)  # fmt: skip
"""What decoding a damaged picture may raise."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as it stands in a page.

    Attributes:
        uri: `data:image/...;base64,...`.
        width: Pixels.
        height: Pixels.
    """

    uri: str
    width: int
    height: int

    @property
    def num_bytes(self) -> int:
        """What it adds to the page."""
        return len(self.uri)


def picture_of_figure(figure: Figure, *, dpi: float = 96) -> Picture:
    """A figure of matplotlib as PNG."""
    content = figure_bytes(figure, "png", dpi=dpi)
    with Image.open(io.BytesIO(content)) as image:
        width, height = image.size
        small = image.convert("RGB").quantize(128, dither=Image.Dither.NONE)
    buffer = io.BytesIO()
    small.save(buffer, format="PNG", optimize=True)
    best = min(content, buffer.getvalue(), key=len)
    return Picture(_uri("png", best), width, height)


def picture_of_array(pixels: UInt8Array, *, longest: int) -> Picture:
    """An RGB picture, uint8 (h, w, 3), as JPEG of at most `longest` pixels a side."""
    return _jpeg(Image.fromarray(pixels), longest)


def picture_of_file(path: Path, *, longest: int) -> Picture | None:
    """A picture file made smaller, without anything the file says besides its pixels.

    Args:
        path: PNG or JPEG.
        longest: Pixels of its longer side, at most.

    Returns:
        None where there is no such file, or it is no picture, or damaged.
    """
    if not path.is_file():  # a pipe would be waited for
        return None
    try:
        with warnings.catch_warnings(), Image.open(path, formats=("JPEG", "PNG")) as image:
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            if image.width * image.height > MOST_PIXELS:
                return None
            image.draft("RGB", (longest, longest))
            if image.format == "PNG":
                return _png(image, longest)
            return _jpeg(image.convert("RGB"), longest)
    except FAULTS:
        return None


def _jpeg(image: Image.Image, longest: int) -> Picture:
    image.thumbnail((longest, longest), Image.Resampling.BOX, reducing_gap=None)
    clean = Image.new("RGB", image.size)
    clean.paste(image)
    buffer = io.BytesIO()
    clean.save(buffer, format="JPEG", quality=JPEG_QUALITY, optimize=True, progressive=True)
    return Picture(_uri("jpeg", buffer.getvalue()), *clean.size)


def _png(image: Image.Image, longest: int) -> Picture:
    """PNG where few colours make it the smaller one, as with charts, else JPEG."""
    flat = Image.new("RGB", image.size, "white")
    converted = image.convert("RGBA")
    flat.paste(converted, mask=converted.getchannel("A"))
    flat.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    few = flat.quantize(128, dither=Image.Dither.NONE)
    few.save(buffer, format="PNG", optimize=True)
    png, jpeg = buffer.getvalue(), _jpeg(flat, longest)
    if len(png) * 4 / 3 <= jpeg.num_bytes:
        return Picture(_uri("png", png), *flat.size)
    return jpeg


def _uri(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"

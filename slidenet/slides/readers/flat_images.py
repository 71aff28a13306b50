"""Flat images through Pillow: what is admitted, and its pixels as upright RGB in bounded memory."""

import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import imagecodecs
import numpy as np
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError

from slidenet.core.errors import UnreadableSlideError
from slidenet.slides.colour import WHITE, to_rgb
from slidenet.slides.limits import current_limits
from slidenet.slides.protocol import Pixels, Size
from slidenet.slides.readers.flat_damage import strict_jpeg

FORMATS = ("JPEG", "PNG", "TIFF")
_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA"}
_BAND_PX = 1 << 20
_RESERVE_BYTES = 140_000_000
"""For bands of rows on their way, and code that is loaded late."""
_MANY_PICTURES = 64
_TURNED = range(5, 9)
"""Orientations that exchange width and height."""
_EXPORT = "export it as 8-bit RGB"
PILLOW_ERRORS = (OSError, SyntaxError, ValueError, LookupError, TypeError, struct.error)
"""What Pillow's parsers and decoders raise at damaged data."""

_guard = threading.Lock()
_num_unguarded = 0
_pillow_limit: int | None = None


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """An image with its header read, however large it is.

    Raises:
        UnidentifiedImageError: It is none of `FORMATS`.
        UnreadableSlideError: It is one, and its header is damaged.
    """
    with _without_pillows_guard():
        try:
            image = Image.open(path, formats=FORMATS)
        except UnidentifiedImageError:
            raise
        except (OSError, SyntaxError, ValueError) as error:
            raise UnreadableSlideError(
                f"its header cannot be read ({error})",
                expected="a complete image",
                remedy="copy or export it again",
                slide=path.name,
            ) from error
        with image:
            yield image


def check_flat(image: Image.Image, path: Path) -> None:
    """Refuses what would not become the picture that the file means, or takes too much memory.

    Raises:
        UnreadableSlideError: Saying what the image is.
    """
    problem = _foreign_pixels(image) or _too_large(image, path) or _hidden_pictures(image)
    if problem is not None:
        found, expected, remedy = problem
        raise UnreadableSlideError(found, expected=expected, remedy=remedy, slide=path.name)


def orientation_of(image: Image.Image) -> int:
    """Which way the picture must be turned: 1 upright, 2 to 8 as TIFF and EXIF number them.

    1 for a TIFF, which Pillow turns itself.
    """
    if image.format == "TIFF":
        return 1
    if image.format == "PNG" and "exif" not in image.info:
        return 1  # Pillow would decode all of it to look for one behind the pixels
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    return orientation if orientation in range(1, 9) else 1


def upright_size(image: Image.Image) -> Size:
    """(width, height) of the upright picture."""
    width, height = image.size
    return (height, width) if orientation_of(image) in _TURNED else (width, height)


def decode_flat(path: Path, transform: ImageCms.ImageCmsTransform | None) -> Pixels:
    """The upright picture on white.

    Converted band by band, so that Pillow's picture and the result are held, and nothing else.

    Returns:
        uint8 (height, width, 3), RGB; not always contiguous.

    Raises:
        OSError, SyntaxError, ValueError: Of Pillow's decoders.
        UnreadableSlideError: Samples of 16 bits do not use them.
    """
    with opened(path) as image:
        if is_deep_png(image):
            return _eight_bits(path, transform)
        width, height = image.size
        orientation = orientation_of(image)
        if image.format in ("JPEG", "MPO"):
            samples = strict_jpeg(path, grey=image.mode == "L")
            return _turned(_in_bands(samples, transform), orientation)
        image.load()
        if orientation_of(image) != orientation:
            raise ValueError("its orientation stands behind its pixels")
        pixels = np.empty((height, width, 3), np.uint8)
        step = max(1, _BAND_PX // width)
        for top in range(0, height, step):
            bottom = min(top + step, height)
            band = image.crop((0, top, width, bottom))
            layered = band.convert("RGBA") if image.has_transparency_data else band
            pixels[top:bottom] = to_rgb(layered, WHITE, transform)
    return _turned(pixels, orientation)


def is_deep_png(image: Image.Image) -> bool:
    """Whether a PNG has 16 bits per sample, of which Pillow would keep the upper eight."""
    return image.format == "PNG" and ";16" in _raw_mode(image)


def _raw_mode(image: Image.Image) -> str:
    tile = list(getattr(image, "tile", []))
    args = tile[0][3] if tile else ""
    return args if isinstance(args, str) else str(args[0]) if args else ""


def _eight_bits(path: Path, transform: ImageCms.ImageCmsTransform | None) -> Pixels:
    """A PNG of 16-bit samples, of which PNG says that they fill their range."""
    try:
        samples = imagecodecs.png_decode(path.read_bytes())
    except imagecodecs.PngError as error:
        raise ValueError(str(error)) from error
    largest = int(samples.max())
    if largest < 1 << 15:
        raise UnreadableSlideError(
            f"its samples of 16 bits reach only {largest:,}, so that how many bits are used "
            f"(12? 14?) cannot be told",
            expected="samples that fill their range up to 65,535",
            remedy=_EXPORT,
            slide=path.name,
        )
    shallow: Pixels = np.empty(samples.shape, np.uint8)
    for row, deep in zip(shallow, samples, strict=True):
        row[:] = (deep.astype(np.uint32) + 128) // 257
    del samples
    return _in_bands(shallow, transform)


def _in_bands(samples: Pixels, transform: ImageCms.ImageCmsTransform | None) -> Pixels:
    """8-bit samples, uint8 (height, width[, bands]), as RGB on white."""
    height, width = samples.shape[:2]
    if transform is None and samples.shape[2:] == (3,):
        return samples
    pixels = np.empty((height, width, 3), np.uint8)
    step = max(1, _BAND_PX // width)
    for top in range(0, height, step):
        band = Image.fromarray(samples[top : top + step])
        layered = band.convert("RGBA") if band.has_transparency_data else band
        pixels[top : top + step] = to_rgb(layered, WHITE, transform)
    return pixels


def _turned(pixels: Pixels, orientation: int) -> Pixels:
    """The picture whose first row and column lie where `orientation` says, upright."""
    if orientation in _TURNED:
        pixels = pixels.swapaxes(0, 1)
    across = {2: -1, 3: -1, 6: -1, 7: -1}.get(orientation, 1)
    down = {3: -1, 4: -1, 7: -1, 8: -1}.get(orientation, 1)
    return pixels[::down, ::across]


def _foreign_pixels(image: Image.Image) -> tuple[str, str, str] | None:
    expected = "8 bits per sample, grey or RGB"
    if image.mode == "CMYK":
        found = "its pixels are amounts of ink (CMYK), which are no colours without the press"
        return found, expected, "export it as 8-bit RGB with the profile of the press"
    if image.mode in _MODES or is_deep_png(image):
        return None
    return f"its pixels are of Pillow mode {image.mode!r}", expected, _EXPORT


def _too_large(image: Image.Image, path: Path) -> tuple[str, str, str] | None:
    limits = current_limits()
    width, height = image.size
    needed = _bytes_on_the_way(image, path)
    if needed + _RESERVE_BYTES <= limits.max_memory_bytes:
        return None
    return (
        f"its {width:,} x {height:,} px must be decoded as a whole, which takes "
        f"{(needed + _RESERVE_BYTES) / 1e9:.2f} GB",
        f"at most {limits.max_memory_bytes / 1e9:g} GB",
        "convert it into a tiled pyramid (vips tiffsave IN OUT.tif --tile --pyramid --compression "
        "jpeg), or raise the limit (--memory-limit-gb)",
    )


def _bytes_on_the_way(image: Image.Image, path: Path) -> int:
    """Memory that decoding an image takes, the result included."""
    pixels = image.size[0] * image.size[1]
    channels = len(image.getbands())
    result = 3 * pixels
    if is_deep_png(image):  # the file, and three copies of its samples
        return path.stat().st_size + 6 * channels * pixels
    held = pixels * (1 if image.mode in ("1", "L", "P") else 4)  # Pillow's own
    if image.info.get("progressive"):  # libjpeg's coefficients
        held += 2 * channels * pixels
    if image.info.get("compression") == "raw":  # the file, mapped into memory
        held += path.stat().st_size
    return held + result


def _hidden_pictures(image: Image.Image) -> tuple[str, str, str] | None:
    """Further pictures of the file at least as large as the one that is read; not of TIFF."""
    # Pillow sets up every page of a TIFF to count them; the index has counted them already.
    count = 1 if image.format == "TIFF" else int(getattr(image, "n_frames", 1))
    if count < 2:
        return None
    size, hidden = image.size, 0
    for number in range(1, min(count, _MANY_PICTURES)):
        image.seek(number)
        hidden += image.size[0] >= size[0] and image.size[1] >= size[1]
    image.seek(0)
    if not hidden:
        return None
    found = f"it holds {count} pictures, {hidden} further ones as large as the first"
    return found, "one picture", "export the one that is meant"


@contextmanager
def _without_pillows_guard() -> Iterator[None]:
    """Lets Pillow open and decode images above its guard; `check_flat` has one in bytes."""
    global _num_unguarded, _pillow_limit
    with _guard:
        if _num_unguarded == 0:
            _pillow_limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        _num_unguarded += 1
    try:
        yield
    finally:
        with _guard:
            _num_unguarded -= 1
            if _num_unguarded == 0:
                Image.MAX_IMAGE_PIXELS = _pillow_limit

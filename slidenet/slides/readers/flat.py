"""Flat images (PNG, JPEG, TIFF) as slides of one level."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Self

import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError

from slidenet.core.errors import SlideError, UnreadableSlideError
from slidenet.slides.admission import check_complete, check_no_scanner_file
from slidenet.slides.colour import to_rgb, to_srgb
from slidenet.slides.protocol import Pixels, Size
from slidenet.slides.readers.base import SlideReader
from slidenet.slides.resolution import mpp_from_tiff_tags

FORMATS = ("JPEG", "PNG", "TIFF")
_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"}
_RESOLUTION_UNIT, _X_RESOLUTION, _Y_RESOLUTION = 296, 282, 283
_UNITS = {1: "none", 2: "inch", 3: "centimeter"}
_pillow_limit_lock = threading.Lock()


class FlatReader(SlideReader):
    """A `Slide` of one level over a flat 8-bit image; see `SlideReader` for the arguments.

    Opening reads the header; the first read decodes the whole image and keeps it (3 bytes per
    pixel) until the slide is closed. Of a TIFF with several pages the first is read. Resolution
    tags count in TIFF only: those of PNG and JPEG say how to print, not what was photographed.

    Raises:
        UnreadableSlideError: Not 8 bits per channel.
    """

    name = "flat"
    suffixes = (".jpeg", ".jpg", ".png", ".tif", ".tiff")

    def __init__(self, path: Path, mpp: float | None = None, icc: bool = False) -> None:
        super().__init__(path, mpp, icc)
        with _opened(path) as image:
            self.vendor = {"MPO": "jpeg"}.get(image.format or "", (image.format or "").lower())
            self.level_dimensions = (image.size,)
            self.properties = _properties(image)
            profile = image.info.get("icc_profile")
        self.level_downsamples = (1.0,)
        self._transform = None
        if icc and profile:
            self._transform = to_srgb(
                lambda: ImageCms.ImageCmsProfile(BytesIO(profile)), slide=path.name
            )
        self.icc_applied = self._transform is not None
        self._lock = threading.Lock()
        self._pixels: Pixels | None = None
        self._closed = False

    @classmethod
    def can_read(cls, path: Path) -> bool:
        """Whether Pillow takes the file for one of these formats."""
        try:
            with _without_size_limit(), Image.open(path, formats=FORMATS):
                return True
        except UnidentifiedImageError:
            return False

    @classmethod
    def open(cls, path: Path, mpp: float | None = None, *, icc: bool = False) -> Self:
        """Opens an image, unless its TIFF ends too early.

        Raises:
            MissingMppError: The declared `mpp` cannot be.
            UnreadableSlideError: It is truncated, of another format by its name, or not 8 bits
                per channel.
        """
        check_complete(path, strips=True)
        check_no_scanner_file(path)
        return cls(path, mpp, icc)

    def read_region(self, location: Size, level: int, size: Size) -> Pixels:
        """See `Slide.read_region`."""
        self.check_region(level, size)
        pixels = self._decoded()
        (x, y), (width, height) = location, size
        region = np.empty((height, width, 3), np.uint8)
        region[:] = self.background_rgb
        left, top = max(x, 0), max(y, 0)
        inside = pixels[top : max(y + height, 0), left : max(x + width, 0)]
        region[top - y :, left - x :][: inside.shape[0], : inside.shape[1]] = inside
        return region

    def close(self) -> None:
        """See `Slide.close`."""
        self._closed = True
        self._pixels = None

    def _decoded(self) -> Pixels:
        with self._lock:
            if self._closed:
                raise SlideError(
                    "the slide is closed", remedy="open it again", slide=self.path.name
                )
            if self._pixels is None:
                try:
                    with _opened(self.path) as image:
                        layered = image.convert("RGBA") if image.has_transparency_data else image
                        self._pixels = to_rgb(layered, self.background_rgb, self._transform)
                except (OSError, SyntaxError, ValueError) as error:  # of Pillow's decoders
                    raise UnreadableSlideError(
                        f"its {self.vendor.upper()} data cannot be decoded ({error})",
                        expected="a complete image",
                        remedy="copy or export it again",
                        slide=self.path.name,
                    ) from error
            return self._pixels


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """The image with its header read, however large it is."""
    with _without_size_limit():
        image = Image.open(path, formats=FORMATS)
    with image:
        if image.mode not in _MODES:
            raise UnreadableSlideError(
                f"its pixels are of Pillow mode {image.mode!r}",
                expected="8 bits per channel",
                remedy="export it as 8-bit RGB",
                slide=path.name,
            )
        yield image


@contextmanager
def _without_size_limit() -> Iterator[None]:
    """Lets Pillow open images above its guard against hostile files, which slides exceed."""
    with _pillow_limit_lock:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _properties(image: Image.Image) -> dict[str, str]:
    properties = {"flat.format": str(image.format), "flat.mode": image.mode}
    tags = getattr(image, "tag_v2", None)
    if tags is None or not {_X_RESOLUTION, _Y_RESOLUTION} <= set(tags):
        return properties
    # The TIFF standard's default unit is the inch.
    unit = _UNITS.get(int(tags.get(_RESOLUTION_UNIT, 2)), "unknown")
    properties["tiff.ResolutionUnit"] = unit
    for axis, tag in (("X", _X_RESOLUTION), ("Y", _Y_RESOLUTION)):
        resolution = float(tags[tag])
        properties[f"tiff.{axis}Resolution"] = repr(resolution)
        mpp = mpp_from_tiff_tags(resolution, unit)
        if mpp is not None:
            properties[f"openslide.mpp-{axis.lower()}"] = repr(mpp)
    return properties

"""Flat images (PNG, JPEG, TIFF) as slides of one level."""

import threading
from io import BytesIO
from pathlib import Path
from typing import Self

import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError

from slidenet.core.errors import SlideError, UnreadableSlideError
from slidenet.core.text import count_of
from slidenet.slides.admission import (
    check_no_scanner_file,
    check_overview,
    check_picture,
    check_whole_tiff,
)
from slidenet.slides.colour import to_srgb
from slidenet.slides.protocol import Pixels, Size
from slidenet.slides.readers.base import SlideReader
from slidenet.slides.readers.flat_damage import check_strips
from slidenet.slides.readers.flat_images import (
    PILLOW_ERRORS,
    check_flat,
    decode_flat,
    opened,
    upright_size,
)
from slidenet.slides.resolution import DeclaredMpp, mpp_from_tiff_tags
from slidenet.slides.tiff import Need, TiffIndex, tags

_DESCRIPTION = 270
_RESOLUTION_UNIT, _X_RESOLUTION, _Y_RESOLUTION = 296, 282, 283
MEETS = frozenset(
    {
        Need.ALPHA,
        Need.BILEVEL,
        Need.GREY,
        Need.MIN_IS_WHITE,
        Need.ORIENTATION,
        Need.PALETTE,
        Need.PLANES,
        Need.SIXTEEN_BITS,
        Need.UNASSOCIATED_ALPHA,
    }
)
"""What Pillow was seen to show exactly of a TIFF, beyond 8-bit RGB and YCbCr."""
_UNITS = {1: "none", 2: "inch", 3: "centimeter"}


class FlatReader(SlideReader):
    """A `Slide` of one level over a flat image; see `SlideReader` for the arguments.

    Opening reads the header; the first read decodes the whole image and keeps it (3 bytes per
    pixel) until the slide is closed. The picture is turned upright as its orientation says.
    Resolution tags count in TIFF only: those of PNG and JPEG say how to print, not what was
    photographed.

    Raises:
        UnreadableSlideError: Its samples are not what a picture in 8 bits or 16 full bits has, it
            is too large to be held whole, or it holds further pictures.
    """

    name = "flat"
    suffixes = (".jpeg", ".jpg", ".png", ".tif", ".tiff")

    def __init__(self, path: Path, mpp: DeclaredMpp | None = None, icc: bool = False) -> None:
        super().__init__(path, mpp, icc)
        try:
            with opened(path) as image:
                check_flat(image, path)
                self.vendor = {"MPO": "jpeg"}.get(image.format or "", (image.format or "").lower())
                self.level_dimensions = (upright_size(image),)
                self.properties = _properties(image)
                profile = image.info.get("icc_profile")
        except PILLOW_ERRORS as error:
            raise UnreadableSlideError(
                f"its header cannot be understood ({error})",
                expected="a whole PNG, JPEG or TIFF image",
                remedy="copy or export it again",
                slide=path.name,
            ) from error
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
        """Whether Pillow takes the file for one of these formats; a broken one is one."""
        index = TiffIndex.read(path)
        if index is not None and index.problems:
            return True  # `open` says what is broken; Pillow would only warn of its details
        if index is not None and index.picture.levels[0].compression == tags.WEBP:
            return False  # Pillow takes it for one, and decodes it in few of its builds
        try:
            with opened(path):
                return True
        except UnidentifiedImageError:
            return False
        except UnreadableSlideError:
            return True

    @classmethod
    def open(cls, path: Path, mpp: DeclaredMpp | None = None, *, icc: bool = False) -> Self:
        """Opens an image, unless its TIFF ends too early.

        Raises:
            MissingMppError: The declared `mpp` cannot be.
            UnreadableSlideError: It is truncated, of another format by its name, or not 8 bits
                per channel.
        """
        check_no_scanner_file(path)
        index = check_whole_tiff(path, strips=True)
        if index is not None:
            check_picture(index, reader=cls.name, meets=MEETS, first_page=True)
            _check_stored(index)
        slide = cls(path, mpp, icc)
        if index is not None:
            check_overview(slide, index)
            slide.add_notes(index.picture.notes)
        return slide

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
                index = TiffIndex.read(self.path)
                try:
                    if index is not None:
                        check_strips(self.path, index.picture.levels[0])
                    self._pixels = decode_flat(self.path, self._transform)
                except PILLOW_ERRORS as error:
                    codec = "" if index is None else f" ({index.picture.levels[0].codec})"
                    raise UnreadableSlideError(
                        f"its {self.vendor.upper()} data{codec} cannot be decoded ({error})",
                        expected="a complete image",
                        remedy="copy or export it again",
                        slide=self.path.name,
                    ) from error
            return self._pixels


def _check_stored(index: TiffIndex) -> None:
    """Refuses a TIFF some of whose strips have no bytes: Pillow shows others in their place."""
    page = index.picture.levels[0]
    missing = int((page.byte_counts == 0).sum())
    if missing:
        what = count_of("tile" if page.is_tiled else "strip", page.num_tiles)
        raise UnreadableSlideError(
            f"of its {what} {missing} have no bytes in the file",
            expected="a whole image",
            remedy="copy or export it again",
            slide=index.path.name,
        )


def _properties(image: Image.Image) -> dict[str, str]:
    properties = {"flat.format": str(image.format), "flat.mode": image.mode}
    fields = getattr(image, "tag_v2", None)
    if fields is None:
        return properties
    description = fields.get(_DESCRIPTION)
    if isinstance(description, str):  # OME-XML says the size of a pixel, in microns of UTF-8
        properties["tiff.ImageDescription"] = _as_utf_8(description)
    if not {_X_RESOLUTION, _Y_RESOLUTION} <= set(fields):
        return properties
    # The TIFF standard's default unit is the inch.
    unit = _UNITS.get(int(fields.get(_RESOLUTION_UNIT, 2)), "unknown")
    properties["tiff.ResolutionUnit"] = unit
    for axis, tag in (("X", _X_RESOLUTION), ("Y", _Y_RESOLUTION)):
        resolution = float(fields[tag])
        properties[f"tiff.{axis}Resolution"] = repr(resolution)
        mpp = mpp_from_tiff_tags(resolution, unit)
        if mpp is not None:
            properties[f"openslide.mpp-{axis.lower()}"] = repr(mpp)
    return properties


def _as_utf_8(text: str) -> str:
    """What Pillow took for Latin-1, which any bytes are."""
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text

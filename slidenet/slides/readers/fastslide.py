"""Slides read by the package fastslide, for formats that openslide lacks. Never chosen by itself.

Its pixels are its own: of formats both read they can differ from openslide's by some grey levels.
A cohort read with it says so in its identity, as with any reader that is named.
"""

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from slidenet.core.errors import (
    MissingExtraError,
    PixelReadError,
    SlideError,
    UnreadableSlideError,
)
from slidenet.slides.protocol import Pixels, Size
from slidenet.slides.readers.base import SlideReader
from slidenet.slides.resolution import DeclaredMpp


class FastSlideReader(SlideReader):
    """A `Slide` over fastslide; see `SlideReader` for the arguments.

    Olympus VSI, Philips iSyntax, QPTIFF and CZI are what it adds. Slides of 8 bits and three
    channels are read; for others it has no colours.

    Raises:
        MissingExtraError: The package is not installed.
        UnreadableSlideError: fastslide cannot open the file, or it is not 8-bit RGB.
    """

    name = "fastslide"
    suffixes = (
        ".bif",
        ".czi",
        ".i2syntax",
        ".isyntax",
        ".mrxs",
        ".ndpi",
        ".qptiff",
        ".svs",
        ".tif",
        ".tiff",
        ".vsi",
    )

    def __init__(self, path: Path, mpp: DeclaredMpp | None = None, icc: bool = False) -> None:
        super().__init__(path, mpp, icc)
        slide = self._open()
        found = f"{slide.num_channels} channels of {slide.dtype}"
        if found != "3 channels of uint8":
            raise UnreadableSlideError(
                f"it has {found}",
                expected="three channels (red, green, blue) of 8 bits",
                remedy="export it as 8-bit RGB",
                slide=path.name,
            )
        self._slide: Any = slide
        self.vendor = str(slide.format).lower()
        self.level_dimensions = tuple((int(w), int(h)) for w, h in slide.level_dimensions)
        self.level_downsamples = tuple(float(d) for d in slide.level_downsamples)
        self.properties = {f"fastslide.{k}": str(v) for k, v in slide.properties.items()}
        if all(value > 0 for value in slide.mpp):  # 0 where the file does not say it
            for axis, value in zip("xy", slide.mpp, strict=True):
                self.properties[f"openslide.mpp-{axis}"] = repr(float(value))
        corner, extent = slide.bounds
        if min(extent) > 0 and (*corner, *extent) != (0, 0, *self.level_dimensions[0]):
            names = ("x", "y", "width", "height")
            for what, value in zip(names, (*corner, *extent), strict=True):
                self.properties[f"openslide.bounds-{what}"] = str(int(value))
        self.icc_applied = bool(icc and slide.icc_profile)

    @classmethod
    def can_read(cls, path: Path) -> bool:
        """Always: only fastslide itself can say why it does not open a file."""
        return True

    def read_region(self, location: Size, level: int, size: Size) -> Pixels:
        """See `Slide.read_region`; at the nearest whole pixel of the level, never blended."""
        self.check_region(level, size)
        of_level = self.levels[level]
        x, y = location[0] / of_level.downsample_x, location[1] / of_level.downsample_y
        return self.read_level((round(x), round(y)), level, size)

    def read_level(self, location: Size, level: int, size: Size) -> Pixels:
        """See `Slide.read_level`."""
        self.check_region(level, size)
        width, height = self.level_dimensions[level]
        (x, y), (right, bottom) = location, (location[0] + size[0], location[1] + size[1])
        region = np.empty((size[1], size[0], 3), np.uint8)
        region[:] = self.background_rgb
        left, top = max(x, 0), max(y, 0)
        inside = (min(right, width) - left, min(bottom, height) - top)
        if min(inside) < 1:  # fastslide raises where nothing of the slide is asked for
            return region
        if self._slide is None:
            raise SlideError("the slide is closed", remedy="open it again", slide=self.path.name)
        try:
            pixels = self._slide.read_region((left, top), level, inside).numpy()
        except RuntimeError as error:
            raise PixelReadError(
                f"{size[0]}x{size[1]} px at {location} of level {level} cannot be decoded "
                f"({_first_line(error)})",
                remedy="export or copy the slide again if this place matters; other places of it "
                "can still be read",
                slide=self.path.name,
            ) from error
        region[top - y :, left - x :][: inside[1], : inside[0]] = pixels
        return region

    def close(self) -> None:
        """See `Slide.close`."""
        if self._slide is not None:
            self._slide.close()
            self._slide = None

    def _open(self) -> Any:
        try:
            return _package().FastSlide.from_file_path(self.path, apply_icc=self._icc)
        except RuntimeError as error:
            raise UnreadableSlideError(
                f"fastslide cannot open it ({_first_line(error)})",
                remedy="copy it again with all files that belong to it, or leave out "
                "`--reader fastslide`",
                slide=self.path.name,
            ) from error


def _package() -> ModuleType:
    try:
        return importlib.import_module("fastslide")
    except ImportError as error:
        raise MissingExtraError(
            f"the reader 'fastslide' needs the package of this name, which cannot be imported "
            f"({error})",
            remedy="pip install fastslide",
        ) from error


def _first_line(error: RuntimeError) -> str:
    """What went wrong, without the trace of its C++ source that follows."""
    return str(error).partition("\n")[0]

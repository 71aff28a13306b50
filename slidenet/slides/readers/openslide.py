"""Slides read by openslide."""

from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import openslide
from openslide import OpenSlide

from slidenet.core.errors import PixelReadError, UnreadableSlideError
from slidenet.slides.admission import (
    check_overview,
    check_pyramid,
    check_vendor_files,
    narrow_samples,
)
from slidenet.slides.colour import parse_background, to_rgb, to_srgb
from slidenet.slides.protocol import Pixels, Size
from slidenet.slides.pyramid import Level
from slidenet.slides.readers.base import SlideReader
from slidenet.slides.readers.handles import SharedHandle
from slidenet.slides.readers.tiled.missing import finer_has_stored
from slidenet.slides.resolution import DeclaredMpp
from slidenet.slides.tiff import TiffIndex

_MIDDLE_PX = 2048
_MOST_PARTS = 1000
_LEVELS_ARE_PAGES = {"generic-tiff", "aperio"}
_SIDES = ("x", "y", "width", "height")


class OpenSlideReader(SlideReader):
    """A `Slide` over openslide 4; see `SlideReader` for the arguments.

    Raises:
        UnreadableSlideError: openslide cannot open the file, or its ICC profile is broken.
    """

    name = "openslide"
    suffixes = (
        ".bif",
        ".btf",
        ".czi",
        ".dcm",
        ".mrxs",
        ".ndpi",
        ".qptiff",
        ".scn",
        ".svs",
        ".svslide",
        ".tf8",
        ".tif",
        ".tiff",
        ".vms",
        ".vmu",
    )

    def __init__(self, path: Path, mpp: DeclaredMpp | None = None, icc: bool = False) -> None:
        super().__init__(path, mpp, icc)
        self.vendor = OpenSlide.detect_format(path) or "no slide"
        self._shared = SharedHandle(path, self.vendor)
        handle = self._shared.current()
        self.properties = dict(handle.properties)
        self.level_dimensions = handle.level_dimensions
        self.level_downsamples = handle.level_downsamples
        narrow = narrow_samples(self.properties, self._largest_sample)
        if narrow is not None:
            raise UnreadableSlideError(
                narrow,
                expected="samples that fill their range",
                remedy="export it as 24-bit RGB",
                slide=path.name,
            )
        self.background_rgb = parse_background(
            self.properties.get(openslide.PROPERTY_NAME_BACKGROUND_COLOR)
        )
        self._transform = to_srgb(lambda: handle.color_profile, slide=path.name) if icc else None
        self.icc_applied = self._transform is not None

    def _largest_sample(self) -> int:
        """The largest sample in the middle of the coarsest level, of what the scanner stored.

        255 where nothing there can be read, which says nothing about samples.
        """
        width, height = self.level_dimensions[-1]
        size = min(width, _MIDDLE_PX), min(height, _MIDDLE_PX)
        downsample = self.level_downsamples[-1]
        corner = (
            int((width - size[0]) / 2 * downsample),
            int((height - size[1]) / 2 * downsample),
        )
        try:
            image = self._shared.read_region(corner, len(self.level_dimensions) - 1, size)
        except PixelReadError:
            return 255
        pixels = np.asarray(image)
        stored = pixels[pixels[..., 3] == 255, :3]
        return int(stored.max()) if stored.size else 255

    @classmethod
    def can_read(cls, path: Path) -> bool:
        """Whether openslide knows the format."""
        return OpenSlide.detect_format(path) is not None

    @classmethod
    def open(cls, path: Path, mpp: DeclaredMpp | None = None, *, icc: bool = False) -> Self:
        """Opens a slide, unless it is not whole; see `check_vendor_files`.

        Raises:
            MissingMppError: The declared `mpp` cannot be.
            UnreadableSlideError: It is not whole, or openslide cannot open it.
        """
        index = check_vendor_files(path, OpenSlide.detect_format(path) or "")
        slide = cls(path, mpp, icc)
        if index is not None:
            check_overview(slide, index)
            slide.add_notes(index.picture.notes)
        return slide

    @cached_property
    def levels(self) -> tuple[Level, ...]:
        """See `Slide.levels`."""
        return check_pyramid(self, self._index)

    @cached_property
    def storage_note(self) -> str:
        """See `Slide.storage_note`; told by the index where levels are pages."""
        if self._index is None or self.vendor not in _LEVELS_ARE_PAGES:
            return ""
        return self._index.picture.levels[0].storage_note

    @cached_property
    def _index(self) -> TiffIndex | None:
        return TiffIndex.read(self.path)

    def has_stored(self, location: Size, level: int, size: Size) -> bool:
        """See `Slide.has_stored`; told by the index where levels are pages, else by bounds.

        Scanners that place what they scanned on a larger canvas (Leica, MIRAX) say where.
        """
        self.check_region(level, size)
        if self._index is None or self.vendor not in _LEVELS_ARE_PAGES:
            return not self._scanned or any(
                self._touches(part, location, level, size) for part in self._scanned
            )
        pages = {page.size: page for page in self._index.picture.levels}
        page = pages.get(self.level_dimensions[level])
        if page is None or page.has_stored(location, size):
            return True
        shown_from_finer = level > 0 and self.vendor == "aperio"
        return shown_from_finer and finer_has_stored(self, location, level, size)

    @cached_property
    def _scanned(self) -> tuple[tuple[int, int, int, int], ...]:
        """Scanned parts of the canvas, (x, y, width, height), level-0 pixels; empty if not said."""
        names = [f"region[{number}]." for number in range(_MOST_PARTS)] + ["bounds-"]
        parts: list[tuple[int, int, int, int]] = []
        for name in names:
            texts = [self.properties.get(f"openslide.{name}{side}") for side in _SIDES]
            if name == "bounds-" and parts:
                break  # they hold all parts and what lies between
            if all(text is not None and text.isdigit() for text in texts):
                x, y, width, height = (int(text or 0) for text in texts)
                parts.append((x, y, width, height))
        return tuple(parts)

    def _touches(
        self, part: tuple[int, int, int, int], location: Size, level: int, size: Size
    ) -> bool:
        """Whether a region of a level, and one pixel around it, touches a part of level 0."""
        downsample = self.level_downsamples[level]
        return all(
            (start - 1) * downsample < corner + extent
            and corner < (start + length + 1) * downsample
            for start, length, corner, extent in zip(
                location, size, part[:2], part[2:], strict=True
            )
        )

    def read_region(self, location: Size, level: int, size: Size) -> Pixels:
        """See `Slide.read_region`."""
        self.check_region(level, size)
        image = self._shared.read_region(location, level, size)
        return to_rgb(image, self.background_rgb, self._transform)

    def close(self) -> None:
        """See `Slide.close`."""
        self._shared.close()

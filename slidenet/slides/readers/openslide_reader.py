"""Slides read by openslide."""

from pathlib import Path

import openslide

from slidenet.slides.colour import parse_background, to_rgb, to_srgb
from slidenet.slides.reader import Pixels, Size, check_region
from slidenet.slides.readers.base import SlideBase
from slidenet.slides.readers.handles import SharedHandle


class OpenSlideReader(SlideBase):
    """A `Slide` over openslide; see `SlideBase` for the arguments.

    Raises:
        UnreadableSlideError: openslide cannot open the file, or its ICC profile is broken.
    """

    def __init__(self, path: Path, vendor: str, mpp: float | None, icc: bool) -> None:
        super().__init__(path, vendor, mpp, icc)
        self._shared = SharedHandle(path, vendor)
        handle = self._shared.current()
        self.properties = dict(handle.properties)
        self.level_dimensions = handle.level_dimensions
        self.level_downsamples = handle.level_downsamples
        self.background_rgb = parse_background(
            self.properties.get(openslide.PROPERTY_NAME_BACKGROUND_COLOR)
        )
        self._transform = to_srgb(lambda: handle.color_profile, slide=path.name) if icc else None
        self.icc_applied = self._transform is not None

    def read_region(self, location: Size, level: int, size: Size) -> Pixels:
        """See `Slide.read_region`."""
        check_region(self, level, size)
        image = self._shared.read_region(location, level, size)
        return to_rgb(image, self.background_rgb, self._transform)

    def close(self) -> None:
        """See `Slide.close`."""
        self._shared.close()

"""A slide reader: plain PPM files (P6, 8 bits), one level, half a micron per pixel."""

from pathlib import Path

import numpy as np

from slidenet.slides import SlideReader


class PpmReader(SlideReader):
    """Keeps the whole picture, since a PPM is small."""

    name = "toy_ppm"
    suffixes = (".ppm",)

    @classmethod
    def can_read(cls, path: Path) -> bool:
        """By the first two bytes."""
        return path.read_bytes()[:2] == b"P6"

    def __init__(self, path: Path, mpp: float | None = None, icc: bool = False) -> None:
        super().__init__(path, mpp, icc)
        _header, width, height, _, pixels = path.read_bytes().split(maxsplit=4)
        shape = (int(height), int(width), 3)
        self._pixels = np.frombuffer(pixels[: np.prod(shape)], np.uint8).reshape(shape)
        self.level_dimensions = ((shape[1], shape[0]),)
        self.level_downsamples = (1.0,)
        self.properties = {"openslide.mpp-x": "0.5", "openslide.mpp-y": "0.5"}

    def read_region(self, location, level, size):
        """What lies outside is background."""
        (x, y), (width, height) = location, size
        region = np.full((height, width, 3), self.background_rgb, np.uint8)
        inside = self._pixels[max(y, 0) : max(y + height, 0), max(x, 0) : max(x + width, 0)]
        top, left = max(-y, 0), max(-x, 0)
        region[top : top + inside.shape[0], left : left + inside.shape[1]] = inside
        return region

    def close(self) -> None:
        """Nothing is held open."""

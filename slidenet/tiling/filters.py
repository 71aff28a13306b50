"""Filters that drop tiles by their pixels: blank, penned, blurred.

A filter looks at tiles as uint8 RGB and says which to keep. It names the resolution it needs, so
that what shows at low resolution is read from a small level of the pyramid and does not double
the reading time; only blur needs the tiles' own pixels.
"""

from dataclasses import asdict, dataclass
from typing import ClassVar, Protocol

import cv2
import numpy as np

from slidenet.core.arrays import BoolArray, UInt8Array
from slidenet.core.checks import check_not_negative, check_share, refused
from slidenet.core.provenance import Identity
from slidenet.core.registry import Registry

INK_RANGES: dict[str, tuple[tuple[int, int, int], tuple[int, int, int]]] = {
    # Lowest and highest (hue, saturation, value) in OpenCV's units: hue 0 to 179, others to 255.
    "blue": ((95, 150, 110), (121, 255, 255)),
    "green": ((35, 70, 30), (90, 255, 255)),
    "red": ((174, 170, 90), (8, 255, 255)),
    "black": ((0, 0, 0), (179, 90, 60)),
}
"""What pen ink looks like. Eosin (hue 160 to 174) lies outside, and so does hematoxylin: mostly by
its hue (122 to 160); where a scanner shows it blue, by being darker than saturated blue ink."""


class TileFilter(Protocol):
    """Frozen settings with a way to judge tiles."""

    @property
    def name(self) -> str:
        """Short name, for reports."""

    @property
    def view_mpp(self) -> float | None:
        """Resolution the filter looks at; None means the tiles' own pixels."""

    def keep(self, tiles: UInt8Array) -> BoolArray:
        """Which of the tiles uint8 (B, H, W, 3) to keep, bool (B,)."""

    def identity(self) -> Identity:
        """Name and settings."""


@dataclass(frozen=True)
class BlankFilter:
    """Drops tiles that are empty glass or scanner black almost everywhere.

    Attributes:
        view_mpp: Resolution looked at.
        white_level: A pixel is glass when all its channels reach this.
        black_level: A pixel is scanner black when all its channels are below this.
        max_blank_fraction: A tile is dropped when more of it than this is blank. Keep it above
            1 - min_tissue_fraction, or it will drop tiles at the rim of the tissue.
    """

    name: ClassVar[str] = "blank"
    view_mpp: float | None = 4.0
    white_level: int = 200
    black_level: int = 20
    max_blank_fraction: float = 0.98

    def __post_init__(self) -> None:
        check_share(max_blank_fraction=self.max_blank_fraction)

    def keep(self, tiles: UInt8Array) -> BoolArray:
        """Which of the tiles uint8 (B, H, W, 3) to keep, bool (B,)."""
        blank = (tiles.min(axis=3) >= self.white_level) | (tiles.max(axis=3) < self.black_level)
        return np.asarray(blank.mean(axis=(1, 2)) <= self.max_blank_fraction)

    def identity(self) -> Identity:
        """Name and settings."""
        return {"filter": self.name, **asdict(self)}


@dataclass(frozen=True)
class PenFilter:
    """Drops tiles with pen ink on them.

    Made for H&E. Brown (DAB) and other stains lie in no ink range; blue and green special stains
    do, so name only the inks that the stain does not look like.

    Attributes:
        view_mpp: Resolution looked at.
        inks: Some of "blue", "green", "red", "black".
        max_ink_fraction: A tile is dropped when more of it than this is ink.
    """

    name: ClassVar[str] = "pen"
    view_mpp: float | None = 4.0
    inks: tuple[str, ...] = ("blue", "green", "red", "black")
    max_ink_fraction: float = 0.1

    def __post_init__(self) -> None:
        check_share(max_ink_fraction=self.max_ink_fraction)
        unknown = sorted(set(self.inks) - set(INK_RANGES))
        if unknown or not self.inks:
            raise refused("inks", list(self.inks), f"some of {', '.join(INK_RANGES)}")

    def keep(self, tiles: UInt8Array) -> BoolArray:
        """Which of the tiles uint8 (B, H, W, 3) to keep, bool (B,)."""
        return np.array([self.ink_fraction(t) <= self.max_ink_fraction for t in tiles], np.bool_)

    def identity(self) -> Identity:
        """Name and settings; the hue ranges are part of them."""
        ranges = {ink: [list(bound) for bound in INK_RANGES[ink]] for ink in sorted(self.inks)}
        return {
            "filter": self.name,
            "view_mpp": self.view_mpp,
            "inks": ranges,
            "max_ink_fraction": self.max_ink_fraction,
        }

    def ink_fraction(self, tile: UInt8Array) -> float:
        """Share of one tile uint8 (H, W, 3) that has the colour of one of the inks."""
        hsv = np.asarray(cv2.cvtColor(tile, cv2.COLOR_RGB2HSV))
        hue, others = hsv[:, :, 0], hsv[:, :, 1:]
        ink = np.zeros(tile.shape[:2], dtype=np.bool_)
        for name in self.inks:
            low, high = INK_RANGES[name]
            above, below = hue >= low[0], hue <= high[0]
            # A hue range whose low exceeds its high wraps around red.
            in_hue = above & below if low[0] <= high[0] else above | below
            ink |= in_hue & ((others >= low[1:]) & (others <= high[1:])).all(axis=2)
        return float(ink.mean())


@dataclass(frozen=True)
class BlurFilter:
    """Drops tiles out of focus: low variance of the Laplacian (Pech-Pacheco et al., ICPR 2000).

    The measure depends on resolution and stain: set it for a target_mpp on slides you know. Smooth
    but sharp tissue (mucus, fat) scores low too. Reads every tile at full resolution.

    Attributes:
        min_variance: Tiles below this are dropped, squared grey levels.
    """

    name: ClassVar[str] = "blur"
    view_mpp: ClassVar[float | None] = None
    min_variance: float = 15.0

    def __post_init__(self) -> None:
        check_not_negative(min_variance=self.min_variance)

    def keep(self, tiles: UInt8Array) -> BoolArray:
        """Which of the tiles uint8 (B, H, W, 3) to keep, bool (B,)."""
        return np.array([sharpness(tile) >= self.min_variance for tile in tiles], np.bool_)

    def identity(self) -> Identity:
        """Name and settings."""
        return {"filter": self.name, **asdict(self)}


def sharpness(tile: UInt8Array) -> float:
    """Variance of the Laplacian of one tile uint8 (H, W, 3), squared grey levels."""
    grey = cv2.cvtColor(tile, cv2.COLOR_RGB2GRAY)
    return float(np.var(cv2.Laplacian(grey, cv2.CV_32F)))


FILTERS: Registry[type[TileFilter]] = Registry("tile filter")
for _filter in (BlankFilter, PenFilter, BlurFilter):
    FILTERS.add(_filter.name, _filter)

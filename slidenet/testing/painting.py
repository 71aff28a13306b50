"""What a generated slide shows: painters, and overlays drawn on top of them.

Lesions, stains and section thickness make generated slides differ as real ones do; they are drawn
over tissue and leave glass alone.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from slidenet.core.arrays import UInt8Array

GLASS_RGB = (244, 243, 246)
_TEXTURE_PX = 512
_TEXTURE_SEED = 20
_NUM_NUCLEI = 900
_NUCLEUS_RADIUS_PX = (7, 14)
_CROWDED_STROMA_RGB = (186, 132, 190)
_DARK_CHROMATIN_RGB = (70, 38, 112)
_GREY_STEP = 8
_WOBBLE = 0.08
_FIELD_SIDE = 9


class Painter(Protocol):
    """Gives the pixels of any rectangle of level 0; the same place always looks the same."""

    def __call__(self, x: int, y: int, width: int, height: int) -> UInt8Array | None:
        """UInt8Array of a rectangle.

        Args:
            x: Left edge, level-0 pixels.
            y: Top edge, level-0 pixels.
            width: Width in pixels.
            height: Height in pixels.

        Returns:
            uint8 (height, width, 3), RGB; None for a place the scanner stored nothing for.
        """


class Overlay(Protocol):
    """Draws over what a painter painted: a lesion, pen, a bubble."""

    def __call__(self, pixels: UInt8Array, x: int, y: int) -> None:
        """Changes `pixels`, uint8 (height, width, 3), whose corner is at (x, y), in place."""


def plain(rgb: tuple[int, int, int]) -> Painter:
    """A painter of one colour."""

    def paint(x: int, y: int, width: int, height: int) -> UInt8Array:
        return np.full((height, width, 3), rgb, np.uint8)

    return paint


def with_overlays(painter: Painter, *overlays: Overlay) -> Painter:
    """`painter` with every overlay drawn over it, in order; nothing is drawn on stored-nothing."""

    def paint(x: int, y: int, width: int, height: int) -> UInt8Array | None:
        pixels = painter(x, y, width, height)
        if pixels is not None:
            for overlay in overlays:
                overlay(pixels, x, y)
        return pixels

    return paint


@dataclass(frozen=True)
class Lesion:
    """A patch of crowded, dark, enlarged nuclei, as a carcinoma looks from afar.

    Attributes:
        x: Centre, level-0 pixels.
        y: Centre, level-0 pixels.
        radius: Mean radius, level-0 pixels; the outline wavers by up to 16 % around it.
        seed: Decides the outline.
    """

    x: float
    y: float
    radius: float
    seed: int = 0

    def __call__(self, pixels: UInt8Array, x: int, y: int) -> None:
        """Draws the part of the lesion that lies in `pixels`; see `Overlay`."""
        height, width = pixels.shape[:2]
        inside = self.mask(x, y, width, height)
        if inside is None:
            return
        inside &= (pixels != GLASS_RGB).any(-1)
        rows = np.arange(y, y + height) % _TEXTURE_PX
        columns = np.arange(x, x + width) % _TEXTURE_PX
        np.copyto(pixels, _texture()[rows[:, None], columns], where=inside[..., None])

    @property
    def reach(self) -> float:
        """No pixel of the lesion is farther from its centre than this, level-0 pixels."""
        return self.radius * (1 + 2 * _WOBBLE)

    def mask(self, x: int, y: int, width: int, height: int) -> npt.NDArray[np.bool_] | None:
        """Which pixels of a rectangle it covers, bool (height, width); None if it is far away."""
        across = np.arange(x, x + width) + 0.5 - self.x
        down = np.arange(y, y + height) + 0.5 - self.y
        if np.abs(across).min() > self.reach or np.abs(down).min() > self.reach:
            return None
        distance = np.hypot(across[None, :], down[:, None])
        angle = np.arctan2(down[:, None], across[None, :])
        first, second = self._phases
        wobble = np.sin(2 * angle + first) + np.sin(3 * angle + second)
        return np.asarray(distance <= self.radius * (1 + _WOBBLE * wobble))

    @cached_property
    def _phases(self) -> tuple[float, float]:
        first, second = np.random.default_rng(self.seed).uniform(0, 2 * np.pi, 2)
        return float(first), float(second)


@dataclass(frozen=True)
class Stain:
    """How strongly a laboratory stains: scales the optical density of each colour.

    Attributes:
        density: Factors for red, green and blue; 1 changes nothing.
        side: Side of the slide, level-0 pixels, over which the section's thickness varies.
        thickness: Largest relative change of optical density along the slide; 0 for none.
        seed: Decides where the section is thick.
    """

    density: tuple[float, float, float] = (1.0, 1.0, 1.0)
    side: int = 1
    thickness: float = 0.0
    seed: int = 0

    def __call__(self, pixels: UInt8Array, x: int, y: int) -> None:
        """Restains `pixels` in place; see `Overlay`. One factor per 64 px keeps it quick."""
        for top in range(-(y % 64), len(pixels), 64):
            for left in range(-(x % 64), pixels.shape[1], 64):
                part = pixels[max(top, 0) : top + 64, max(left, 0) : left + 64]
                part[:] = cv2.LUT(part, self._table(self._thickness_at(x + left, y + top)))

    def _thickness_at(self, x: int, y: int) -> float:
        """Relative thickness around 1, interpolated between seeded points of a coarse lattice."""
        column, row = np.clip(np.array((x, y)) / self.side, 0, 0.999) * (_FIELD_SIDE - 1)
        i, j = int(row), int(column)
        corners = self._field[i : i + 2, j : j + 2]
        upper, lower = corners @ (1 - (column - j), column - j)
        mixed = upper * (1 - (row - i)) + lower * (row - i)
        return float(1 + self.thickness * mixed)

    def _table(self, thickness: float) -> UInt8Array:
        """uint8 (1, 256, 3): each grey value at another optical density (Beer-Lambert)."""
        grey = np.maximum(np.arange(256), 1)[:, None] / 255
        table = np.round(255 * grey ** (np.array(self.density) * thickness)).astype(np.uint8)
        table[min(GLASS_RGB) :] = np.arange(min(GLASS_RGB), 256)[:, None]  # glass takes no stain
        return table[None]

    @cached_property
    def _field(self) -> npt.NDArray[np.float64]:
        rng = np.random.default_rng(self.seed)
        return rng.uniform(-1, 1, (_FIELD_SIDE, _FIELD_SIDE))


@lru_cache(maxsize=1)
def _texture() -> UInt8Array:
    """A square of lesion that repeats without seams, uint8 (512, 512, 3)."""
    rng = np.random.default_rng(_TEXTURE_SEED)
    side = _TEXTURE_PX
    pixels = np.empty((side, side, 3), np.float32)
    pixels[:] = _CROWDED_STROMA_RGB
    pixels += rng.normal(0, 6, (side, side, 1)).astype(np.float32)
    for _ in range(_NUM_NUCLEI):
        x, y = (int(v) for v in rng.integers(0, side, 2))
        axes = tuple(2 * int(v) for v in rng.integers(*_NUCLEUS_RADIUS_PX, 2))
        angle, shade = float(rng.uniform(0, 180)), float(rng.uniform(0.85, 1.25))
        colour = tuple(shade * c for c in _DARK_CHROMATIN_RGB)
        for dx in (-side, 0, side):
            for dy in (-side, 0, side):
                cv2.ellipse(pixels, ((x + dx, y + dy), axes, angle), colour, -1)
    return (np.clip(pixels, 0, 255) // _GREY_STEP * _GREY_STEP).astype(np.uint8)

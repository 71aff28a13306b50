"""What a generated slide shows: painters, and overlays drawn on top of them."""

from typing import Protocol

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]


class Painter(Protocol):
    """Gives the pixels of any rectangle of level 0; the same place always looks the same."""

    def __call__(self, x: int, y: int, width: int, height: int) -> Pixels | None:
        """Pixels of a rectangle.

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

    def __call__(self, pixels: Pixels, x: int, y: int) -> None:
        """Changes `pixels`, uint8 (height, width, 3), whose corner is at (x, y), in place."""


def plain(rgb: tuple[int, int, int]) -> Painter:
    """A painter of one colour."""

    def paint(x: int, y: int, width: int, height: int) -> Pixels:
        return np.full((height, width, 3), rgb, np.uint8)

    return paint


def with_overlays(painter: Painter, *overlays: Overlay) -> Painter:
    """`painter` with every overlay drawn over it, in order; nothing is drawn on stored-nothing."""

    def paint(x: int, y: int, width: int, height: int) -> Pixels | None:
        pixels = painter(x, y, width, height)
        if pixels is not None:
            for overlay in overlays:
                overlay(pixels, x, y)
        return pixels

    return paint

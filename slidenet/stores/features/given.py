"""Resolution and tile size of a features file: what it says, what the caller says, or a refusal."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from slidenet.core.errors import StoreError

Quantity = Literal["slide_mpp", "tile_size_px", "target_mpp"]

_MEANING = {
    "slide_mpp": "the microns per level-0 pixel of the slide",
    "tile_size_px": "the side of a tile in pixels",
    "target_mpp": "the microns per pixel of the tiles",
}
_REMEDY = {
    "slide_mpp": "give it in the column 'mpp' of the table, or of all slides to train on as "
    "--data.slide-mpp (in Python, slide_mpp)",
    "tile_size_px": "give it as --data.tile-size-px (in Python, tile_size_px)",
    "target_mpp": "give it as --data.target-mpp (in Python, target_mpp)",
}

_LEAST = 1e-6
"""No size or resolution of a slide is less, nor its inverse."""

SAME = 0.01
"""Two resolutions further apart than this share are two resolutions."""


@dataclass(frozen=True, slots=True)
class GivenGeometry:
    """What the caller says of the tiles of a file, None where nothing.

    Attributes:
        path: The file, for messages.
        slide_mpp: Microns per pixel of level 0.
        tile_size_px: Side of a tile at `target_mpp`, in pixels.
        target_mpp: Microns per pixel of the tiles.
    """

    path: Path
    slide_mpp: float | None = None
    tile_size_px: int | None = None
    target_mpp: float | None = None

    def __post_init__(self) -> None:
        for name in _MEANING:
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise StoreError(
                    f"{self.path}: {name} is given as {value}", expected="a positive number"
                )

    def tile_size(self, found: float | None) -> int:
        """Side of a tile in whole pixels, see `resolve`.

        Raises:
            StoreError: It is not known, contradictory, or less than a pixel.
        """
        side = int(self.resolve("tile_size_px", found))
        if side < 1:
            raise StoreError(f"{self.path} says tile_size_px {found}", expected="1 or more")
        return side

    def resolve(self, name: Quantity, found: float | None, *, tolerance: float = SAME) -> float:
        """The value of one quantity, by the file, the caller, or both in agreement.

        Args:
            name: Which one.
            found: What the file says; None where it says nothing.
            tolerance: Share by which what is given may differ from what is found.

        Returns:
            What the file says; where it says nothing, what is given.

        Raises:
            StoreError: Neither says it, or the two contradict each other.
        """
        given: float | None = getattr(self, name)
        if found is not None and not _LEAST < found < 1 / _LEAST:
            raise StoreError(f"{self.path} says {name} {found}", expected="a positive number")
        if found is None and given is None:
            raise StoreError(
                f"{self.path} does not say {name}, {_MEANING[name]}",
                expected="a file that says it, or the value from you",
                remedy=_REMEDY[name],
            )
        if found is None:
            assert given is not None
            return given
        if given is not None and abs(given - found) > tolerance * found:
            raise StoreError(
                f"{self.path} says {name} {found:g}, and {given:g} is given",
                expected="one value",
                remedy=f"check {_MEANING[name]}; leave it out to take the file's",
            )
        return found

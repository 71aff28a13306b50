"""Levels whose red, green and blue are pages or tiles of their own, as some OME-TIFFs have them."""

from collections.abc import Callable, Sequence

import numpy as np

from slidenet.slides.protocol import Pixels, Size
from slidenet.slides.readers.tiled.level import AS_STORED, Shrinking, TiledLevel
from slidenet.slides.readers.tiled.storage import StoredBytes


class ColourPlanes:
    """Three levels of grey that are one of colours; read like a `TiledLevel`.

    Args:
        planes: Red, green and blue, cut into equal tiles.
        finish: Applied to each region (a colour profile), or None.
    """

    def __init__(
        self, planes: Sequence[TiledLevel], finish: Callable[[Pixels], Pixels] | None = None
    ) -> None:
        self.size = planes[0].size
        self.stored = planes[0].stored
        self.numbers = frozenset(plane.number for plane in planes)
        self._planes = tuple(planes)
        self._finish = finish

    def has_stored(self, location: Size, size: Size) -> bool:
        """See `TiledLevel.has_stored`; all colours are needed."""
        return all(plane.has_stored(location, size) for plane in self._planes)

    def shrinks_by_tile(self, location: Size, size: Size, factor: int) -> bool:
        """See `TiledLevel.shrinks_by_tile`."""
        return self._planes[0].shrinks_by_tile(location, size, factor)

    def read(
        self,
        file: StoredBytes,
        location: Size,
        size: Size,
        out: Pixels,
        shrinking: Shrinking = AS_STORED,
    ) -> None:
        """See `TiledLevel.read`."""
        grey = np.empty(out.shape, np.uint8)
        for colour, plane in enumerate(self._planes):
            plane.read(file, location, size, grey, shrinking)
            out[..., colour] = grey[..., colour]
        if self._finish is not None:
            out[:] = self._finish(np.ascontiguousarray(out))

"""Decoded tiles kept for the next regions that need a part of them."""

import os
import threading
from collections import OrderedDict
from collections.abc import Hashable

from slidenet.slides.readers.tiled.payload import Decoded
from slidenet.slides.recycling import MAX_SPARE_BYTES, PIXEL_MEMORY

CACHE_BYTES = 128 * 1024 * 1024
"""Holds a row of 256 px tiles of a slide 170,000 px wide: regions that do not lie on the file's
grid need each row of tiles twice, once from above and once from below."""

Key = tuple[int, int, Hashable]
"""(number of the level that the tile belongs to, number of the tile, in which form)."""


class TileCache:
    """The decoded tiles used last, up to a number of bytes; safe for threads.

    Args:
        max_bytes: What the tiles may take.
    """

    def __init__(self, max_bytes: int = CACHE_BYTES) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._tiles: OrderedDict[Key, Decoded] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._tiles)

    def get(self, key: Key) -> Decoded | None:
        """The tile under this key, which must not be written to; None if it is not kept."""
        tile = self._tiles.get(key)
        if tile is None:
            return None
        with self._lock:
            if key in self._tiles:  # else another thread has just dropped it
                self._tiles.move_to_end(key)
        return tile

    def put(self, key: Key, tile: Decoded) -> None:
        """Keeps a tile, and drops those used longest ago where there are too many."""
        with self._lock:
            if key in self._tiles:
                return
            self._tiles[key] = tile
            self._bytes += tile.nbytes
            self._drop()

    def bound(self, max_bytes: int) -> None:
        """Sets what the tiles may take from now on."""
        with self._lock:
            self._max_bytes = max_bytes
            self._drop()

    def _drop(self) -> None:
        while self._bytes > self._max_bytes:
            _, oldest = self._tiles.popitem(last=False)
            self._bytes -= oldest.nbytes

    def forget(self, levels: set[int]) -> None:
        """Drops the tiles of some levels, by their numbers."""
        with self._lock:
            for key in [key for key in self._tiles if key[0] in levels]:
                self._bytes -= self._tiles.pop(key).nbytes

    def after_fork(self) -> None:
        """Makes the cache usable in a forked child, whatever threads of the parent were doing."""
        self._lock = threading.Lock()
        self._tiles = OrderedDict()
        self._bytes = 0


SHARED_CACHE = TileCache()
"""Of all slides of this process, so that memory does not grow with their number."""


def bound_memory(max_memory_bytes: int) -> None:
    """Bounds what is kept of decoded tiles, and what memory waits, by the memory a slide may take.

    Args:
        max_memory_bytes: See `ReadingLimits`. An eighth is for tiles, a sixth for what waits.
    """
    SHARED_CACHE.bound(min(CACHE_BYTES, max_memory_bytes // 8))
    PIXEL_MEMORY.bound(min(MAX_SPARE_BYTES, max_memory_bytes // 6))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=SHARED_CACHE.after_fork)

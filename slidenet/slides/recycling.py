"""Arrays whose memory is used again once nobody refers to them.

The system hands out fresh memory page by page, each cleared at its first touch: for pixels that
costs about as much as decoding a JPEG tile into it. Memory that was touched before is free of that.
"""

import math
import weakref
from collections import deque

import numpy as np

from slidenet.core.arrays import UInt8Array

MAX_SPARE_BYTES = 192 * 1024 * 1024
"""Memory that waits for its next use: a few batches of tiles, or the decoded tiles of a slide."""


class RecycledMemory:
    """Makes uint8 arrays, out of the memory of earlier ones where sizes agree; safe for threads.

    Args:
        max_spare_bytes: How much memory may wait; what is beyond goes back to the system.
    """

    def __init__(self, max_spare_bytes: int = MAX_SPARE_BYTES) -> None:
        self._max_spare_bytes = max_spare_bytes
        self._spare: dict[int, deque[memoryview]] = {}

    def empty(self, shape: tuple[int, ...]) -> UInt8Array:
        """An array with anything in it; its memory returns when it and all its views are gone."""
        num_bytes = math.prod(shape)
        try:
            memory = self._spare[num_bytes].pop()
        except (KeyError, IndexError):
            memory = np.empty(num_bytes, np.uint8).data
        # NumPy lets views refer to the outermost array, which this one is: its memory is no array.
        flat = np.frombuffer(memory, np.uint8)
        weakref.finalize(flat, self._take_back, memory).atexit = False
        return flat.reshape(shape)

    def bound(self, max_spare_bytes: int) -> None:
        """Sets how much memory may wait from now on, and lets go of what waits where it is more."""
        self._max_spare_bytes = max_spare_bytes
        if self._spare_bytes > max_spare_bytes:
            self._spare = {}

    def _take_back(self, memory: memoryview) -> None:
        # Runs wherever the last reference goes, so without a lock; the bound is a rough one.
        if self._spare_bytes + memory.nbytes <= self._max_spare_bytes:
            self._spare.setdefault(memory.nbytes, deque()).append(memory)

    @property
    def _spare_bytes(self) -> int:
        return sum(size * len(waiting) for size, waiting in list(self._spare.items()))


PIXEL_MEMORY = RecycledMemory()
"""Of all tiles of this process."""

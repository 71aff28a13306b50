"""Pixels pass between the processes in a file that exists in memory only and has no name.

A name in /dev/shm would outlive a parent that is killed, and containers give /dev/shm 64 MB. The
file is filled with places of the sizes that are asked for; a place is used again once no array
shows it. Both sides map the file once: a map costs a file descriptor, and there may be hundreds of
places.
"""

import logging
import mmap
import os
import tempfile
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

from slidenet.slides.isolation.messages import InPlace, Place
from slidenet.slides.protocol import Pixels

MAX_SHARED_BYTES = 1 << 30
_log = logging.getLogger(__name__)


class SharedPlaces:
    """The parent's side: who may write where.

    Attributes:
        file: Descriptor of the file, for the child; None where there is no shared memory.
        total: Bytes of all places.
    """

    def __init__(self) -> None:
        self.total = 0
        self._free: list[Place] = []
        # Filled where the last array of a place dies, which may be in any thread at any moment, so
        # that nothing may wait for a lock there.
        self._returned: deque[Place] = deque()
        self.file: int | None = None
        try:
            self.file = _unnamed_file()
            os.truncate(self.file, MAX_SHARED_BYTES)  # memory comes with the places
            self._map = mmap.mmap(self.file, MAX_SHARED_BYTES)
        except OSError as error:
            self._give_up(error)

    def take(self, num_bytes: int) -> Place | None:
        """A place that holds at least so many bytes; None where there is none.

        One thread at a time.
        """
        while self._returned:
            self._free.append(self._returned.popleft())
        fitting = [place for place in self._free if num_bytes <= place.length <= 4 * num_bytes]
        if fitting:
            place = min(fitting, key=lambda one: one.length)
            self._free.remove(place)
            return place
        length = -(-num_bytes // mmap.ALLOCATIONGRANULARITY) * mmap.ALLOCATIONGRANULARITY
        if self.file is None or self.total + length > MAX_SHARED_BYTES:
            return None
        place = Place(self.total, length)
        try:
            _fill(self.file, place)
        except OSError as error:
            self._give_up(error)
            return None
        self.total += length
        return place

    def give_back(self, place: Place) -> None:
        """Says that nobody needs what lies there. Any thread."""
        self._returned.append(place)

    def show(self, found: InPlace) -> Pixels:
        """The array in a place, which is given back when the last view of the array is gone."""
        lease = _Lease(self._map, found.shape, found.place, self.give_back)
        return np.asarray(lease)

    def close(self) -> None:
        """Closes the file. Arrays that show it stay what they are."""
        if self.file is not None:
            os.close(self.file)
            self.file = None

    def _give_up(self, error: OSError) -> None:
        _log.warning(
            "no shared memory for the pixels of isolated slides (%s): they go through a pipe, "
            "which is slower",
            error.strerror,
        )
        self.close()


class SharedArrays:
    """The child's side: arrays at the places it was given.

    Args:
        file: Descriptor of the file.
    """

    def __init__(self, file: int) -> None:
        self._map = mmap.mmap(file, MAX_SHARED_BYTES)

    def at(self, place: Place, shape: tuple[int, ...]) -> Pixels:
        """uint8 array of this shape at a place."""
        return _shown(self._map, place, shape)


class _Lease:
    """Owner of the memory of an array; numpy keeps it as long as any view lives."""

    def __init__(
        self,
        memory: mmap.mmap,
        shape: tuple[int, ...],
        place: Place,
        give_back: Callable[[Place], None],
    ) -> None:
        self._memory = memory
        self._place = place
        self._give_back = give_back
        pixels = _shown(memory, place, shape)
        self.__array_interface__: dict[str, Any] = pixels.__array_interface__

    def __del__(self) -> None:
        self._give_back(self._place)


def _shown(memory: mmap.mmap, place: Place, shape: tuple[int, ...]) -> Pixels:
    count = int(np.prod(shape))
    return np.frombuffer(memory, np.uint8, count, place.offset).reshape(shape)


def _unnamed_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("slidenet pixels")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _fill(file: int, place: Place) -> None:
    """Takes memory, now: a place without memory behind it would kill whoever writes there."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, place.offset, place.length)
        return
    written = 0
    while written < place.length:
        piece = bytes(min(place.length - written, 1 << 20))
        written += os.pwrite(file, piece, place.offset + written)

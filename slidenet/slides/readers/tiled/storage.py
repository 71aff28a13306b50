"""The bytes of a file, read at any place by any thread."""

import os
import threading
from pathlib import Path

from slidenet.slides.readers.tiled.payload import PayloadError


class FileLostError(Exception):
    """The file as a whole cannot be read any more; the text says why, as a clause."""


class StoredBytes:
    """An open file without a position, so that threads and forked processes may share it.

    It is closed when nobody refers to it any more: a thread that still reads finishes first.

    Args:
        path: The file.

    Raises:
        OSError: It cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        flags = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        self._descriptor = os.open(path, flags)
        self._lock = threading.Lock()

    def read(self, offset: int, count: int) -> bytes:
        """Bytes at a place.

        Raises:
            PayloadError: This place of the disk cannot be read; the file is still there.
            FileLostError: The disk is away, or the file has become shorter.
        """
        try:
            data = self._read_at(offset, count)
        except (OSError, OverflowError) as error:
            self._check_there()
            raise PayloadError(f"byte {offset} of the file cannot be read ({error})") from error
        if len(data) != count:
            size = os.fstat(self._descriptor).st_size
            raise FileLostError(
                f"it has become shorter: a tile should reach byte {offset + count}, it ends at "
                f"{size}"
            )
        return data

    def _read_at(self, offset: int, count: int) -> bytes:
        if hasattr(os, "pread"):
            return os.pread(self._descriptor, count, offset)
        with self._lock:  # Windows
            os.lseek(self._descriptor, offset, os.SEEK_SET)
            return os.read(self._descriptor, count)

    def _check_there(self) -> None:
        try:
            with self._path.open("rb") as file:
                file.read(1)
        except OSError as error:
            raise FileLostError(f"it cannot be read any more ({error.strerror})") from error

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)

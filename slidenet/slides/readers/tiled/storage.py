"""The bytes of a file, read at any place by any thread."""

import os
from pathlib import Path

from slidenet.slides.readers.tiled.payload import PayloadError


class StoredBytes:
    """An open file without a position, so that threads and forked processes may share it.

    It is closed when nobody refers to it any more: a thread that still reads finishes first.

    Args:
        path: The file.

    Raises:
        OSError: It cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))

    def read(self, offset: int, count: int) -> bytes:
        """Bytes at a place.

        Raises:
            PayloadError: The file ends before, or the disk fails.
        """
        try:
            data = os.pread(self._descriptor, count, offset)
        except (OSError, OverflowError) as error:
            raise PayloadError(f"byte {offset} of the file cannot be read ({error})") from error
        if len(data) != count:
            raise PayloadError(f"the file ends before byte {offset + count}")
        return data

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)

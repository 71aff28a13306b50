"""Rows of features while they are being made: an append-only file that survives SIGKILL.

An HDF5 file torn by a kill cannot be trusted, so rows are first appended to a plain binary file
beside the target: a header of one block naming what is being made, then fixed-size records of
(crc32, status, features). On opening, the records that are whole and carry the right checksum are
kept, up to the last full batch, so that the batches after a restart are the same batches. Any
other header (other settings, other slide, other tiles, other batch size) means other work: the file
is started anew.
"""

import json
import os
import sys
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt

from slidenet.core.arrays import IntArray
from slidenet.core.errors import StoreError
from slidenet.core.provenance import Identity, canonical_json
from slidenet.stores.atomic import FULL

HEADER_BYTES = 4096
_READ_ROWS = 1024


def spool_path(path: Path) -> Path:
    """Where the unfinished rows of `path` are kept."""
    return path.with_name(f".{path.name}.partial")


class Spool:
    """The unfinished rows of one file.

    Args:
        path: The file that is to be made; the spool lies beside it.
        identity: What is being made; a spool of another identity is started anew.
        feature_dim: Length of a row.
        dtype: Type of a row's numbers.
        num_rows: Rows when complete.
        batch_size: Resuming starts at a multiple of this.
        slide: slide_id, for messages.

    Raises:
        StoreError: Another process is writing the same file.
    """

    def __init__(
        self,
        path: Path,
        *,
        identity: Identity,
        feature_dim: int,
        dtype: npt.DTypeLike,
        num_rows: int,
        batch_size: int,
        slide: str = "",
    ) -> None:
        self.path = spool_path(path)
        self.record = np.dtype(
            [
                ("crc", "<u4"),
                ("status", "u1"),
                ("features", np.dtype(dtype).newbyteorder("<"), (feature_dim,)),
            ]
        )
        self._header = _header(identity)
        # Not "w": whoever comes second must not empty the file of the first.
        self._file = os.fdopen(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644), "rb+")
        try:
            _lock(self._file.fileno(), self.path, slide)
        except StoreError:
            self._file.close()
            raise
        try:
            self.num_rows = self._recover(num_rows, batch_size)
        except OSError as error:
            if error.errno in FULL:
                self.delete()
            self.close()  # its rows may be sound, whatever the disk says now
            raise

    def append(self, features: npt.NDArray[np.floating], status: npt.NDArray[np.uint8]) -> None:
        """Adds rows at the end and hands them to the operating system."""
        self._file.seek(self._offset(self.num_rows))
        self._file.write(self._records(features, status).tobytes())
        self._file.flush()
        self.num_rows += len(status)

    def replace(
        self,
        places: IntArray,
        features: npt.NDArray[np.floating],
        status: npt.NDArray[np.uint8],
    ) -> None:
        """Writes other rows over some that are there; a torn one is noticed as any other is."""
        for place, row in zip(places.tolist(), self._records(features, status), strict=True):
            self._file.seek(self._offset(place))
            self._file.write(row.tobytes())
        self._file.flush()

    def statuses(self) -> npt.NDArray[np.uint8]:
        """The status of every row, uint8 (`num_rows`,)."""
        found = [np.empty(0, np.uint8)]
        for start in range(0, self.num_rows, _READ_ROWS):
            rows = self.read(start, min(start + _READ_ROWS, self.num_rows))
            found.append(rows["status"].copy())
        return np.concatenate(found)

    def read(self, start: int, stop: int) -> npt.NDArray[np.void]:
        """Rows [start, stop) as records; fewer where the file ends."""
        self._file.seek(self._offset(start))
        data = self._file.read((stop - start) * self.record.itemsize)
        whole = len(data) // self.record.itemsize
        return np.frombuffer(data, dtype=self.record, count=whole)

    def close(self) -> None:
        """Closes the file and keeps it for a later start, which looks at every row."""
        with suppress(OSError):  # of a disk that went away: rows that did not reach it are missed
            self._file.close()

    def delete(self) -> None:
        """Removes the file."""
        self.path.unlink(missing_ok=True)
        self.close()

    def _records(
        self, features: npt.NDArray[np.floating], status: npt.NDArray[np.uint8]
    ) -> npt.NDArray[np.void]:
        rows = np.empty(len(status), dtype=self.record)
        rows["features"] = features
        rows["status"] = status
        rows["crc"] = _checksums(rows)
        return rows

    def _offset(self, row: int) -> int:
        return HEADER_BYTES + row * self.record.itemsize

    def _recover(self, num_rows: int, batch_size: int) -> int:
        """Keeps the sound rows of the same work, up to a whole batch; returns how many."""
        self._file.seek(0)
        sound = 0
        if self._file.read(HEADER_BYTES) != self._header:
            self._file.truncate(0)
            self._file.seek(0)
            self._file.write(self._header)
            self._file.flush()
            num_rows = 0
        while sound < num_rows:
            rows = self.read(sound, min(sound + _READ_ROWS, num_rows))
            wrong = np.flatnonzero(rows["crc"] != _checksums(rows))
            sound += int(wrong[0]) if len(wrong) else len(rows)
            if len(wrong) or not len(rows):
                sound -= sound % batch_size
                break
        self._file.truncate(self._offset(sound))
        return sound


def _header(identity: Identity) -> bytes:
    text = json.dumps({"slidenet": "partial features", "identity": canonical_json(identity)})
    header = text.encode().ljust(HEADER_BYTES, b"\n")
    assert len(header) == HEADER_BYTES, "the identity of a spool holds hashes, not whole settings"
    return header


def _checksums(rows: npt.NDArray[np.void]) -> npt.NDArray[np.uint32]:
    size = rows.dtype.itemsize
    data = memoryview(rows.tobytes())
    sums = [zlib.crc32(data[i + 4 : i + size]) for i in range(0, len(data), size)]
    return np.array(sums, dtype=np.uint32)


def _lock(handle: int, path: Path, slide: str) -> None:
    if sys.platform == "win32":
        return
    import fcntl

    try:
        # A record lock: it ends with this process even where forked workers outlive it.
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        raise StoreError(
            f"{path} is being written by another process",
            remedy="wait for it, or stop it, before running this slide again",
            slide=slide,
        ) from error

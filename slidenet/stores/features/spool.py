"""Rows of features while they are being made: an append-only file that survives SIGKILL.

An HDF5 file torn by a kill cannot be trusted, so rows are first appended to a plain binary file: a
header of one block naming what is being made, then fixed-size records of (crc32, status, features).
Each belongs to one writer, which holds the claim on the file (`stores.claims`), and is not shared.
Who goes on copies the records that are whole and carry the right checksum, up to the last full
batch, so that the batches after a restart are the same batches; what a writer that slept may still
append goes nowhere. Any other header (other settings, other slide, other tiles, other batch size)
means other work: the file is started anew.
"""

import json
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from slidenet.core.arrays import IntArray
from slidenet.core.provenance import Identity, canonical_json
from slidenet.stores.owners import new_token

HEADER_BYTES = 4096
_READ_ROWS = 1024


def spool_folder(path: Path) -> Path:
    """Where the unfinished rows of `path` are kept, a file per writer."""
    return path.with_name(f".{path.name}.partials")


def spool_files(path: Path) -> list[Path]:
    """The unfinished rows of `path`: of its writers, and of an older version."""
    kept = [path.with_name(f".{path.name}.partial")]
    with suppress(FileNotFoundError, NotADirectoryError):
        kept += sorted(spool_folder(path).iterdir())
    return [one for one in kept if one.is_file()]


def remove_spools(path: Path) -> None:
    """Removes what is kept of the rows of a file that is finished."""
    for kept in spool_files(path):
        kept.unlink(missing_ok=True)
    with suppress(OSError):
        spool_folder(path).rmdir()


class Spool:
    """The unfinished rows of one file.

    Args:
        path: The file that is to be made; the spool lies beside it.
        identity: What is being made; spools of another identity are removed.
        feature_dim: Length of a row.
        dtype: Type of a row's numbers.
        num_rows: Rows when complete.
        batch_size: Resuming starts at a multiple of this.
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
    ) -> None:
        self.path = spool_folder(path) / f"{new_token()}.partial"
        self.record = np.dtype(
            [
                ("crc", "<u4"),
                ("status", "u1"),
                ("features", np.dtype(dtype).newbyteorder("<"), (feature_dim,)),
            ]
        )
        self._header = _header(identity)
        self.num_rows = 0
        kept = spool_files(path)
        self.path.parent.mkdir(exist_ok=True)
        self._file: BinaryIO = self.path.open("xb+")
        try:
            self._file.write(self._header)
            self._copy_longest(kept, num_rows, batch_size)
            self._file.flush()
        except OSError:
            with suppress(OSError):  # what was kept before stays as it was
                self.delete()
            raise
        for other in kept:
            other.unlink(missing_ok=True)

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
        return self._read_from(self._file, start, stop)

    def close(self) -> None:
        """Closes the file and keeps it for a later start, which looks at every row."""
        with suppress(OSError):  # of a disk that went away: rows that did not reach it are missed
            self._file.close()

    def delete(self) -> None:
        """Removes the file."""
        self.path.unlink(missing_ok=True)
        self.close()
        with suppress(OSError):  # it holds rows of another writer
            self.path.parent.rmdir()

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

    def _read_from(self, file: BinaryIO, start: int, stop: int) -> npt.NDArray[np.void]:
        file.seek(self._offset(start))
        data = file.read((stop - start) * self.record.itemsize)
        whole = len(data) // self.record.itemsize
        return np.frombuffer(data, dtype=self.record, count=whole)

    def _copy_longest(self, kept: list[Path], num_rows: int, batch_size: int) -> None:
        """Copies the sound rows of the same work, up to a whole batch, of who came farthest."""
        best, most = None, 0
        for path in kept:
            sound = sum(map(len, self._sound_rows(path, num_rows)))
            sound -= sound % batch_size if sound < num_rows else 0
            best, most = (path, sound) if sound > most else (best, most)
        if best is None:
            return
        for rows in self._sound_rows(best, most):
            self._file.write(rows.tobytes())
        self.num_rows = most

    def _sound_rows(self, path: Path, num_rows: int) -> Iterator[npt.NDArray[np.void]]:
        """The rows of a spool of the same work, in blocks, as far as their checksums are right."""
        with path.open("rb") as file:
            if file.read(HEADER_BYTES) != self._header:
                return
            for start in range(0, num_rows, _READ_ROWS):
                stop = min(start + _READ_ROWS, num_rows)
                rows = self._read_from(file, start, stop)
                wrong = np.flatnonzero(rows["crc"] != _checksums(rows))
                yield rows[: wrong[0]] if len(wrong) else rows
                if len(wrong) or len(rows) < stop - start:
                    return


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

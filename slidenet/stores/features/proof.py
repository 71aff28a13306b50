"""Features proved by their digest while they are read, so that nothing is read twice for it."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from slidenet.core.arrays import FloatArray
from slidenet.core.errors import StoreError
from slidenet.stores.h5.digests import RunningDigest, changed_error

_PROVEN: set[tuple[object, ...]] = set()
"""What this process has read whole once; HDF5's checksums guard the epochs after the first."""


class RowsProof:
    """Compares the rows of a dataset with its digest once they came by from first to last.

    Rows read in another order prove nothing and cost nothing.

    Args:
        path: The file.
        name: Of the dataset.
        digest: What it was written with.
        dtype: Of the dataset.
        shape: Of the dataset.
        attributes: Of the dataset, see `plain_attributes`.
    """

    def __init__(
        self,
        path: Path,
        name: str,
        digest: str,
        dtype: npt.DTypeLike,
        shape: tuple[int, ...],
        attributes: Mapping[str, object],
    ) -> None:
        self._path, self._name, self._digest = path, name, digest
        self._dtype, self._shape, self._attributes = dtype, shape, attributes
        about = path.stat()
        self._key = (path, about.st_ino, about.st_size, about.st_mtime_ns, digest)
        self._running: RunningDigest | None = None
        self._next = 0

    @property
    def done(self) -> bool:
        """Whether this process has seen all rows agree."""
        return self._key in _PROVEN

    def prove_rest(self, check: Callable[[], Sequence[str]]) -> None:
        """Proves what lies beside the features, once in this process.

        Args:
            check: Names what is not as it was written.

        Raises:
            StoreError: Something is not.
        """
        key = (*self._key, "rest")
        if key in _PROVEN:
            return
        for problem in check():
            raise StoreError(f"{self._path}: {problem}", remedy="delete the file and make it again")
        _PROVEN.add(key)

    def add(self, where: Any, rows: FloatArray) -> None:
        """Rows that have been read.

        Args:
            where: The index they were read by.
            rows: (M, D).

        Raises:
            StoreError: These were the last, and together they are not what was written.
        """
        if self.done or not isinstance(where, slice):
            return
        start, _, step = where.indices(self._shape[0])
        if start == 0:
            self._running, self._next = RunningDigest(self._dtype, self._shape), 0
        if self._running is None or start != self._next or step != 1:
            self._running = None
            return
        self._running.add(np.asarray(rows))
        self._next += len(rows)
        if self._next == self._shape[0]:
            if self._running.end(self._attributes) != self._digest:
                raise changed_error(self._path, self._name)
            _PROVEN.add(self._key)
            self._running = None

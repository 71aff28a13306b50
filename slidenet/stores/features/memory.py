"""Features that stay in memory once read, within a number of bytes."""

import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from slidenet.stores.features.file import FeatureArrays, FeatureFile
from slidenet.stores.features.part import PartSource, whole_of

SMALL_COHORT_BYTES = 256 * 2**20
"""What is kept unless something else is asked for: about 2,700 bags of 64 tiles, or 5 of 30,000
tiles, with 768 numbers of 16 bits."""


class FeatureMemory:
    """The arrays of features files, kept as they were read.

    A command reads every file of a small cohort once: the audit, all epochs and the predictions
    after them take the same arrays. Files for which no room is left are read whenever they are
    needed, and nothing is ever thrown out.

    Pickled it is empty, and a worker process adds nothing to what it got from its parent by fork,
    unless everything is kept: many workers take no more memory than one process.

    Args:
        max_bytes: Most bytes of arrays kept; infinite to keep every file, 0 for none.
    """

    def __init__(self, max_bytes: float = SMALL_COHORT_BYTES) -> None:
        self.max_bytes = max_bytes
        self._process = os.getpid()
        self._kept: dict[Path, FeatureArrays] = {}
        self._num_bytes = 0

    def read(self, file: FeatureFile) -> FeatureArrays:
        """The arrays of a file, from memory or read in one opening; nobody may change them.

        Raises:
            StoreError: The file is gone or broken, or holds NaN or infinite features.
        """
        if isinstance(file.source, PartSource):
            if not self.has_room_for(file):
                return file.read()
            (features, coords, mask), rows = self.read(file.source.whole), file.source.rows
            return FeatureArrays(features[rows], coords[rows], mask[rows])
        if file.path not in self._kept:
            arrays = file.read()
            if not self.has_room_for(file):
                return arrays
            self._kept[file.path] = arrays
            self._num_bytes += sum(array.nbytes for array in arrays)
        return self._kept[file.path]

    def has_room_for(self, file: FeatureFile) -> bool:
        """Whether the arrays of a file (of a part: the whole) are, or will be, kept once read."""
        file = whole_of(file)
        if file.path in self._kept or math.isinf(self.max_bytes):
            return True
        itemsize = 4 if file.dtype is None else file.dtype.itemsize
        needed = file.num_tiles * (
            file.feature_dim * itemsize + 2 * np.int64().itemsize + np.bool_().itemsize
        )
        return self._process == os.getpid() and self._num_bytes + needed <= self.max_bytes

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": {}, "_num_bytes": 0}

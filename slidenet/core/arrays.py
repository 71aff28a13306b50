"""Array types that numbers of a cohort are handed around in, and features block by block."""

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating[Any]]
Float64Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
UInt8Array = npt.NDArray[np.uint8]

BLOCK_ROWS = 4096


class FeatureRows(Protocol):
    """Features (N, D) that can be sliced by rows: an array, or a file not yet in memory."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, D)."""

    def __getitem__(self, rows: slice, /) -> Any:
        """Those rows as an array."""


def row_blocks(features: FeatureRows) -> Iterator[tuple[slice, FloatArray]]:
    """Consecutive rows of at most `BLOCK_ROWS`, so that memory does not grow with the slide.

    Args:
        features: (N, D).

    Yields:
        Which rows, and the rows as an array.
    """
    for start in range(0, features.shape[0], BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        yield rows, np.asarray(features[rows])

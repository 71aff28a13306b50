"""Some tiles of a features file as a file of their own: those of a drawn region, or one tile."""

from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from slidenet.core.arrays import FloatArray, IntArray
from slidenet.core.status import EMPTY, OK
from slidenet.stores.features.file import FeatureFile
from slidenet.stores.h5.regions import Columns


@dataclass(frozen=True, eq=False)
class PartSource:
    """Some rows of another file.

    Attributes:
        whole: The file.
        rows: int64 (M,), M >= 1, which of its rows, increasing.
    """

    whole: FeatureFile
    rows: IntArray

    def open(self) -> AbstractContextManager[Any]:
        """Opens the whole file, once it is proved: of a part alone there is no digest."""
        self.whole.prove()
        return self.whole.source.open()

    def proof(self, handle: Any) -> None:
        """None: it is the whole file that is proved."""
        return

    def read_features(self, handle: Any, where: Any) -> FloatArray:
        """Rows of the part: one block of the file is read, since picking rows takes h5 longer."""
        rows = self.rows[where]
        if not rows.size:
            return self.whole.source.read_features(handle, slice(0, 0))
        first = rows.min()
        block = self.whole.source.read_features(handle, slice(first, rows.max() + 1))
        picked: FloatArray = block[rows - first]
        return picked

    def read_coords(self, handle: Any) -> IntArray:
        """int64 (M, 2), level-0 px."""
        return self.whole.source.read_coords(handle)[self.rows]

    def read_status(self, handle: Any) -> npt.NDArray[np.uint8]:
        """uint8 (M,), codes of `core.status`."""
        return self.whole.source.read_status(handle)[self.rows]

    def read_tissue_fraction(self, handle: Any) -> npt.NDArray[np.float32] | None:
        """float32 (M,), or None where the file has none."""
        fraction = self.whole.source.read_tissue_fraction(handle)
        return None if fraction is None else fraction[self.rows]

    def read_region_columns(self, handle: Any) -> Columns | None:
        """uint16 (M,) and float32 (M,), or None where the file has none."""
        columns = self.whole.source.read_region_columns(handle)
        return None if columns is None else (columns[0][self.rows], columns[1][self.rows])


def part_of(
    file: FeatureFile, rows: IntArray, name: str, status: npt.NDArray[np.uint8]
) -> FeatureFile:
    """Some tiles of a file, under a name of their own.

    Args:
        file: The whole file.
        rows: int64 (M,), M >= 1, which of its N tiles, increasing.
        name: What becomes of `slide_id`.
        status: uint8 (N,), of the whole file.
    """
    codes = status[rows]
    empty = int((codes == EMPTY).sum())
    return replace(
        file,
        slide_id=name,
        digest=None,
        num_tiles=len(rows),
        num_unreadable=int((codes != OK).sum()) - empty,
        num_empty=empty,
        source=PartSource(file, rows),
    )


def whole_of(file: FeatureFile) -> FeatureFile:
    """The file of which this one is a part; itself where it is none."""
    return file.source.whole if isinstance(file.source, PartSource) else file

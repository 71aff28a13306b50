"""Arrays of an h5 file of features, whatever its datasets are called."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from slidenet.core.arrays import FloatArray, IntArray
from slidenet.core.errors import StoreError
from slidenet.stores.features.proof import RowsProof
from slidenet.stores.h5 import schema
from slidenet.stores.h5.digests import (
    Digests,
    changed_error,
    check_digests,
    digest_of_array,
    plain_attributes,
)
from slidenet.stores.h5.file import broken, open_handle
from slidenet.stores.h5.regions import Columns


@dataclass(frozen=True)
class H5Source:
    """Where features, coords and status lie in one h5 file.

    Attributes:
        path: The file.
        features: Name of the dataset (N, D), or (1, N, D).
        coords_unit: Length of the unit of `/coords` in level-0 pixels: 1 for pixels, 1 / slide_mpp
            for microns.
        status: Name of the dataset of status codes; None where every tile is real, since the tool
            does not write a tile it could not read.
        tissue_fraction: Name of the dataset of tissue shares, or None.
        regions: Whether it has our datasets of regions.
        digests: Digest of each dataset, where the file carries them.
    """

    path: Path
    features: str = "features"
    coords_unit: float = 1.0
    status: str | None = None
    tissue_fraction: str | None = None
    regions: bool = False
    digests: Digests = field(default_factory=dict)

    def open(self) -> AbstractContextManager[Any]:
        """The file as h5py opens it.

        Raises:
            StoreError: It is gone or broken.
        """
        handle: AbstractContextManager[Any] = open_handle(self.path)
        return handle

    def read_features(self, handle: Any, where: Any) -> FloatArray:
        """Rows of the features; numbers of more than 32 bits become float32."""
        read = self._rows(handle, self.features, where)
        kept = read.dtype in (np.float16, np.float32)
        rows: FloatArray = read if kept else read.astype(np.float32)
        return rows

    def proof(self, handle: Any) -> RowsProof | None:
        """What compares the features with their digest as they are read; None without one.

        Raises:
            StoreError: What lies beside the features is not what was written.
        """
        if self.features not in self.digests:
            return None
        with self._reading():
            dataset = handle[self.features]
            proof = RowsProof(
                self.path,
                self.features,
                self.digests[self.features],
                dataset.dtype,
                dataset.shape,
                plain_attributes(dataset),
            )
            proof.prove_rest(lambda: check_digests(handle, self.path, deep=False))
        return proof

    def read_coords(self, handle: Any) -> IntArray:
        """int64 (N, 2), level-0 px; microns become the nearest pixel."""
        coords = self._read(handle, "coords")
        if coords.dtype == np.int64 and self.coords_unit == 1:
            return coords
        if not np.isfinite(coords).all():
            raise StoreError(f"{self.path}: /coords holds NaN or infinite values")
        pixels: IntArray = np.rint(coords.astype(np.float64) * self.coords_unit).astype(np.int64)
        return pixels

    def read_status(self, handle: Any) -> npt.NDArray[np.uint8]:
        """uint8 (N,), codes of the schema."""
        if self.status is None:
            return np.zeros(handle[self.features].shape[-2], np.uint8)
        return self._read(handle, self.status)

    def read_tissue_fraction(self, handle: Any) -> npt.NDArray[np.float32] | None:
        """float32 (N,), or None."""
        return None if self.tissue_fraction is None else self._read(handle, self.tissue_fraction)

    def read_region_columns(self, handle: Any) -> Columns | None:
        """uint16 (N,) and float32 (N,), or None."""
        if not self.regions:
            return None
        return self._read(handle, schema.REGION), self._read(handle, schema.REGION_SHARE)

    def _read(self, handle: Any, name: str) -> npt.NDArray[Any]:
        """One whole dataset, compared with its digest."""
        with self._reading():
            array = self._rows(handle, name, slice(None))
            if name in self.digests:
                digest = digest_of_array(array, plain_attributes(handle[name]))
                if digest != self.digests[name]:
                    raise changed_error(self.path, name)
        return array

    def _rows(self, handle: Any, name: str, where: Any) -> npt.NDArray[Any]:
        """Rows of a dataset, without a first axis of one."""
        with self._reading():
            dataset = handle[name]
            array: npt.NDArray[Any] = dataset[(0, where)] if dataset.ndim == 3 else dataset[where]
        return array

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Turns what HDF5 says of a spoilt file into an error about it."""
        try:
            yield
        except (OSError, RuntimeError, KeyError) as error:
            raise broken(self.path, error) from error

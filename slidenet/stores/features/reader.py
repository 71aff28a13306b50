"""Reading the features of a slide, lazily."""

import os
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from slidenet.core.provenance import JsonValue
from slidenet.core.records import TileGeometry
from slidenet.stores.h5 import schema
from slidenet.stores.h5.attributes import read_attribute, read_geometry, read_identity
from slidenet.stores.h5.file import broken, open_h5, open_handle
from slidenet.stores.h5.layout import check_layout


def read_features(path: str | os.PathLike[str]) -> "FeatureFile":
    """Opens a features file; its numbers are read when asked for.

    Raises:
        StoreError: The file is missing, broken or not a `slidenet.features` file.
    """
    return FeatureFile(path)


class FeatureFile:
    """The features of one slide on disk.

    What describes the file is read at once; arrays are read on first use. The h5 handle opens on
    first use, is reopened in another process (data loader workers) and closed by `close` or at
    the end of a `with` block.

    Attributes:
        path: The file.
        slide_id: Id of the slide.
        fingerprint: Content fingerprint of the slide file.
        num_tiles: Number of tiles, N.
        feature_dim: Length of a feature vector, D.
        dtype: float16 or float32, as stored.
        num_unreadable: Tiles whose pixels could not be read; their features are zero.
        geometry: How the tiles lie and how they were read.
        identity: Every setting that made the numbers.
        identity_hash: Its hash.
        encoder: Identity of the tile encoder.

    Raises:
        StoreError: The file is missing, broken or not a `slidenet.features` file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._h5: Any = None
        self._owner = 0
        with open_h5(self.path) as h5:
            check_layout(h5, self.path, expected=schema.FEATURES_FORMAT)
            group = h5[schema.GROUP]
            self.slide_id = read_attribute(group, "slide_id", str, self.path)
            self.fingerprint = read_attribute(group, "slide_fingerprint", str, self.path)
            self.num_tiles = read_attribute(group, "num_tiles", int, self.path)
            self.feature_dim = read_attribute(group, "feature_dim", int, self.path)
            self.num_unreadable = read_attribute(group, "num_unreadable", int, self.path)
            self.dtype = np.dtype(read_attribute(group, "dtype", str, self.path))
            self.identity_hash = read_attribute(group, "recipe_hash", str, self.path)
            self.geometry: TileGeometry = read_geometry(group, self.path)
            self.identity: dict[str, JsonValue] = read_identity(group, self.path)
            self.encoder: dict[str, JsonValue] = read_identity(group, self.path, "encoder")

    @property
    def features(self) -> "LazyFeatures":
        """(N, D) float16 or float32; nothing is read until it is sliced."""
        return LazyFeatures(self)

    @cached_property
    def coords(self) -> npt.NDArray[np.int64]:
        """int64 (N, 2), (x, y) of each tile's top-left corner in level-0 pixels."""
        coords: npt.NDArray[np.int64] = self._array(schema.COORDS)
        return coords

    @cached_property
    def status(self) -> npt.NDArray[np.uint8]:
        """uint8 (N,): 0 = ok, 1 = unreadable."""
        status: npt.NDArray[np.uint8] = self._array(schema.STATUS)
        return status

    @cached_property
    def tissue_fraction(self) -> npt.NDArray[np.float32]:
        """float32 (N,), share of each tile covered by tissue."""
        tissue_fraction: npt.NDArray[np.float32] = self._array(schema.TISSUE_FRACTION)
        return tissue_fraction

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """True = real tile: bool (N,), False where the pixels could not be read."""
        mask: npt.NDArray[np.bool_] = self.status == schema.STATUS_OK
        return mask

    def close(self) -> None:
        """Closes the handle; the next use opens it again."""
        if self._h5 is not None and self._owner == os.getpid():
            self._h5.close()
        self._h5 = None

    def __len__(self) -> int:
        return self.num_tiles

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_h5": None}

    def _open(self) -> Any:
        # A handle inherited through fork shares its state with the parent: never used here.
        if self._h5 is None or self._owner != os.getpid():
            self._h5, self._owner = open_handle(self.path), os.getpid()
        return self._h5

    def _array(self, name: str, where: Any = slice(None)) -> Any:
        try:
            return self._open()[name][where]
        except (OSError, RuntimeError) as error:
            raise broken(self.path, error) from error


class LazyFeatures:
    """The features of one slide, read slice by slice: `file.features[10:20]`, `file.features[:]`.

    Attributes:
        shape: (N, D).
        dtype: float16 or float32, as stored.
    """

    def __init__(self, file: FeatureFile) -> None:
        self._file = file
        self.shape = (file.num_tiles, file.feature_dim)
        self.dtype = file.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, where: Any) -> npt.NDArray[np.floating]:
        """Reads rows (and columns) as h5py does: slices, or increasing lists of rows.

        Raises:
            StoreError: The file has been removed or is broken there.
        """
        features: npt.NDArray[np.floating] = self._file._array(schema.FEATURES, where)
        return features

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> Any:
        return np.asarray(self[:], dtype=dtype)

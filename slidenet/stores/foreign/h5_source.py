"""Arrays of an h5 file of another tool, read lazily."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from slidenet.core.errors import StoreError
from slidenet.stores.h5.file import broken, open_handle


class H5Source:
    """Features and coords of one h5 file.

    The handle opens on first use and is opened again in another process (data loader workers).

    Args:
        path: The file.
        features: Name of the dataset (N, D), or (1, N, D).
        coords_unit: Length of the unit of `/coords` in level-0 pixels: 1 for pixels, 1 / slide_mpp
            for microns.

    Attributes:
        path: As given.
    """

    def __init__(self, path: Path, *, features: str, coords_unit: float = 1.0) -> None:
        self.path = path
        self._features = features
        self._coords_unit = coords_unit
        self._h5: Any = None
        self._owner = 0

    def read_features(self, where: Any) -> npt.NDArray[np.floating]:
        """Rows of the features, float16 or float32."""
        read = self.read_array(self._features, where)
        kept = read.dtype in (np.float16, np.float32)
        rows: npt.NDArray[np.floating] = read if kept else read.astype(np.float32)
        return rows

    def read_coords(self) -> npt.NDArray[np.int64]:
        """int64 (N, 2), level-0 px; microns become the nearest pixel."""
        coords = self.read_array("coords")
        if coords.dtype == np.int64 and self._coords_unit == 1:
            return coords
        if not np.isfinite(coords).all():
            raise StoreError(f"{self.path}: /coords holds NaN or infinite values")
        pixels: npt.NDArray[np.int64] = np.rint(
            coords.astype(np.float64) * self._coords_unit
        ).astype(np.int64)
        return pixels

    def read_mask(self) -> npt.NDArray[np.bool_]:
        """Every tile is real: these tools do not write a tile they could not read."""
        return np.ones(self._open()[self._features].shape[-2], dtype=np.bool_)

    def read_array(self, name: str, where: Any = slice(None)) -> npt.NDArray[Any]:
        """One dataset, or rows of it, without a first axis of one.

        Raises:
            StoreError: The file is gone or broken there.
        """
        dataset = self._open()[name]
        try:
            array: npt.NDArray[Any] = dataset[(0, where)] if dataset.ndim == 3 else dataset[where]
        except (OSError, RuntimeError) as error:
            raise broken(self.path, error) from error
        return array

    def close(self) -> None:
        """Closes the handle; the next use opens it again."""
        if self._h5 is not None and self._owner == os.getpid():
            self._h5.close()
        self._h5 = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_h5": None}

    def _open(self) -> Any:
        # A handle inherited through fork shares its state with the parent: never used here.
        if self._h5 is None or self._owner != os.getpid():
            self._h5, self._owner = open_handle(self.path), os.getpid()
        return self._h5


def check_arrays(h5: Any, path: Path, *, features: str) -> tuple[int, int]:
    """Refuses shapes and types no layout has, from the headers alone.

    Args:
        h5: The open file.
        path: Its path, for messages.
        features: Name of the dataset of features.

    Returns:
        N and D.

    Raises:
        StoreError: Naming the file and the dataset at fault.
    """
    shapes = {}
    for name in (features, "coords"):
        shape, kind = h5[name].shape, h5[name].dtype.kind
        shapes[name] = shape[1:] if len(shape) == 3 and shape[0] == 1 else shape
        good = len(shapes[name]) == 2 and kind in ("f" if name == features else "iuf")
        if not good or (name == "coords" and shapes[name][1] != 2):
            raise StoreError(
                f"{path}: /{name} is {h5[name].dtype} of shape {shape}",
                expected="whole numbers (N, 2)" if name == "coords" else "floats (N, D)",
                remedy="check that these are features of tiles, then make the file again",
            )
    (num_tiles, feature_dim), num_coords = shapes[features], shapes["coords"][0]
    if num_coords != num_tiles:
        raise StoreError(
            f"{path} holds {num_coords} coords and {num_tiles} features",
            expected="one place per feature vector",
            remedy="make the file again",
        )
    return int(num_tiles), int(feature_dim)


def attribute(target: Any, name: str) -> Any:
    """One attribute as plain Python: text as str, one-element arrays as their element, else None.

    CLAM writes pairs (a downsample in x and in y); of those the first is taken.
    """
    if name not in target.attrs:
        return None
    value = target.attrs[name]
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, np.ndarray):
        return value.reshape(-1)[0].item() if value.size else None
    return value.item() if isinstance(value, np.generic) else value

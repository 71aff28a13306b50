"""One door to features files of every layout."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py

from slidenet.core.errors import StoreError
from slidenet.stores.foreign.bag_features import BagFeatures
from slidenet.stores.foreign.clam_layout import read_clam, read_clam_tensor
from slidenet.stores.foreign.geometry import Given
from slidenet.stores.foreign.slide2vec_layout import read_slide2vec
from slidenet.stores.foreign.slidenet_layout import read_slidenet
from slidenet.stores.foreign.stamp_layout import read_stamp
from slidenet.stores.foreign.trident_layout import read_trident
from slidenet.stores.h5 import schema
from slidenet.stores.h5.file import open_h5

Reader = Callable[[Given], BagFeatures]

FEATURE_SUFFIXES = (".h5", ".hdf5", ".npz", ".pt")
"""Endings of features files, the one taken first where a slide has several."""


def open_bag_features(
    path: str | os.PathLike[str],
    *,
    slide_mpp: float | None = None,
    tile_size_px: int | None = None,
    target_mpp: float | None = None,
) -> BagFeatures:
    """Opens the features of a slide written by slidenet, CLAM, TRIDENT, STAMP or slide2vec.

    The layout is told by what the file holds. Only headers are read.

    Args:
        path: An h5, `.pt` or `.npz` file.
        slide_mpp: Microns per level-0 pixel, for layouts that do not say it (CLAM, STAMP) or only
            as a magnification (TRIDENT).
        tile_size_px: Side of a tile at `target_mpp`, for CLAM without its file of patches.
        target_mpp: Microns per pixel of the tiles, likewise.

    Returns:
        The features with the places of their tiles in level-0 pixels.

    Raises:
        StoreError: Naming the file: none of these layouts, broken, empty, sizes that do not fit, or
            a frame or resolution that is not known, with what to give.
    """
    given = Given(Path(path), slide_mpp, tile_size_px, target_mpp)
    return _reader(given.path)(given)


def _reader(path: Path) -> Reader:
    if not path.is_file():
        raise StoreError(
            f"{path} does not exist" if not path.exists() else f"{path} is not a file",
            expected="a features file of one slide",
        )
    if path.suffix in (".npz", ".pt"):
        beside = path.with_name(f"{path.stem}.meta.json").is_file()
        return read_slide2vec if beside or path.suffix == ".npz" else read_clam_tensor
    with open_h5(path) as h5:
        for recognises, reader in _H5_LAYOUTS:
            if recognises(h5):
                return reader
        names = ", ".join(f"/{name}" for name in h5) or "nothing"
    raise StoreError(
        f"{path} holds {names}",
        expected="/features or /feats with /coords, as slidenet, CLAM, TRIDENT and STAMP write",
        remedy="give the files with the features of tiles",
    )


def _is_slidenet(h5: Any) -> bool:
    return isinstance(h5.get(schema.GROUP), h5py.Group)


def _is_stamp(h5: Any) -> bool:
    return "feats" in h5


def _is_trident(h5: Any) -> bool:
    marks = {"patch_size_level0", "level0_magnification", "target_magnification"}
    return _is_clam(h5) and bool(marks & set(h5["coords"].attrs))


def _is_clam(h5: Any) -> bool:
    return "features" in h5 and "coords" in h5


_H5_LAYOUTS: tuple[tuple[Callable[[Any], bool], Reader], ...] = (
    (_is_slidenet, read_slidenet),
    (_is_stamp, read_stamp),
    (_is_trident, read_trident),
    (_is_clam, read_clam),
)
"""First match reads; the particular come before the general."""

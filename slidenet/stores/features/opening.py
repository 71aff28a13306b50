"""Opening features files of every layout, whoever wrote them."""

import os
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

from slidenet.core.errors import StoreError
from slidenet.core.text import name_some
from slidenet.stores.features.file import FeatureFile
from slidenet.stores.features.given import GivenGeometry
from slidenet.stores.features.reader import is_slidenet, read_slidenet
from slidenet.stores.features.strange import open_strange
from slidenet.stores.foreign.clam import is_clam, read_clam, read_clam_tensor
from slidenet.stores.foreign.slide2vec import has_slide2vec_json, read_slide2vec
from slidenet.stores.foreign.stamp import is_stamp, read_stamp
from slidenet.stores.foreign.trident import is_trident, read_trident

FEATURE_SUFFIXES = (".h5", ".hdf5", ".npz", ".pt")
"""Endings of features files, the one taken first where a slide has several."""

_H5_LAYOUTS: tuple[
    tuple[Callable[[Any], bool], Callable[[Any, GivenGeometry], FeatureFile]], ...
] = (
    (is_slidenet, read_slidenet),
    (is_stamp, read_stamp),
    (is_trident, read_trident),
    (is_clam, read_clam),
)
"""First match reads; the particular come before the general."""


def open_features(
    path: str | os.PathLike[str],
    *,
    slide_mpp: float | None = None,
    tile_size_px: int | None = None,
    target_mpp: float | None = None,
) -> FeatureFile:
    """The features of a slide written by slidenet, CLAM, TRIDENT, STAMP or slide2vec.

    The layout is recognised by what the file holds. Only headers are read, in one opening of the
    file, and nothing stays open.

    Args:
        path: An h5, `.pt` or `.npz` file.
        slide_mpp: Microns per level-0 pixel, for layouts that do not say it (CLAM, STAMP) or only
            as a magnification (TRIDENT).
        tile_size_px: Side of a tile at `target_mpp`, for CLAM without its file of patches.
        target_mpp: Microns per pixel of the tiles, likewise.

    Returns:
        The features with the places of their tiles in level-0 pixels: `file.features[:1000]`,
        `file.coords`, `file.mask`; in a `with` block the file is opened once for all of them.

    Raises:
        StoreError: Naming the file: none of these layouts, broken, sizes that do not fit, or a
            frame or resolution that is not known, with what to give.
    """
    path = Path(path)
    given = GivenGeometry(path, slide_mpp, tile_size_px, target_mpp)
    if not path.is_file():
        raise StoreError(
            f"{path} does not exist" if not path.exists() else f"{path} is not a file",
            expected="a features file of one slide",
        )
    if path.suffix == ".npz" or (path.suffix == ".pt" and has_slide2vec_json(path)):
        return read_slide2vec(given)
    if path.suffix == ".pt":
        return read_clam_tensor(given)
    with open_strange(path) as h5:
        for recognised, read in _H5_LAYOUTS:
            if recognised(h5):
                return read(h5, given)
        names = name_some([f"/{name}" for name in islice(h5, 100)]) or "nothing"
    raise StoreError(
        f"{path} holds {names}",
        expected="/features or /feats with /coords, as slidenet, CLAM, TRIDENT and STAMP write",
        remedy="give the files with the features of tiles",
    )


read_features = open_features
"""The name of `open_features` at the front door (`slidenet.read_features`)."""

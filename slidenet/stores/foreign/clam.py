"""Features written by CLAM: `features` and `coords` without attributes, one h5 per slide.

`h5_files/<slide>.h5` holds `features` float32 (N, D) (older: (1, N, D)) and `coords` int32 (N, 2).
How the tiles were cut stands only in the other file of the slide, `patches/<slide>.h5`, as
attributes of its `coords`: `patch_size` (pixels of `patch_level`), `patch_level`, `downsample` (of
that level, in x and y), `custom_downsample` in older versions. It is looked for near the features;
where it is not found, tile size and resolution must be given.

CLAM's present pipeline (`create_patches_fp.py`) counts coords in level-0 pixels. The older one,
which stored the pixels of the tiles (`imgs`), counts them in pixels of the level read: refused,
unless that level is 0. So are coords whose step shows that they were counted there.

`pt_files/<slide>.pt` holds the features alone, in the same order; its h5 is read instead.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from slidenet.core.arrays import IntArray
from slidenet.core.errors import StoreError
from slidenet.core.units import NATIVE_MAGNIFICATION_MPP
from slidenet.stores.features.file import FeatureFile
from slidenet.stores.features.given import GivenGeometry
from slidenet.stores.features.h5_source import H5Source
from slidenet.stores.features.strange import check_arrays, number_attribute, open_strange
from slidenet.stores.h5.plain import holds, refuse_unless_plain

_LEAST_STEP = 0.45
"""Tiles that overlap by more than about half are not believed without the file of patches."""


@dataclass(frozen=True, slots=True)
class _Patches:
    """What CLAM says about how the tiles were cut; None where it says nothing."""

    tile_size_px: int | None = None
    level: int | None = None
    downsample: float | None = None


def is_clam(h5: Any) -> bool:
    """Whether the file has the datasets that CLAM writes."""
    return holds(h5, "features") and holds(h5, "coords")


def read_clam(h5: Any, given: GivenGeometry) -> FeatureFile:
    """A features file of CLAM.

    Args:
        h5: The open file.
        given: What the caller says of it.

    Raises:
        StoreError: The slide's mpp, the tile size or the resolution is not known, or the coords
            are not in level-0 pixels.
    """
    path = given.path
    num_tiles, feature_dim, dtype = check_arrays(h5, path, features="features")
    patches = _patches(h5["coords"], path) or _patches_beside(path, num_tiles)
    slide_mpp = given.resolve("slide_mpp", None)
    tile_size_px = given.tile_size(patches.tile_size_px if patches else None)
    found = slide_mpp * patches.downsample if patches and patches.downsample else None
    target_mpp = given.resolve("target_mpp", found, tolerance=0.05)
    source = H5Source(path)
    if not patches:
        _check_step(path, source.read_coords(h5), tile_size_px * target_mpp / slide_mpp)
    magnification = 2.0 ** round(math.log2(NATIVE_MAGNIFICATION_MPP / target_mpp / 20)) * 20
    return FeatureFile(
        path=path,
        layout="clam",
        slide_id=path.stem,
        num_tiles=num_tiles,
        feature_dim=feature_dim,
        dtype=dtype,
        slide_mpp=slide_mpp,
        tile_size_px=tile_size_px,
        target_mpp=target_mpp,
        identity={
            "layout": "clam",
            "encoder": None,
            "tile_size_px": tile_size_px,
            "patch_level": patches.level if patches else None,
            "magnification": magnification,
        },
        source=source,
    )


def read_clam_tensor(given: GivenGeometry) -> FeatureFile:
    """The h5 that CLAM wrote beside `pt_files/<slide>.pt`; the tensor holds no coords.

    Raises:
        StoreError: There is none, or `read_clam` refuses it.
    """
    path = given.path
    for folder in (path.parent.parent / "h5_files", path.parent):
        beside = folder / f"{path.stem}.h5"
        if beside.is_file():
            with open_strange(beside) as h5:
                return read_clam(h5, replace(given, path=beside))
    raise StoreError(
        f"{path} holds features without the places of the tiles",
        expected=f"CLAM's file {path.parent.parent / 'h5_files' / (path.stem + '.h5')}, or "
        f"slide2vec's {path.stem}.meta.json beside it",
        remedy="give the folder h5_files instead of pt_files",
    )


def _patches_beside(path: Path, num_tiles: int) -> _Patches | None:
    for folder in (path.parent, path.parent.parent, path.parent.parent.parent):
        patches = folder / "patches" / path.name
        if patches.is_file() and patches != path:
            with open_strange(patches) as h5:
                return _checked_patches(h5, patches, path, num_tiles)
    return None


def _checked_patches(h5: Any, patches: Path, path: Path, num_tiles: int) -> _Patches | None:
    if holds(h5, "coords"):
        refuse_unless_plain(h5, patches, "coords")
    found = h5["coords"].shape[:1] if holds(h5, "coords") else None
    if found != (num_tiles,):
        raise StoreError(
            f"{patches} holds {found[0] if found else 'no'} coords and {path} "
            f"holds {num_tiles} features",
            expected="the patches these features were made from",
            remedy="move the patches away if they belong to another run, and give tile_size_px "
            "and target_mpp",
        )
    level = number_attribute(h5["imgs"], "patch_level", patches) if holds(h5, "imgs") else None
    if level:
        raise StoreError(
            f"{patches} holds pixels of level {level:g}, so the "
            f"coords of {path} are counted in pixels of that level",
            expected="coords in level-0 pixels",
            remedy="extract the features with CLAM's create_patches_fp.py and "
            "extract_features_fp.py, or with slidenet",
        )
    return _patches(h5["coords"], patches)


def _patches(coords: Any, path: Path) -> _Patches | None:
    tile_size = number_attribute(coords, "patch_size", path)
    level = number_attribute(coords, "patch_level", path)
    downsample = number_attribute(coords, "downsample", path)
    if tile_size is None and level is None:
        return None
    custom = number_attribute(coords, "custom_downsample", path) or 1
    if downsample is None and level == 0:
        downsample = 1.0
    return _Patches(
        tile_size_px=None if tile_size is None else round(tile_size / custom),
        level=level,
        downsample=None if downsample is None else float(downsample) * custom,
    )


def _check_step(path: Path, coords: IntArray, side_level0: float) -> None:
    """Refuses coords whose smallest step says that they count pixels of another level."""
    steps = np.concatenate([np.diff(np.unique(column)) for column in coords.T])
    if len(steps) and steps.min() < _LEAST_STEP * side_level0:
        raise StoreError(
            f"{path}: tiles lie {steps.min()} px apart and are {side_level0:.0f} level-0 px "
            "wide, so the coords may be counted in pixels of another level",
            expected="coords in level-0 pixels",
            remedy=f"put CLAM's patches/{path.name} where it can be found, in or beside the "
            "folder of the features, or check slide_mpp, tile_size_px and target_mpp",
        )

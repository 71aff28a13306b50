"""Features written by TRIDENT: `features` and `coords` with attributes, one h5 per slide.

`coords` int64 (N, 2) are level-0 pixels. Its attributes: `patch_size` (px at the target
magnification), `patch_size_level0` (rounded down), `level0_magnification`, `target_magnification`,
`overlap`, `name`, `savetodir`, `level0_width`, `level0_height`; `features` carries `encoder`.

The file holds nominal magnifications, no microns: 40x stands for 0.25 mpp and for everything near
it. A slide_mpp from the caller is therefore taken, if it is near; else 10 / magnification.
"""

from typing import Any

from slidenet.core.errors import StoreError
from slidenet.core.units import NATIVE_MAGNIFICATION_MPP
from slidenet.stores.features.file import FeatureFile
from slidenet.stores.features.given import GivenGeometry
from slidenet.stores.features.h5_source import H5Source
from slidenet.stores.features.strange import check_arrays, number_attribute, text_attribute
from slidenet.stores.foreign.clam import is_clam

_NOMINAL = 0.35
"""Scanners called 40x range from 0.17 to 0.33 mpp; 20x and 40x are still told apart."""


def is_trident(h5: Any) -> bool:
    """Whether TRIDENT wrote the file: CLAM's names, with attributes that say how tiles were cut."""
    marks = {"patch_size_level0", "level0_magnification", "target_magnification"}
    return is_clam(h5) and bool(marks & set(h5["coords"].attrs))


def read_trident(h5: Any, given: GivenGeometry) -> FeatureFile:
    """A features file of TRIDENT.

    Args:
        h5: The open file.
        given: What the caller says of it.

    Raises:
        StoreError: Sizes or resolutions are missing, contradict each other or what is given.
    """
    path = given.path
    num_tiles, feature_dim, dtype = check_arrays(h5, path, features="features")
    coords = h5["coords"]
    side_level0 = number_attribute(coords, "patch_size_level0", path)
    magnification = number_attribute(coords, "level0_magnification", path)
    target = number_attribute(coords, "target_magnification", path)
    tile_size_px = given.tile_size(number_attribute(coords, "patch_size", path))
    nominal = NATIVE_MAGNIFICATION_MPP / magnification if magnification else None
    given.resolve("slide_mpp", nominal, tolerance=_NOMINAL)
    slide_mpp = given.slide_mpp or nominal
    assert slide_mpp is not None
    if magnification and target:
        found = slide_mpp * magnification / target
        if side_level0 and abs(side_level0 - tile_size_px * magnification / target) > 1:
            raise StoreError(
                f"{path}: /coords says patch_size_level0 {side_level0:g}, but patch_size "
                f"{tile_size_px} at {target:g}x of {magnification:g}x",
                expected="sizes that belong together",
                remedy="make the file again",
            )
    else:
        found = side_level0 * slide_mpp / tile_size_px if side_level0 else None
    return FeatureFile(
        path=path,
        layout="trident",
        slide_id=path.stem,
        num_tiles=num_tiles,
        feature_dim=feature_dim,
        dtype=dtype,
        slide_mpp=slide_mpp,
        tile_size_px=tile_size_px,
        target_mpp=given.resolve("target_mpp", found, tolerance=_NOMINAL),
        identity={
            "layout": "trident",
            "encoder": text_attribute(h5["features"], "encoder", path),
            "tile_size_px": tile_size_px,
            "target_magnification": target,
            "overlap": number_attribute(coords, "overlap", path, signed=True),
        },
        source=H5Source(path),
    )

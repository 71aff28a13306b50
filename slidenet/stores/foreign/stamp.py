"""Features written by STAMP (version 2 and later): `feats` and `coords` in microns, one h5 each.

`feats` float16 (N, D); `coords` float32 (N, 2), (x, y) of top-left corners in microns. Attributes
of the file: `unit` "um", `tile_size_um` (2.0 called it `tile_size`), `tile_size_px`, `extractor`,
`feat_type` "tile", `stamp_version`. Microns become level-0 pixels only by the slide's mpp, which
the file does not hold. Version 1 says no unit at all and is refused.
"""

from typing import Any

from slidenet.core.errors import StoreError
from slidenet.stores.features.file import FeatureFile
from slidenet.stores.features.given import GivenGeometry
from slidenet.stores.features.h5_source import H5Source
from slidenet.stores.features.strange import check_arrays, number_attribute, text_attribute
from slidenet.stores.h5.plain import holds


def is_stamp(h5: Any) -> bool:
    """Whether STAMP wrote the file."""
    return holds(h5, "feats")


def read_stamp(h5: Any, given: GivenGeometry) -> FeatureFile:
    """A features file of STAMP.

    Args:
        h5: The open file.
        given: What the caller says of it.

    Raises:
        StoreError: The unit of the coords is not known to be microns, they are not of tiles, or
            the slide's mpp is not given.
    """
    path = given.path
    kind = text_attribute(h5, "feat_type", path) or "tile"
    if kind != "tile" or not holds(h5, "coords"):
        raise StoreError(
            f"{path} holds features of a {kind}, written by STAMP",
            expected="features of tiles with their coords",
            remedy="give the folder that `stamp preprocess` wrote",
        )
    num_tiles, feature_dim, dtype = check_arrays(h5, path, features="feats")
    unit = text_attribute(h5, "unit", path)
    tile_size_um = number_attribute(h5, "tile_size_um", path) or number_attribute(
        h5, "tile_size", path
    )
    if unit != "um":
        raise StoreError(
            f"{path}: the unit of /coords is {unit!r}" if unit else f"{path}: /coords has no unit",
            expected="the attribute unit 'um', as STAMP writes since version 2",
            remedy="extract the features again with a present STAMP or with slidenet",
        )
    slide_mpp = given.resolve("slide_mpp", None)
    tile_size_px = given.tile_size(number_attribute(h5, "tile_size_px", path))
    found = tile_size_um / tile_size_px if tile_size_um else None
    return FeatureFile(
        path=path,
        layout="stamp",
        slide_id=path.stem,
        num_tiles=num_tiles,
        feature_dim=feature_dim,
        dtype=dtype,
        slide_mpp=slide_mpp,
        tile_size_px=tile_size_px,
        target_mpp=given.resolve("target_mpp", found),
        identity={
            "layout": "stamp",
            "encoder": text_attribute(h5, "extractor", path),
            "tile_size_px": tile_size_px,
            "tile_size_um": tile_size_um,
        },
        source=H5Source(path, features="feats", coords_unit=1 / slide_mpp),
    )

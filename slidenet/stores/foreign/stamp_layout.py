"""Features written by STAMP (version 2 and later): `feats` and `coords` in microns, one h5 each.

`feats` float16 (N, D); `coords` float32 (N, 2), (x, y) of top-left corners in microns. Attributes
of the file: `unit` "um", `tile_size_um` (2.0 called it `tile_size`), `tile_size_px`, `extractor`,
`feat_type` "tile", `stamp_version`. Microns become level-0 pixels only by the slide's mpp, which
the file does not hold. Version 1 says no unit at all and is refused.
"""

from slidenet.core.errors import StoreError
from slidenet.stores.foreign.bag_features import BagFacts, BagFeatures
from slidenet.stores.foreign.geometry import Geometry, Given
from slidenet.stores.foreign.h5_source import H5Source, attribute, check_arrays
from slidenet.stores.h5.file import open_h5


def read_stamp(given: Given) -> BagFeatures:
    """A features file of STAMP.

    Raises:
        StoreError: The unit of the coords is not known to be microns, they are not of tiles, or
            the slide's mpp is not given.
    """
    path = given.path
    with open_h5(path) as h5:
        kind = attribute(h5, "feat_type") or "tile"
        if kind != "tile" or "coords" not in h5:
            raise StoreError(
                f"{path} holds features of a {kind}, written by STAMP",
                expected="features of tiles with their coords",
                remedy="give the folder that `stamp preprocess` wrote",
            )
        num_tiles, feature_dim = check_arrays(h5, path, features="feats")
        unit, extractor = attribute(h5, "unit"), attribute(h5, "extractor")
        tile_size = attribute(h5, "tile_size_px")
        tile_size_um = attribute(h5, "tile_size_um") or attribute(h5, "tile_size")
    if unit != "um":
        raise StoreError(
            f"{path}: the unit of /coords is {unit!r}" if unit else f"{path}: /coords has no unit",
            expected="the attribute unit 'um', as STAMP writes since version 2",
            remedy="extract the features again with a present STAMP or with slidenet",
        )
    slide_mpp = given.settle("slide_mpp", None)
    tile_size_px = int(given.settle("tile_size_px", tile_size))
    found = tile_size_um / tile_size_px if tile_size_um else None
    geometry = Geometry(slide_mpp, tile_size_px, given.settle("target_mpp", found))
    identity = {
        "layout": "stamp",
        "encoder": extractor,
        "tile_size_px": tile_size_px,
        "tile_size_um": tile_size_um,
    }
    facts = BagFacts(path, path.stem, "stamp", num_tiles, feature_dim, geometry, identity)
    return BagFeatures(facts, H5Source(path, features="feats", coords_unit=1 / slide_mpp))

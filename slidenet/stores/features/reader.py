"""Our own features files, format `slidenet.features`: everything is in them."""

from typing import Any

import h5py
import numpy as np

from slidenet.stores.features.file import FeatureFile
from slidenet.stores.features.given import GivenGeometry
from slidenet.stores.features.h5_source import H5Source
from slidenet.stores.h5 import schema
from slidenet.stores.h5.attributes import read_attribute, read_identity
from slidenet.stores.h5.digests import content_digest, read_digests
from slidenet.stores.h5.geometry import read_geometry
from slidenet.stores.h5.regions import read_region_names
from slidenet.stores.h5.validate import check_format


def is_slidenet(h5: Any) -> bool:
    """Whether slidenet wrote the file."""
    return isinstance(h5.get(schema.GROUP), h5py.Group)


def read_slidenet(h5: Any, given: GivenGeometry) -> FeatureFile:
    """A file of ours.

    Args:
        h5: The open file.
        given: What the caller says of it.

    Raises:
        StoreError: It is broken, of another kind, too new, or contradicts what is given.
    """
    path = given.path
    check_format(h5, path, expected=schema.FEATURES_FORMAT)
    group = h5[schema.GROUP]
    geometry = read_geometry(group, path)
    digests = read_digests(h5, path)
    region_names, region_by = read_region_names(h5, path)
    return FeatureFile(
        path=path,
        layout="slidenet",
        slide_id=read_attribute(group, "slide_id", str, path),
        num_tiles=read_attribute(group, "num_tiles", int, path),
        feature_dim=read_attribute(group, "feature_dim", int, path),
        dtype=np.dtype(read_attribute(group, "dtype", str, path)),
        slide_mpp=given.resolve("slide_mpp", geometry.slide_mpp.value),
        tile_size_px=int(given.resolve("tile_size_px", geometry.tile_size_px)),
        target_mpp=given.resolve("target_mpp", geometry.target_mpp),
        identity=read_identity(group, path),
        source=H5Source(
            path,
            features=schema.FEATURES,
            status=schema.STATUS,
            tissue_fraction=schema.TISSUE_FRACTION,
            regions=region_by is not None,
            digests=digests or {},
        ),
        digest=None if digests is None else content_digest(digests),
        fingerprint=read_attribute(group, "slide_fingerprint", str, path),
        geometry=geometry,
        encoder=read_identity(group, path, "encoder"),
        num_unreadable=read_attribute(group, "num_unreadable", int, path),
        num_empty=read_attribute(group, "num_empty", int, path)
        if "num_empty" in group.attrs
        else 0,
        region_names=region_names,
        region_by=region_by,
    )

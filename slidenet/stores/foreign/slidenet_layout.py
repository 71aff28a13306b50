"""Our own features files, behind the face of the other layouts."""

import numpy as np
import numpy.typing as npt

from slidenet.core.provenance import cohort_identity
from slidenet.stores.features.reader import FeatureFile
from slidenet.stores.foreign.bag_features import BagFacts, BagFeatures
from slidenet.stores.foreign.geometry import Geometry, Given
from slidenet.stores.foreign.h5_source import H5Source
from slidenet.stores.h5 import schema


class _OwnSource(H5Source):
    """Like the other h5 layouts, except that it knows which tiles could not be read."""

    def read_mask(self) -> npt.NDArray[np.bool_]:
        """True = real tile."""
        real: npt.NDArray[np.bool_] = self.read_array(schema.STATUS) == schema.STATUS_OK
        return real


def read_slidenet(given: Given) -> BagFeatures:
    """A file of ours: everything is in it.

    Raises:
        StoreError: It is broken, or contradicts what is given.
    """
    file = FeatureFile(given.path)
    found = file.geometry
    facts = BagFacts(
        path=given.path,
        slide_id=file.slide_id,
        layout="slidenet",
        num_tiles=file.num_tiles,
        feature_dim=file.feature_dim,
        geometry=Geometry(
            slide_mpp=given.settle("slide_mpp", found.slide_mpp.value),
            tile_size_px=int(given.settle("tile_size_px", found.tile_size_px)),
            target_mpp=given.settle("target_mpp", found.target_mpp),
        ),
        identity=cohort_identity(file.identity),
        fingerprint=file.fingerprint,
    )
    return BagFeatures(facts, _OwnSource(given.path, features=schema.FEATURES))

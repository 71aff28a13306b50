"""The feature space of a cohort on disk: what a colour or a cluster means on every slide.

One safetensors file: arrays whose sizes are compared with the file before they are read, and a
header with the identity and a digest of each array.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from slidenet.core.arrays import Float64Array, FloatArray, IntArray
from slidenet.core.errors import StoreError
from slidenet.core.provenance import Identity, canonical_json, identity_hash
from slidenet.stores.atomic import atomic_path
from slidenet.stores.h5.digests import digest_of_array

FORMAT = "slidenet.feature_space"
VERSION = "1"
NUM_COLOURS = 3
_REMEDY = "run `slidenet feature-maps` into a new folder, or give the feature_space file it wrote"


@dataclass(frozen=True, eq=False)
class FeatureSpace:
    """Directions and groups of the tile features of a cohort.

    Attributes:
        mean: float64 (D,), of the tiles it was fitted on.
        components: float64 (P, D), orthonormal; the direction of largest variance first.
        explained: float64 (P,), share of the variance along each.
        low: float64 (3,), the scores of the first components that are shown darkest.
        high: float64 (3,), those shown brightest.
        centres: float64 (K, P), scores of the middle of each cluster, the largest cluster first.
        identity: What it was fitted on, and how.
    """

    mean: Float64Array
    components: Float64Array
    explained: Float64Array
    low: Float64Array
    high: Float64Array
    centres: Float64Array
    identity: Identity

    @property
    def num_clusters(self) -> int:
        """Number of clusters, K."""
        return len(self.centres)

    @property
    def identity_hash(self) -> str:
        """Hash of the identity."""
        return identity_hash(self.identity)

    def scores(self, features: FloatArray) -> Float64Array:
        """Places of tiles in the space.

        Args:
            features: (n, D).

        Returns:
            (n, P).
        """
        return (features.astype(np.float64) - self.mean) @ self.components.T

    def clusters(self, scores: Float64Array) -> IntArray:
        """The cluster of each tile, that with the nearest centre: int64 (n,), from 0."""
        # The squared length of the score itself is the same for all centres.
        distance = (self.centres**2).sum(axis=1) - 2 * scores @ self.centres.T
        return np.asarray(distance.argmin(axis=1), np.int64)


_ARRAYS = ("mean", "components", "explained", "low", "high", "centres")


def write_feature_space(path: str | os.PathLike[str], space: FeatureSpace) -> Path:
    """Writes a feature space, whole or not at all; the same space gives the same bytes.

    Raises:
        OutputError: The folder cannot be written.
    """
    from safetensors.numpy import save_file

    path = Path(path)
    arrays = {name: np.ascontiguousarray(getattr(space, name)) for name in _ARRAYS}
    about = {
        "format": FORMAT,
        "version": VERSION,
        "identity": canonical_json(space.identity),
        "digests": canonical_json({name: digest_of_array(a) for name, a in arrays.items()}),
    }
    with atomic_path(path) as temporary:
        # One entry: the writer keeps several in no fixed order.
        save_file(arrays, temporary, metadata={"slidenet": canonical_json(about)})
    return path


def read_feature_space(path: str | os.PathLike[str]) -> FeatureSpace:
    """Reads what `write_feature_space` wrote.

    Raises:
        StoreError: The file is missing, damaged or something else.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    try:
        with safe_open(path, framework="numpy") as file:
            about = json.loads((file.metadata() or {}).get("slidenet", "{}"))
            if about.get("format") != FORMAT or about.get("version") != VERSION:
                raise StoreError(f"{path} holds no feature space", remedy=_REMEDY)
            arrays = {name: np.asarray(file.get_tensor(name)) for name in _ARRAYS}
            identity, digests = json.loads(about["identity"]), json.loads(about["digests"])
    except (
        SafetensorError,
        OSError,
        ValueError,
        KeyError,
        AttributeError,
        RecursionError,
    ) as fault:
        raise StoreError(
            f"{path} cannot be read as a feature space ({fault})", remedy=_REMEDY
        ) from fault
    for name, array in arrays.items():
        if digests.get(name) != digest_of_array(array):
            raise StoreError(
                f"{path}: {name} is not what was written (its digest is another one)",
                remedy=_REMEDY,
            )
    return FeatureSpace(**arrays, identity=identity)

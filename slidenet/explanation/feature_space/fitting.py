"""Directions and clusters of a cohort's tile features, from a sample of its tiles."""

import numpy as np

from slidenet.core.arrays import BLOCK_ROWS, Float64Array, FloatArray
from slidenet.core.checks import check_whole
from slidenet.core.errors import ConfigError
from slidenet.core.provenance import Identity
from slidenet.stores.feature_space import NUM_COLOURS, FeatureSpace

PERCENTILES = (2.0, 98.0)
NUM_STARTS = 4


def fit_space(
    features: FloatArray,
    identity: Identity,
    *,
    num_clusters: int = 8,
    num_components: int = 50,
    seed: int = 0,
) -> FeatureSpace:
    """The principal components of tiles, and clusters in them by k-means.

    The components are those of the features as they are: encoders are trained so that distances
    between their features mean something, and scaling every number to one deviation would make the
    faintest as loud as the strongest. The sign of a component is the one that makes its largest
    loading positive. Clusters are numbered by size, so that the same tiles give the same numbers.

    Args:
        features: (n, D), readable tiles.
        identity: What they are; how the space was fitted is added.
        num_clusters: K.
        num_components: Components kept; clusters are looked for in these.
        seed: Of the starts of k-means.

    Raises:
        ConfigError: Fewer different tiles than clusters, or a setting out of range.
    """
    from sklearn.cluster import KMeans

    check_whole(num_clusters=num_clusters, num_components=num_components)
    different = len(np.unique(features[: 50 * num_clusters], axis=0))
    if different < num_clusters:
        different = len(np.unique(features, axis=0))
    if different < num_clusters:
        raise ConfigError(
            f"num_clusters is {num_clusters}",
            expected=f"at most {different}, as many different tiles were drawn",
        )
    mean, components, explained = _principal(features, num_components)
    scores = np.concatenate(
        [
            (features[start : start + BLOCK_ROWS].astype(np.float64) - mean) @ components.T
            for start in range(0, len(features), BLOCK_ROWS)
        ]
    )
    fitted = KMeans(num_clusters, n_init=NUM_STARTS, random_state=seed).fit(scores)
    counts = np.bincount(fitted.labels_, minlength=num_clusters)
    low, high = np.percentile(scores[:, :NUM_COLOURS], PERCENTILES, axis=0)
    return FeatureSpace(
        mean,
        components,
        explained,
        low,
        high,
        fitted.cluster_centers_[np.argsort(-counts, kind="stable")],
        {
            **identity,
            "num_clusters": num_clusters,
            "num_components": num_components,
            "seed": seed,
        },
    )


def _principal(features: FloatArray, most: int) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Mean (D,), components (P, D) and their shares of the variance, P = min(most, D, n - 1)."""
    num_tiles, dim = features.shape
    mean = features.mean(axis=0, dtype=np.float64)
    scatter = np.zeros((dim, dim))
    for start in range(0, num_tiles, BLOCK_ROWS):
        centred = features[start : start + BLOCK_ROWS].astype(np.float64) - mean
        scatter += centred.T @ centred
    variances, vectors = np.linalg.eigh(scatter / num_tiles)
    kept = max(1, min(most, dim, num_tiles - 1))
    variances, axes = np.maximum(variances[::-1], 0), vectors[:, ::-1].T[:kept]
    largest = axes[np.arange(kept), np.abs(axes).argmax(axis=1)]
    axes = axes * np.where(largest < 0, -1.0, 1.0)[:, None]
    return mean, axes, variances[:kept] / max(float(variances.sum()), 1e-300)

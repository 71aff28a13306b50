"""Points of many dimensions laid out on a plane: UMAP, t-SNE or the first two components."""

import warnings
from typing import Literal, get_args

import numpy as np

from slidenet.core.arrays import Float64Array
from slidenet.core.checks import check_choice
from slidenet.core.errors import ConfigError, MissingExtraError
from slidenet.core.extras import require_extra

Projection = Literal["umap", "tsne", "pca", "none"]
PROJECTIONS: tuple[Projection, ...] = get_args(Projection)
WORDS = {"umap": "UMAP", "tsne": "t-SNE", "pca": "principal components 1 and 2"}
LEAST_POINTS = 10
"""Fewer have no neighbourhoods that UMAP or t-SNE could keep; they get their components."""
NEIGHBOURS = 15
PERPLEXITY = 30.0


def check_projection(projection: str) -> None:
    """Refuses a layout that cannot be made here, before any work.

    Raises:
        ConfigError: No such layout.
        MissingExtraError: umap-learn is not installed.
    """
    check_choice(PROJECTIONS, projection=projection)
    if projection == "umap":
        try:
            require_extra("umap", extra="umap", purpose="a UMAP of tiles and slides")
        except MissingExtraError as error:
            error.remedy += ", or take --projection tsne or pca, which need nothing more"
            raise


def project(points: Float64Array, projection: Projection, *, seed: int = 0) -> Float64Array:
    """Lays points out on a plane.

    UMAP (McInnes et al. 2018) and t-SNE (van der Maaten and Hinton 2008) keep who is near whom;
    distances between groups and the sizes of groups mean nothing in them. The same points and seed
    give the same layout.

    Args:
        points: (n, P), principal scores.
        projection: umap, tsne or pca; see `used` for what few points get.
        seed: Of the layout.

    Returns:
        (n, 2).

    Raises:
        MissingExtraError: umap-learn is not installed.
        ConfigError: "none", which lays out nothing.
    """
    if projection == "none":
        raise ConfigError("projection is 'none'", expected="umap, tsne or pca")
    method = used(projection, len(points))
    if method == "pca":
        flat = np.zeros((len(points), 2))
        flat[:, : min(points.shape[1], 2)] = points[:, :2]
        return flat
    start = points[:, :2] / max(float(points[:, 0].std()), 1e-12)
    if method == "tsne":
        from sklearn.manifold import TSNE

        perplexity = min(PERPLEXITY, (len(points) - 1) / 3)
        # Starts at the components: the layout then keeps what lies where at large.
        found = TSNE(
            perplexity=perplexity, init=(start * 1e-4).astype(np.float32), random_state=seed
        ).fit_transform(points.astype(np.float32))
        return np.asarray(found, np.float64)
    umap = require_extra("umap", extra="umap", purpose="a UMAP of tiles and slides")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a seed makes it use one core
        found = umap.UMAP(
            n_neighbors=min(NEIGHBOURS, len(points) - 1), init=start * 10, random_state=seed
        ).fit_transform(points)
    return np.asarray(found, np.float64)


def used(projection: Projection, num_points: int) -> Projection:
    """How so many points are laid out: fewer than `LEAST_POINTS` always by their components."""
    return projection if num_points >= LEAST_POINTS else "pca"

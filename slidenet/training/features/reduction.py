"""Tile features reduced to a few whitened components before a network sees them.

A network trained from scratch on a few hundred bags can learn the noise of a thousand features by
heart long before it learns where tiles lie. Principal components keep what varies most between
tiles, and whitening makes the size of features and of positions comparable.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.decomposition import PCA
from torch import Tensor, nn

from slidenet.core.checks import check_positive, check_whole, refused
from slidenet.core.errors import ConfigError


class FeatureReduction(nn.Module):
    """Whitened principal components, fitted once on training tiles.

    Args:
        feature_dim: Length of a tile's feature vector, D.
        num_components: Components kept, k.
        scale: Standard deviation of each component.

    Raises:
        ConfigError: More components than features, or a scale that is not positive.
    """

    mean: Tensor
    basis: Tensor
    fitted: Tensor

    def __init__(self, feature_dim: int, num_components: int, scale: float = 1.0) -> None:
        super().__init__()
        check_whole(feature_components=num_components)
        check_positive(feature_scale=scale)
        if num_components > feature_dim:
            raise refused("feature_components", num_components, f"at most {feature_dim}")
        self.num_components, self.scale = num_components, scale
        self.register_buffer("mean", torch.zeros(feature_dim))
        self.register_buffer("basis", torch.zeros(feature_dim, num_components))
        self.register_buffer("fitted", torch.tensor(False))

    def fit(self, rows: npt.NDArray[np.floating[Any]]) -> None:
        """Finds the components.

        Args:
            rows: (N, D) features of tiles.

        Raises:
            ConfigError: Fewer tiles than components, or features that do not vary so much.
        """
        if len(rows) < self.num_components:
            raise ConfigError(
                f"feature_components is {self.num_components}, of {len(rows)} tiles",
                expected="at least as many training tiles as components",
            )
        pca = PCA(self.num_components, svd_solver="covariance_eigh").fit(rows.astype(np.float64))
        spread = np.sqrt(pca.explained_variance_)
        if not spread.min() > 1e-6 * spread.max():
            raise ConfigError(
                f"the training tiles vary along fewer than {self.num_components} directions",
                remedy="lower feature_components",
            )
        self.mean.copy_(torch.from_numpy(pca.mean_))
        self.basis.copy_(torch.from_numpy(pca.components_.T * (self.scale / spread)))
        self.fitted.fill_(True)

    def forward(self, features: Tensor) -> Tensor:
        """(..., D) to (..., k), float32; also under autocast, where features may be large."""
        assert bool(self.fitted), "fit() or a state dict comes first"
        with torch.autocast(features.device.type, enabled=False):
            reduced: Tensor = (features.float() - self.mean) @ self.basis
        return reduced

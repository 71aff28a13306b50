"""Tile features brought to one scale before a network sees them.

Raw features (areas in pixels, counts, texture in thousands) differ in size by orders of magnitude,
so that a network at first sees the largest only and one learning rate fits none of them.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from slidenet.core.errors import ConfigError
from slidenet.training.features.reduction import FeatureReduction

LIMIT = 10.0
"""Deviations from the mean beyond which a feature is cut off: one tile must not be all of a bag."""

TILES_PER_BAG = 256
"""Tiles of each training bag that principal components are fitted on."""

ROUNDING = 1e-6
"""Share of its size below which what a feature varies by is the rounding of float32."""


class FeatureScaling(nn.Module):
    """(x - mean) / deviation of each feature over the training tiles, within `LIMIT`.

    A feature that is the same in all of them has told nothing, and is zero ever after. Until `fit`
    (or a state dict) features pass as they are.

    Args:
        feature_dim: Length of a tile's feature vector, D.
    """

    mean: Tensor
    factor: Tensor
    limit: Tensor

    def __init__(self, feature_dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(feature_dim))
        self.register_buffer("factor", torch.ones(feature_dim))
        self.register_buffer("limit", torch.tensor(torch.inf))

    def fit(self, bags: Iterable[Tensor]) -> None:
        """Measures mean and deviation, one bag in memory at a time.

        Args:
            bags: (tiles, D) features of each.

        Raises:
            ConfigError: No feature differs between tiles, or some are no finite numbers.
        """
        count, mean, squares = 0, torch.zeros_like(self.mean, dtype=torch.float64), None
        for bag in bags:
            rows = bag.double()
            ours = rows.mean(dim=0)
            spread = (rows - ours).square().sum(dim=0)
            step, total = ours - mean, count + len(rows)
            # Chan, Golub, LeVeque 1983: two parts merged without losing digits.
            between = step.square() * (count * len(rows) / total)
            squares = spread if squares is None else squares + spread + between
            mean, count = mean + step * (len(rows) / total), total
        assert squares is not None, "there are training bags"
        deviation = (squares / count).sqrt()
        varies = deviation > ROUNDING * mean.abs()
        if not bool(torch.isfinite(deviation).all()) or not bool(varies.any()):
            raise ConfigError(
                "the features of the training tiles hold NaN or infinite values"
                if bool(varies.any())
                else f"all {count} training tiles have the same features",
                expected="finite features that differ between tiles",
                remedy="make the features again, or leave out the slides `slidenet audit` names",
            )
        self.mean.copy_(mean)
        self.factor.copy_(torch.where(varies, 1 / deviation, 0.0))
        self.limit.fill_(LIMIT)

    def forward(self, features: Tensor) -> Tensor:
        """(..., D) to the same, float32; what is not finite stays so, for the network to refuse."""
        with torch.autocast(features.device.type, enabled=False):
            scaled = (features.float() - self.mean) * self.factor
            cut = scaled.clamp(-self.limit, self.limit)
        return torch.where(scaled.isfinite(), cut, scaled)


def as_seen(
    features: Tensor, scaling: FeatureScaling | None, reduction: FeatureReduction | None
) -> Tensor:
    """What a network sees of features (..., D): scaled, then reduced, where they are."""
    features = features if scaling is None else scaling(features)
    return features if reduction is None else reduction(features)


@torch.no_grad()
def fit_inputs(
    scaling: FeatureScaling | None,
    reduction: FeatureReduction | None,
    bags: Iterable[Sequence[Tensor]],
    position: int,
) -> None:
    """Fits both to one of the feature sets of training bags.

    Args:
        scaling: Or None.
        reduction: Or None.
        bags: Features (tiles, D) of each feature set; gone through once for either.
        position: Of the set.

    Raises:
        ConfigError: Features that do not vary, or along fewer directions than components.
    """
    if scaling is not None:
        scaling.fit(sets[position] for sets in bags)
    if reduction is not None:
        rows = []
        for sets in bags:
            step = max(1, len(sets[position]) // TILES_PER_BAG)  # spread evenly over the bag
            rows.append(as_seen(sets[position][::step][:TILES_PER_BAG], scaling, None).numpy())
        reduction.fit(np.concatenate(rows))

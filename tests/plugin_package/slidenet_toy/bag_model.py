"""A model on bags: the median of every feature over the real tiles, and a linear head."""

import torch
from torch import nn

from slidenet.mil import BagModel, BagOutput


class MedianPooling(BagModel):
    """Median pooling with a scale that can be set."""

    def __init__(self, feature_dim: int, num_outputs: int, *, scale: float = 1.0) -> None:
        super().__init__(feature_dim, num_outputs)
        self.scale = scale
        self.head = nn.Linear(feature_dim, num_outputs)

    def forward(self, features, grid_xy, mask) -> BagOutput:
        """Bags to logits."""
        features = self.real_features(features, mask)
        medians = [bag[real].median(0).values for bag, real in zip(features, mask, strict=True)]
        return BagOutput(self.head(torch.stack(medians) * self.scale), tile_attention=None)

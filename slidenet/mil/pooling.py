"""Mean and max pooling of tile features with a linear head: the baselines.

Source: Ilse et al. 2018, section 2.3, "MIL pooling": the mean and the maximum operator on embedded
instances. The embeddings here are the features themselves, so that the only weights are the head's.
"""

import torch
from torch import Tensor

from slidenet.layers import weighted_sum
from slidenet.mil.contract import BagModel, BagOutput
from slidenet.mil.gated_attention import Head


class MeanPooling(BagModel):
    """logits = head(mean over tiles). Every tile weighs 1/n.

    Args:
        feature_dim: Length of a feature vector.
        num_outputs: Length of the logits.
    """

    def __init__(self, *, feature_dim: int, num_outputs: int) -> None:
        super().__init__(feature_dim, num_outputs)
        self.head = Head(feature_dim, num_outputs)

    def forward(self, features: Tensor, grid_xy: Tensor, mask: Tensor) -> BagOutput:
        """See `BagModel.forward`."""
        x = self.real_features(features, mask)
        attention = uniform_attention(mask, x.dtype)
        logits = self.head(weighted_sum(attention, x)[:, 0])
        return BagOutput(logits, attention)


class MaxPooling(BagModel):
    """logits = head(maximum over tiles, feature by feature).

    The attention of a tile is the share of the features whose maximum it holds (one of the tiles
    where several are equal).

    Args:
        feature_dim: Length of a feature vector.
        num_outputs: Length of the logits.
    """

    def __init__(self, *, feature_dim: int, num_outputs: int) -> None:
        super().__init__(feature_dim, num_outputs)
        self.head = Head(feature_dim, num_outputs)

    def forward(self, features: Tensor, grid_xy: Tensor, mask: Tensor) -> BagOutput:
        """See `BagModel.forward`."""
        x = self.real_features(features, mask)
        highest, holder = x.masked_fill(~mask[..., None], -torch.inf).max(dim=1)
        share = x.new_full(holder.shape, 1 / self.feature_dim)
        attention = x.new_zeros(mask.shape).scatter_add(1, holder, share)
        return BagOutput(self.head(highest), attention[:, None])


def uniform_attention(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """1/n for each of the n real tiles of a bag: (B, L) -> (B, 1, L)."""
    return (mask.to(dtype) / mask.sum(dim=1, keepdim=True))[:, None]

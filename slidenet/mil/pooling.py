"""Pooling of tiles with a linear head behind it: mean, maximum and attention (ABMIL).

Source: Ilse et al. 2018, "Attention-based Deep Multiple Instance Learning", sections 2.3 and 2.4.
The mean and the maximum are the baselines: there the tile features themselves are pooled, so that
the only weights are the head's.
"""

import torch
from torch import Tensor

from slidenet.core.checks import check_share, check_whole
from slidenet.layers import weighted_sum
from slidenet.mil.contract import BagModel, BagOutput
from slidenet.mil.gated_attention import GatedAttention, Head, TileEmbedding
from slidenet.mil.recipe import TrainingRecipe
from slidenet.mil.tile_scores import attended_scores, tile_scores


class MeanPooling(BagModel):
    """logits = head(mean over tiles). Every tile weighs 1/n.

    Args:
        feature_dim: Length of a feature vector.
        num_outputs: Length of the logits.
    """

    needs_places = False
    recipe = TrainingRecipe(learning_rate=3e-3)

    def __init__(self, *, feature_dim: int, num_outputs: int) -> None:
        super().__init__(feature_dim, num_outputs)
        self.head = Head(feature_dim, num_outputs)

    def forward(self, features: Tensor, grid_xy: Tensor, mask: Tensor) -> BagOutput:
        """See `BagModel.forward`."""
        x = self.real_features(features, mask)
        attention = uniform_attention(mask, x.dtype)
        logits = self.head(weighted_sum(attention, x)[:, 0])
        return BagOutput(logits, attention)

    @property
    def has_contributions(self) -> bool:
        """See `BagModel.has_contributions`."""
        return True

    def contributions(
        self, features: Tensor, grid_xy: Tensor, mask: Tensor, *, relative: bool = False
    ) -> Tensor:
        """See `BagModel.contributions`."""
        x = self.real_features(features, mask)
        scores = tile_scores(x, self.head.weight, mask, relative=relative)
        return scores / mask.sum(dim=1)[:, None, None]


class MaxPooling(BagModel):
    """logits = head(maximum over tiles, feature by feature).

    The attention of a tile is the share of the features whose maximum it holds (one of the tiles
    where several are equal).

    Args:
        feature_dim: Length of a feature vector.
        num_outputs: Length of the logits.
    """

    needs_places = False
    recipe = TrainingRecipe(learning_rate=3e-3)

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

    @property
    def has_contributions(self) -> bool:
        """See `BagModel.has_contributions`."""
        return True

    def contributions(
        self, features: Tensor, grid_xy: Tensor, mask: Tensor, *, relative: bool = False
    ) -> Tensor:
        """See `BagModel.contributions`: features count for the tile that holds them."""
        x = self.real_features(features, mask)
        highest, holder = x.masked_fill(~mask[..., None], -torch.inf).max(dim=1)
        if relative:
            real = x.masked_fill(~mask[..., None], torch.nan)
            highest = highest - real.nanmedian(dim=1).values
        # (B, D, K): what each feature adds to each logit, by way of the one tile that holds it.
        parts = highest[..., None] * self.head.weight.T
        found = parts.new_zeros(*mask.shape, self.num_outputs)
        return found.scatter_add(1, holder[..., None].expand_as(parts), parts)


class AttentionMIL(BagModel):
    """Tiles -> embedding -> gated attention -> weighted sum -> linear head (ABMIL).

    Bag embedding z = sum_k a_k h_k (equation 7) with gated attention (equation 9). Differs from the
    authors' code: h_k is one linear layer with ReLU on given features instead of a small
    convolutional network on pixels; the head gives K logits instead of one probability; weights
    start xavier-uniform, and near zero in the head.

    Args:
        feature_dim: Length of a feature vector.
        num_outputs: Length of the logits.
        hidden_dim: Length of an embedded tile.
        attention_dim: Hidden width of the attention.
        gated: Equation 9; False is the plain attention of equation 8.
        dropout: After the embedding and on the factors of the attention. The authors use none; with
            it small cohorts are fitted less closely (`bench_small_cohorts.py`).

    Raises:
        ConfigError: For settings out of range.
    """

    needs_places = False
    recipe = TrainingRecipe(learning_rate=1e-3)

    def __init__(
        self,
        *,
        feature_dim: int,
        num_outputs: int,
        hidden_dim: int = 512,
        attention_dim: int = 128,
        gated: bool = True,
        dropout: float = 0.5,
    ) -> None:
        super().__init__(feature_dim, num_outputs)
        check_whole(hidden_dim=hidden_dim, attention_dim=attention_dim)
        check_share(below_one=True, dropout=dropout)
        self.embed = TileEmbedding(feature_dim, hidden_dim, dropout)
        self.attention = GatedAttention(hidden_dim, attention_dim, gated=gated, dropout=dropout)
        self.head = Head(hidden_dim, num_outputs)

    def forward(self, features: Tensor, grid_xy: Tensor, mask: Tensor) -> BagOutput:
        """See `BagModel.forward`."""
        hidden = self.embed(self.real_features(features, mask))
        attention = self.attention(hidden, mask)
        return BagOutput(self.head(weighted_sum(attention, hidden)[:, 0]), attention)

    @property
    def has_contributions(self) -> bool:
        """See `BagModel.has_contributions`."""
        return True

    def contributions(
        self, features: Tensor, grid_xy: Tensor, mask: Tensor, *, relative: bool = False
    ) -> Tensor:
        """See `BagModel.contributions`."""
        hidden = self.embed(self.real_features(features, mask))
        attention = self.attention(hidden, mask)
        return attended_scores(attention, hidden, self.head.weight, mask, relative=relative)


def uniform_attention(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """1/n for each of the n real tiles of a bag: (B, L) -> (B, 1, L)."""
    return (mask.to(dtype) / mask.sum(dim=1, keepdim=True))[:, None]

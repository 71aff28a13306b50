"""Dual-stream multiple instance learning (DSMIL).

Source: Li, Li and Eliceiri 2021, "Dual-stream Multiple Instance Learning Network for Whole Slide
Image Classification with Self-supervised Contrastive Learning", section 3.2:
stream one scores every tile and takes the highest, stream two attends from every tile to that
critical tile, and the bag's score is the mean of the two.

As in the authors' code: queries from a small tanh network, products scaled by the square root of
their length, the features themselves as values (W_v is linear and folds into W_b), and a critical
tile per output, whose pooled vectors all outputs see.

Differs from the authors' code: logits are the mean of the streams also while training (theirs puts
a loss on each stream), the loss of the critical-tile stream comes on top as `auxiliary_loss`, and
both heads start near zero (see `Head`): of all tiles only the chosen one gets a gradient, so a
wrong first choice is hard to unlearn.
"""

import torch
from torch import Tensor, nn

from slidenet.core.checks import check_not_negative, check_share, check_whole
from slidenet.layers import Linear, masked_softmax, weighted_sum
from slidenet.mil.contract import BagModel, BagOutput
from slidenet.mil.gated_attention import Head
from slidenet.mil.tile_scores import tile_scores
from slidenet.tasks import Task


class DualStreamMIL(BagModel):
    """Mean of the critical tile's score and the score of the tiles that resemble it.

    `tile_logits` are the scores of the first stream.

    Args:
        feature_dim: Length of a feature vector.
        num_outputs: Length of the logits.
        query_dim: Length of a query.
        dropout: On the features of the second stream.
        instance_weight: Of the critical-tile stream's own loss against the bag loss's 1; 0 turns it
            off.

    Raises:
        ConfigError: For settings out of range.
    """

    needs_places = False

    def __init__(
        self,
        *,
        feature_dim: int,
        num_outputs: int,
        query_dim: int = 128,
        dropout: float = 0.0,
        instance_weight: float = 0.5,
    ) -> None:
        super().__init__(feature_dim, num_outputs)
        check_whole(query_dim=query_dim)
        check_share(below_one=True, dropout=dropout)
        check_not_negative(instance_weight=instance_weight)
        self.instance_weight = instance_weight
        self.tile_head = Head(feature_dim, num_outputs)
        self.query = nn.Sequential(
            Linear(feature_dim, query_dim), nn.ReLU(), Linear(query_dim, query_dim), nn.Tanh()
        )
        self.dropout = nn.Dropout(dropout)
        self.head = Head(num_outputs * feature_dim, num_outputs)

    def forward(self, features: Tensor, grid_xy: Tensor, mask: Tensor) -> BagOutput:
        """See `BagModel.forward`."""
        x = self.real_features(features, mask)
        tile_logits = self.tile_head(x)
        highest = tile_logits.masked_fill(~mask[..., None], -torch.inf).max(dim=1)  # (B, K) each
        attention = self._attention(x, highest.indices, mask)
        pooled = weighted_sum(attention, self.dropout(x))
        logits = (highest.values + self.head(pooled.flatten(1))) / 2
        return BagOutput(logits, attention, tile_logits)

    def _attention(self, x: Tensor, critical: Tensor, mask: Tensor) -> Tensor:
        """From the critical tile of each output, int64 (B, K), to all tiles: (B, K, L)."""
        queries = self.query(x)
        index = critical[..., None].expand(-1, -1, queries.shape[-1])
        scores = queries.gather(1, index) @ queries.transpose(1, 2) * queries.shape[-1] ** -0.5
        return masked_softmax(scores, mask)

    @property
    def has_contributions(self) -> bool:
        """See `BagModel.has_contributions`."""
        return True

    def contributions(
        self, features: Tensor, grid_xy: Tensor, mask: Tensor, *, relative: bool = False
    ) -> Tensor:
        """See `BagModel.contributions`: the mean of both streams."""
        x = self.real_features(features, mask)
        critical = self.tile_head(x).masked_fill(~mask[..., None], -torch.inf).argmax(dim=1)
        own = tile_scores(x, self.tile_head.weight, mask, relative=relative)
        index = critical[:, None]
        found = torch.zeros_like(own).scatter(1, index, own.gather(1, index))
        attention = self._attention(x, critical, mask).to(own.dtype)
        # All outputs see the sums of all maps.
        for one, weight in enumerate(torch.split(self.head.weight, self.feature_dim, dim=1)):
            scores = tile_scores(x, weight, mask, relative=relative)
            found = found + attention[:, one, :, None] * scores
        return found / 2

    def auxiliary_loss(
        self, output: BagOutput, target: Tensor, mask: Tensor, task: Task
    ) -> Tensor | None:
        """Classification loss of the critical tiles; None for tasks without classes.

        There the critical tile learns as half of the logits alone.
        """
        assert output.tile_logits is not None
        if self.instance_weight == 0:
            return None
        highest = output.tile_logits.masked_fill(~mask[..., None], -torch.inf).amax(dim=1).float()
        loss = task.instance_loss(highest, target)
        return None if loss is None else self.instance_weight * loss

"""Clustering-constrained attention (CLAM), single-branch and multi-branch.

Source: Lu et al. 2021, "Data-efficient and weakly supervised computational pathology on
whole-slide images", Methods: "CLAM" (gated attention per class) and
"Instance-level clustering" (top and bottom k tiles by attention as pseudo-labels, smooth top-1 SVM
loss). Defaults are those of the authors' code: 512 and 256 wide, k = 8, dropout 0.25, weight 0.7 on
the bag loss and 0.3 on the instance loss (here 1 and 3/7).

Differs from the authors' code:

- A tile classifier of two outputs under softmax is one of a single logit z under a sigmoid. The
  smooth top-1 SVM with temperature 1 is then softplus(margin - z) for a positive and
  softplus(margin + z) for a negative tile, with margin 1; margin 0 is cross-entropy. The SVM is the
  default, as published: the margin keeps wrong pseudo-labels from being fitted to certainty.
- A binary task has one logit, not two. The single branch has one tile classifier, for the positive
  class. The multi-branch model keeps a branch per class, and its logit is the positive branch's
  score minus the negative one's, which is the published softmax over two; tiles are chosen by the
  positive branch's map.
- Classes exclude one another in a "multiclass" task, so the most attended tiles of a bag are
  negatives of the classes it is not of (the paper's subtyping rule) unless `out_of_class=False`.
- Weights start xavier-uniform as theirs do, but heads start near zero (see `Head`).
- A bag of fewer than 2 k tiles gives n // 2 from either end instead of failing.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slidenet.core.checks import check_not_negative, check_share, check_whole
from slidenet.layers import weighted_sum
from slidenet.mil.contract import BagModel, BagOutput
from slidenet.mil.gated_attention import GatedAttention, Head, TileEmbedding
from slidenet.mil.tile_scores import attended_scores
from slidenet.tasks import Task

INSTANCE_WEIGHT = 0.3 / 0.7


class ClusteringMIL(BagModel):
    """Tiles -> embedding -> gated attention, one map or one per class -> linear head(s).

    `tile_logits` are the scores of the tile classifiers, one per output.

    Args:
        feature_dim: Length of a feature vector.
        num_outputs: Length of the logits.
        multi_branch: One map and one head per class (CLAM-MB) instead of one for all (CLAM-SB).
        hidden_dim: Length of an embedded tile.
        attention_dim: Hidden width of the attention.
        dropout: After the embedding and on the factors of the attention.
        num_instances: k, tiles taken from either end of the attention.
        instance_weight: Of the instance loss against the bag loss's 1; 0 turns it off.
        instance_margin: 1 is the smooth top-1 SVM, 0 cross-entropy.
        out_of_class: Whether the top tiles of a bag are negatives of the classes it is not of.

    Raises:
        ConfigError: For settings out of range.
    """

    needs_places = False

    def __init__(
        self,
        *,
        feature_dim: int,
        num_outputs: int,
        multi_branch: bool,
        hidden_dim: int = 512,
        attention_dim: int = 256,
        dropout: float = 0.25,
        num_instances: int = 8,
        instance_weight: float = INSTANCE_WEIGHT,
        instance_margin: float = 1.0,
        out_of_class: bool = True,
    ) -> None:
        super().__init__(feature_dim, num_outputs)
        check_whole(hidden_dim=hidden_dim, attention_dim=attention_dim, num_instances=num_instances)
        check_share(below_one=True, dropout=dropout)
        check_not_negative(instance_weight=instance_weight, instance_margin=instance_margin)
        self.multi_branch = multi_branch
        self.num_instances = num_instances
        self.instance_weight = instance_weight
        self.instance_margin = instance_margin
        self.out_of_class = out_of_class
        branches = max(num_outputs, 2) if multi_branch else 1
        self.embed = TileEmbedding(feature_dim, hidden_dim, dropout)
        self.attention = GatedAttention(hidden_dim, attention_dim, branches, dropout=dropout)
        self.head: BranchHeads | Head
        if multi_branch:
            self.head = BranchHeads(hidden_dim, branches)
        else:
            self.head = Head(hidden_dim, num_outputs)
        self.tile_head = Head(hidden_dim, num_outputs)

    def forward(self, features: Tensor, grid_xy: Tensor, mask: Tensor) -> BagOutput:
        """See `BagModel.forward`."""
        hidden = self.embed(self.real_features(features, mask))
        attention = self.attention(hidden, mask)
        pooled = weighted_sum(attention, hidden)
        logits = self.head(pooled if self.multi_branch else pooled[:, 0])
        if self.multi_branch and self.num_outputs == 1:
            logits = logits[:, 1:] - logits[:, :1]
        return BagOutput(logits, attention, self.tile_head(hidden))

    @property
    def has_contributions(self) -> bool:
        """See `BagModel.has_contributions`."""
        return True

    def contributions(
        self, features: Tensor, grid_xy: Tensor, mask: Tensor, *, relative: bool = False
    ) -> Tensor:
        """See `BagModel.contributions`: each branch by its own map."""
        hidden = self.embed(self.real_features(features, mask))
        attention = self.attention(hidden, mask)
        found = attended_scores(attention, hidden, self.head.weight, mask, relative=relative)
        if self.multi_branch and self.num_outputs == 1:
            return found[..., 1:] - found[..., :1]
        return found

    def auxiliary_loss(
        self, output: BagOutput, target: Tensor, mask: Tensor, task: Task
    ) -> Tensor | None:
        """The instance-level clustering loss; zero for tasks without classes."""
        if self.instance_weight == 0:
            return None
        assert output.tile_attention is not None
        assert output.tile_logits is not None
        wanted = task.output_targets(target)
        if wanted is None:
            return output.tile_logits.sum() * 0.0  # DDP wants every parameter in the graph
        # The multi-branch model with one logit has two maps; the last is the positive class's.
        attention = output.tile_attention[:, -self.num_outputs :]
        attention = attention.expand(-1, self.num_outputs, -1).detach()
        loss = instance_loss(
            attention,
            output.tile_logits,
            wanted,
            mask,
            num_instances=self.num_instances,
            margin=self.instance_margin,
            out_of_class=self.out_of_class,
        )
        return self.instance_weight * loss


class BranchHeads(nn.Module):
    """One linear score per branch: (B, A, D) -> (B, A)."""

    def __init__(self, width: int, branches: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList(Head(width, 1) for _ in range(branches))

    @property
    def weight(self) -> Tensor:
        """Those of all branches, (A, D)."""
        return torch.cat([head.weight for head in self.heads if isinstance(head, Head)])

    def forward(self, pooled: Tensor) -> Tensor:
        """Branch k's score comes from map k's sum of tiles alone."""
        return torch.cat([head(pooled[:, k]) for k, head in enumerate(self.heads)], dim=1)


def instance_loss(
    attention: Tensor,
    tile_logits: Tensor,
    wanted: Tensor,
    mask: Tensor,
    *,
    num_instances: int,
    margin: float,
    out_of_class: bool,
) -> Tensor:
    """Clustering loss: mean over tiles of a bag and class, over its classes, over bags.

    Args:
        attention: (B, K, L), what tiles are chosen by.
        tile_logits: (B, L, K).
        wanted: (B, K), 1, 0 or NaN: whether the bag is of the class.
        mask: Bool (B, L).
        num_instances: k.
        margin: Of the loss.
        out_of_class: Whether classes the bag is not of take part.

    Returns:
        A scalar; 0 where nothing takes part.
    """
    k = min(num_instances, mask.shape[1])
    scores = tile_logits.transpose(1, 2).float()
    highest = attention.masked_fill(~mask[:, None], -torch.inf).topk(k).indices
    lowest = attention.masked_fill(~mask[:, None], torch.inf).topk(k, largest=False).indices
    num_tiles = mask.sum(dim=1)[:, None, None]
    rank = torch.arange(k, device=mask.device)
    inside, outside = (wanted == 1)[..., None], (wanted == 0)[..., None]
    # A tile cannot be among the highest and the lowest at once, so at most half come from each end.
    both_ends = inside & (rank < num_tiles // 2)
    top_only = outside & (rank < num_tiles) & out_of_class
    as_positive = F.softplus(margin - scores.gather(2, highest))
    as_negative = F.softplus(margin + scores.gather(2, highest))
    bottom = F.softplus(margin + scores.gather(2, lowest))
    total = (both_ends * (as_positive + bottom) + top_only * as_negative).sum(dim=2)
    count = (2 * both_ends + 1 * top_only).sum(dim=2)
    per_class = total / count.clamp(min=1)
    classes = (count > 0).sum(dim=1)
    per_bag = per_class.sum(dim=1) / classes.clamp(min=1)
    return per_bag.sum() / (classes > 0).sum().clamp(min=1)

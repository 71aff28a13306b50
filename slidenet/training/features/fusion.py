"""What a classifier sees beside the tiles of one feature set, joined late: the logits add up.

    logits = network(tiles) + sum of network_i(tiles_i) + covariates

Each further feature set (another tile encoder, another scale) has a network of its own, since its
tiles are other tiles; nothing but the logits is shared. A part that says nothing adds nothing.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from slidenet.core.errors import ConfigError
from slidenet.mil import BagBatch, BagModel, BagOutput, CovariateColumn, CovariateModel, FeatureSet
from slidenet.tasks import Task
from slidenet.training.features.reduction import FeatureReduction
from slidenet.training.features.scaling import FeatureScaling, as_seen


class FeatureBranch(nn.Module):
    """The network of one further feature set, with what it sees of the features.

    Args:
        network: Takes what is left of the features.
        scaling: Fitted on training tiles; None where features keep the scale they have.
        reduction: Fitted on training tiles; None where the network sees all features.
    """

    def __init__(
        self, network: BagModel, scaling: FeatureScaling | None, reduction: FeatureReduction | None
    ) -> None:
        super().__init__()
        self.network = network
        self.scaling = scaling
        self.reduction = reduction

    def forward(self, tiles: FeatureSet) -> BagOutput:
        """The tiles of the bags to their part of the logits."""
        features = as_seen(tiles.features, self.scaling, self.reduction)
        output: BagOutput = self.network(features, tiles.grid_xy, tiles.mask)
        return output


class Fusion(nn.Module):
    """All that adds to the logits of the first network.

    Args:
        columns: How covariates are encoded; empty where there are none.
        num_outputs: Length K of the logits.
        branches: Of the further feature sets, in order.
    """

    def __init__(
        self,
        columns: Sequence[CovariateColumn],
        num_outputs: int,
        branches: Sequence[FeatureBranch],
    ) -> None:
        super().__init__()
        self.covariates = CovariateModel(columns, num_outputs) if columns else None
        self.branches = nn.ModuleList(branches)

    @property
    def networks(self) -> list[BagModel]:
        """Those of the further feature sets, in order."""
        return [branch.network for branch in self.each_branch]

    @property
    def each_branch(self) -> list[FeatureBranch]:
        """The branches of the further feature sets, in order."""
        return [branch for branch in self.branches if isinstance(branch, FeatureBranch)]

    def forward(self, batch: BagBatch) -> tuple[Tensor, tuple[BagOutput, ...]]:
        """What all parts add to the logits (B, K), float32, and the output of each branch.

        Raises:
            ConfigError: The bags lack covariates or feature sets that the model was made for.
        """
        wanted = 0 if self.covariates is None else len(self.covariates.columns)
        found = 0 if batch.covariates is None else batch.covariates.shape[1]
        if found != wanted or len(batch.others) != len(self.branches):
            raise ConfigError(
                f"bags with {found} covariates and {len(batch.others)} further feature sets",
                expected=f"{wanted} covariates and {len(self.branches)} further feature sets, as "
                "the model was trained with",
            )
        pairs = zip(self.branches, batch.others, strict=True)
        outputs = tuple(branch(tiles) for branch, tiles in pairs)
        parts = [output.logits.float() for output in outputs]
        if self.covariates is not None:
            assert batch.covariates is not None, "counted above"
            parts.append(self.covariates(batch.covariates))
        return torch.stack(parts).sum(dim=0), outputs

    def auxiliary_losses(
        self, outputs: Sequence[BagOutput], batch: BagBatch, target: Tensor, task: Task
    ) -> list[Tensor]:
        """The branches' own further losses; see `BagModel.auxiliary_loss`."""
        triples = zip(self.networks, outputs, batch.others, strict=True)
        found = [
            network.auxiliary_loss(output, target, tiles.mask, task)
            for network, output, tiles in triples
        ]
        return [loss for loss in found if loss is not None]

    def covariate_logits(self, values: Tensor) -> Tensor:
        """The part of the covariates (N, V) alone: (N, K)."""
        assert self.covariates is not None, "a model with covariates"
        logits: Tensor = self.covariates(values)
        return logits

    def fit_covariates(self, values: Tensor, loss: Callable[[Tensor], Tensor]) -> None:
        """Fits the part of the covariates to the training labels; see `CovariateModel.fit`."""
        assert self.covariates is not None, "a model with covariates"
        self.covariates.fit(values, loss)

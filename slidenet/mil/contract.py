"""The one contract of all models on bags: features, cells and mask in, logits and attention out.

Shapes: B bags, L tiles, D feature length, K outputs, A attention maps.
"""

from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from slidenet.core.checks import check_whole
from slidenet.layers import checked_mask, zero_masked
from slidenet.mil.recipe import TrainingRecipe
from slidenet.tasks import Task

BagKind = Literal["slide", "patient", "region", "core", "tile"]
"""What one bag holds the tiles of."""


@dataclass(frozen=True, eq=False)
class FeatureSet:
    """The tiles of the bags of a batch as another encoder, or another scale, gives them.

    Attributes:
        features: float32 (B, L, D) with a length and a width of its own; zeros where masked.
        coords: int64 (B, L, 2), as in `BagBatch`.
        grid_xy: int64 (B, L, 2), as in `BagBatch`.
        mask: Bool (B, L), True = real tile.
    """

    features: Tensor
    coords: Tensor
    grid_xy: Tensor
    mask: Tensor

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> "FeatureSet":
        """The same tiles on another device."""
        return replace(self, **_moved(self, device, non_blocking))


@dataclass(frozen=True, eq=False)
class BagBatch:
    """Bags padded to one length, as a data loader gives them.

    Attributes:
        features: float32 (B, L, D); zeros where masked.
        coords: int64 (B, L, 2), (x, y) of top-left corners in level-0 pixels of the tile's slide.
        grid_xy: int64 (B, L, 2), (column, row) cells of 256 px at 0.5 mpp, what a slide encoder
            takes for position. Slides of one bag lie side by side.
        mask: Bool (B, L), True = real tile.
        target: As `slidenet.tasks.task` says; None where there are no labels.
        bag_ids: slide_id, or patient_id where a bag holds all slides of a patient.
        slide_ids: The slides of each bag, in order.
        covariates: float32 (B, V), what is known of each bag beside its tiles, as the table says
            it: a number, the code of a category (`category_code`), or NaN where missing. None where
            the model takes none.
        others: Further feature sets of the same bags; each has tiles of its own.
    """

    features: Tensor
    coords: Tensor
    grid_xy: Tensor
    mask: Tensor
    target: Tensor | None
    bag_ids: tuple[str, ...]
    slide_ids: tuple[tuple[str, ...], ...]
    covariates: Tensor | None = None
    others: tuple[FeatureSet, ...] = ()

    def __len__(self) -> int:
        return len(self.bag_ids)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> "BagBatch":
        """The same bags on another device; Lightning calls this."""
        others = tuple(one.to(device, non_blocking=non_blocking) for one in self.others)
        return replace(self, **_moved(self, device, non_blocking), others=others)


@dataclass(frozen=True, eq=False)
class BagOutput:
    """What a model says about bags.

    Attributes:
        logits: (B, K), K = `Task.num_outputs`.
        tile_attention: (B, A, L), where each map is at least zero, zero at masked tiles and sums to
            one; A is 1, or K for models with one map per output, or 2 (negative class, positive
            class) for CLAM-MB with its one logit. None where a model has no such thing.
        tile_logits: (B, L, K) per-tile scores of models that have them, else None.
        others: Of a model of several feature sets, the outputs of the further ones, each with its
            own part of the logits.
    """

    logits: Tensor
    tile_attention: Tensor | None
    tile_logits: Tensor | None = None
    others: "tuple[BagOutput, ...]" = ()

    def attention_of_bags(self, mask: Tensor) -> tuple[Tensor | None, ...]:
        """Per bag float32 (A, its tiles) on the CPU, without padding, in the order of the file.

        Args:
            mask: Bool (B, L), of the batch that went in.
        """
        if self.tile_attention is None:
            return (None,) * len(mask)
        maps = self.tile_attention.float()
        return tuple(maps[b][:, mask[b]].cpu() for b in range(len(mask)))


class BagModel(nn.Module):
    """Base of every model on bags; all are called alike and none is made for a task.

    Args of `forward`: features (B, L, D), grid_xy int64 (B, L, 2), mask bool (B, L). Masked tiles
    are as good as absent: the result of a bag does not depend on the padding or on its neighbours.

    Args:
        feature_dim: Length D of a tile feature vector.
        num_outputs: Length K of the logits, `Task.num_outputs`.

    Attributes:
        needs_places: Whether the result depends on `grid_xy` or on the order of tiles. Such a model
            is not given tiles without places; one for which both play no part says False.
        recipe: How it is trained where the settings of a run leave it open.

    Raises:
        ConfigError: If one of them is not a positive whole number.
    """

    needs_places: ClassVar[bool] = True
    recipe: ClassVar[TrainingRecipe] = TrainingRecipe()

    def __init__(self, feature_dim: int, num_outputs: int) -> None:
        super().__init__()
        check_whole(feature_dim=feature_dim, num_outputs=num_outputs)
        self.feature_dim = feature_dim
        self.num_outputs = num_outputs

    def forward(self, features: Tensor, grid_xy: Tensor, mask: Tensor) -> BagOutput:
        """Bags to logits.

        Raises:
            EncoderError: For features or masks that do not fit, a bag without a real tile, or real
                tiles with NaN or infinite features.
        """
        raise NotImplementedError

    @property
    def has_contributions(self) -> bool:
        """Whether its logits are a sum over tiles, which `contributions` then gives."""
        return False

    def contributions(
        self, features: Tensor, grid_xy: Tensor, mask: Tensor, *, relative: bool = False
    ) -> Tensor | None:
        """What each tile adds to each logit: attention times w . h, in a model of evaluation mode.

        Their sum over the tiles is the logits without the bias of the head. A tile's state may have
        taken in other tiles before it was pooled (LongNet), which the sum does not tell apart.

        Args:
            features: (B, L, D).
            grid_xy: int64 (B, L, 2).
            mask: Bool (B, L).
            relative: Whether w . h counts from its median over the bag, for outputs that have no
                zero of their own (a value, a risk). The sum then misses a constant of the bag.

        Returns:
            (B, L, K), zeros in the padding; None where `has_contributions` is False.

        Raises:
            EncoderError: As `forward`.
        """
        return None

    def auxiliary_loss(
        self, output: BagOutput, target: Tensor, mask: Tensor, task: Task
    ) -> Tensor | None:
        """A further loss a model trains with (CLAM's instance clustering, DSMIL's max instance).

        Args:
            output: Of `forward` on these bags.
            target: Targets of the bags.
            mask: Bool (B, L).
            task: What the targets mean; see its `output_targets` and `instance_loss`.

        Returns:
            A scalar already weighted against the main loss's 1, or None.
        """
        return None

    def layer_levels(self) -> dict[str, int] | None:
        """Depth of each parameter for layer-wise learning rate decay, or None for no such thing.

        Returns:
            Parameter name to level, from 0 (nearest to the input) to the top level of the head; the
            learning rate of a parameter is scaled by decay ** (top level - level).
        """
        return None

    def real_features(self, features: Tensor, mask: Tensor) -> Tensor:
        """Checked features in the dtype of the weights, zero where masked; see `check_bags`."""
        real = checked_mask(features, mask, self.feature_dim)
        assert real is not None
        dtype = next(self.parameters()).dtype
        return zero_masked(features, real).to(dtype)


def _moved(
    batch: BagBatch | FeatureSet, device: torch.device | str, non_blocking: bool
) -> dict[str, Any]:
    """The tensors of a record on another device, by the name of their field."""
    values = {f.name: getattr(batch, f.name) for f in fields(batch)}
    return {
        name: value.to(device, non_blocking=non_blocking)
        for name, value in values.items()
        if isinstance(value, Tensor)
    }

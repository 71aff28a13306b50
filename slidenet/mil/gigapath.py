"""`gigapath`: the released Prov-GigaPath slide encoder with a head, for fine-tuning.

It starts from the released weights, with the settings of the published PANDA fine-tuning as
defaults (state 11, class token, dropout 0.1, no drop path, the tile embedding at the top learning
rate).

Differs from the published fine-tuning: tiles keep the order of the file (there they are shuffled,
although dilated attention depends on order), and padding is never attended to.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from slidenet.core.errors import MissingWeightsError
from slidenet.mil.contract import BagOutput
from slidenet.mil.longnet import EmbeddingLevel, LongNetMIL, TokenPooling
from slidenet.mil.recipe import TrainingRecipe
from slidenet.slide_encoders import LONGNET_CONFIGS, LongNetViT
from slidenet.slide_encoders.load import load_longnet

FROM_CHECKPOINT = "from_checkpoint"
"""`weights` of a model whose state dict is loaded right after, so no released file is needed."""


class GigaPathMIL(LongNetMIL):
    """The Prov-GigaPath slide encoder with its released weights and a head, for fine-tuning.

    Args:
        feature_dim: Length of a feature vector; 1536 fits the released weights.
        num_outputs: Length of the logits.
        weights: A `slide_encoder.pth`. None: the hub cache, then the hub. "from_checkpoint": none,
            because a state dict of the whole model is loaded right after; until then the model
            refuses to run.
        pooling: See `LongNetMIL`.
        layers: See `LongNetMIL`; several are concatenated.
        attention_dim: See `LongNetMIL`.
        head_dropout: See `LongNetMIL`.
        dropout: Of the encoder.
        drop_path: Of the encoder.
        embedding_level: See `LongNetMIL`.
        chunk_tokens: See `LongNetViT`.
        checkpoint_activations: See `LongNetViT`.
        **overrides: Other fields of `LongNetConfig`, for weights of another shape.

    Raises:
        MissingWeightsError: If weights are neither given, nor cached, nor reachable.
        WeightsMismatchError: If they do not belong to this architecture or feature length.
        ConfigError: For settings out of range.
    """

    recipe: ClassVar[TrainingRecipe] = TrainingRecipe(learning_rate=2e-4, feature_scaling="none")

    def __init__(
        self,
        *,
        feature_dim: int,
        num_outputs: int,
        weights: str | Path | None = None,
        pooling: TokenPooling = "class_token",
        layers: Sequence[int] | None = (11,),
        attention_dim: int = 128,
        head_dropout: float = 0.0,
        dropout: float = 0.1,
        drop_path: float = 0.0,
        embedding_level: EmbeddingLevel = "released",
        chunk_tokens: int | None = None,
        checkpoint_activations: bool = False,
        **overrides: Any,
    ) -> None:
        settings: dict[str, Any] = dict(
            feature_dim=feature_dim,
            dropout=dropout,
            drop_path=drop_path,
            chunk_tokens=chunk_tokens,
            checkpoint_activations=checkpoint_activations,
            **overrides,
        )
        if weights == FROM_CHECKPOINT:
            encoder = LongNetViT(LONGNET_CONFIGS["gigapath"], **settings)
        else:
            encoder = load_longnet("gigapath", weights=weights, **settings).net.train()
        super().__init__(
            encoder,
            num_outputs=num_outputs,
            pooling=pooling,
            layers=layers,
            attention_dim=attention_dim,
            head_dropout=head_dropout,
            embedding_level=embedding_level,
        )
        self.awaits_weights = weights == FROM_CHECKPOINT
        # torch leaves it unannotated
        self.register_load_state_dict_post_hook(_weights_have_come)  # type: ignore[no-untyped-call]

    def forward(self, features: Tensor, grid_xy: Tensor, mask: Tensor) -> BagOutput:
        """See `LongNetMIL.forward`.

        Raises:
            MissingWeightsError: If the promised checkpoint has not been loaded.
        """
        if self.awaits_weights:
            raise MissingWeightsError(
                f"the gigapath model was built with weights={FROM_CHECKPOINT!r}, and no checkpoint "
                "has been loaded since",
                remedy="load a state dict, or give weights=PATH of a slide_encoder.pth",
            )
        return super().forward(features, grid_xy, mask)


def _weights_have_come(module: torch.nn.Module, missing_and_unexpected: Any) -> None:
    assert isinstance(module, GigaPathMIL)
    if not missing_and_unexpected.missing_keys:
        module.awaits_weights = False

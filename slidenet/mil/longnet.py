"""The LongNet slide encoder with a head: `longnet`, from scratch in the shape "longnet-small".

Source: Xu et al. 2024 (Prov-GigaPath), Methods, and the published fine-tuning for PANDA: the class
token of chosen states, each through the last norm, concatenated, and one linear layer. Attention
and mean pooling over the output tokens are ours and the paper's.

Shapes: B bags, L tiles, S states, D width of the encoder.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from slidenet.attention import AttentionPattern
from slidenet.core.checks import check_choice, check_share, check_whole
from slidenet.core.errors import ConfigError
from slidenet.layers import weighted_sum, zero_masked
from slidenet.mil.contract import BagModel, BagOutput
from slidenet.mil.gated_attention import GatedAttention, Head
from slidenet.mil.pooling import uniform_attention
from slidenet.mil.recipe import TrainingRecipe
from slidenet.mil.tile_scores import attended_scores
from slidenet.slide_encoders import LONGNET_CONFIGS, LongNetViT

TokenPooling = Literal["attention", "mean", "class_token"]
EmbeddingLevel = Literal["lowest", "released"]


class LongNetMIL(BagModel):
    """A LongNet slide encoder, a pooling of its states and a linear head.

    What the chosen states do not need (deeper blocks, the encoder's own last norm) is frozen: it
    never gets a gradient, and distributed training refuses parameters that wait for one.

    Args:
        encoder: The network, with or without pretrained weights.
        num_outputs: Length of the logits.
        pooling: "attention" (gated, over the tiles' states), "mean" over tiles, or "class_token".
        layers: States to concatenate, ascending; 0 = embeddings, i = after block i. None: the last.
        attention_dim: Hidden width of the gated attention.
        head_dropout: Before the head.
        embedding_level: Level of the tile embedding for learning rate decay: "lowest" (0), or
            "released", the top level, as the published fine-tuning code has it by accident.

    Raises:
        ConfigError: For settings out of range.
    """

    recipe: ClassVar[TrainingRecipe] = TrainingRecipe(learning_rate=2e-3, weight_decay=0.05)

    def __init__(
        self,
        encoder: LongNetViT,
        *,
        num_outputs: int,
        pooling: TokenPooling = "attention",
        layers: Sequence[int] | None = None,
        attention_dim: int = 128,
        head_dropout: float = 0.0,
        embedding_level: EmbeddingLevel = "lowest",
    ) -> None:
        super().__init__(encoder.config.feature_dim, num_outputs)
        check_choice(get_args(TokenPooling), pooling=pooling)
        check_choice(get_args(EmbeddingLevel), embedding_level=embedding_level)
        check_whole(attention_dim=attention_dim)
        check_share(below_one=True, head_dropout=head_dropout)
        depth = encoder.config.depth
        self.layers = (depth,) if layers is None else tuple(layers)
        if not self.layers or list(self.layers) != sorted(set(self.layers) & set(range(depth + 1))):
            raise ConfigError(
                f"layers={list(self.layers)} of a slide encoder of {depth} blocks",
                expected=f"states from 0 (embeddings) to {depth}, ascending, each once",
            )
        self.encoder = encoder
        self.pooling: TokenPooling = pooling
        self.embedding_level: EmbeddingLevel = embedding_level
        encoder.encoder_norm.requires_grad_(False)
        encoder.blocks[self.layers[-1] :].requires_grad_(False)
        width = len(self.layers) * encoder.config.embed_dim
        self.attention = GatedAttention(width, attention_dim) if pooling == "attention" else None
        self.dropout = nn.Dropout(head_dropout)
        self.head = Head(width, num_outputs)

    def forward(self, features: Tensor, grid_xy: Tensor, mask: Tensor) -> BagOutput:
        """See `BagModel.forward`.

        Raises:
            EncoderError: As there.
            CoordinateError: For cells beyond the lattice.
        """
        x = self.real_features(features, mask)
        pooled, attention = self._pool(x, grid_xy, mask)
        return BagOutput(self.head(self.dropout(pooled)), attention)

    def _pool(self, x: Tensor, grid_xy: Tensor, mask: Tensor) -> tuple[Tensor, Tensor | None]:
        """(B, S * D), and the map (B, 1, L) where there is one."""
        if self.attention is not None:
            states = self.encoder.states(x, grid_xy, mask, layers=self.layers)
            tiles = torch.cat([self.encoder.norm(state[:, 1:]) for state in states], dim=-1)
            attention = self.attention(tiles, mask)
            return weighted_sum(attention, tiles)[:, 0], attention
        how: Literal["mean", "class_token"] = "mean" if self.pooling == "mean" else "class_token"
        if len(self.layers) == 1:  # one state's class token lets the last block compute it alone
            pooled = self.encoder(x, grid_xy, mask, pooling=how, state=self.layers[0])
        else:
            pooled = torch.cat(
                list(self.encoder.pooled_states(x, grid_xy, mask, layers=self.layers, pooling=how)),
                dim=-1,
            )
        return pooled, uniform_attention(mask, x.dtype) if how == "mean" else None

    @property
    def has_contributions(self) -> bool:
        """See `BagModel.has_contributions`: of the tiles' states, where these are pooled."""
        return self.pooling != "class_token"

    def contributions(
        self, features: Tensor, grid_xy: Tensor, mask: Tensor, *, relative: bool = False
    ) -> Tensor | None:
        """See `BagModel.contributions`: of the tiles' states, which know of other tiles."""
        if not self.has_contributions:
            return None
        x = self.real_features(features, mask)
        states = self.encoder.states(x, grid_xy, mask, layers=self.layers)
        if self.attention is not None:
            tiles = torch.cat([self.encoder.norm(state[:, 1:]) for state in states], dim=-1)
            attention: Tensor = self.attention(tiles, mask)
        else:
            tiles = torch.cat([self._normed_as_mean(state[:, 1:], mask) for state in states], -1)
            attention = uniform_attention(mask, x.dtype)
        return attended_scores(attention, tiles, self.head.weight, mask, relative=relative)

    def _normed_as_mean(self, state: Tensor, mask: Tensor) -> Tensor:
        """Tiles (B, L, D) as the last norm treats their mean, with the deviation of the mean.

        The norm comes after the pooling here; with that deviation held it is linear in the tiles.
        """
        norm = self.encoder.norm
        mean = zero_masked(state, mask).sum(dim=1) / mask.sum(dim=1, keepdim=True)
        deviation = (mean.var(dim=-1, correction=0) + norm.eps).sqrt()[:, None, None]
        centred = state - state.mean(dim=-1, keepdim=True)
        return centred / deviation * norm.weight + norm.bias

    def layer_levels(self) -> dict[str, int]:
        """0 for the class token (and the tile embedding), i for block i, depth + 1 for the rest.

        Source: the layer-wise decay of the published fine-tuning, over depth + 1 levels.
        """
        top = self.encoder.config.depth + 1
        levels = {}
        for name, _ in self.named_parameters():
            if name == "encoder.class_token":
                levels[name] = 0
            elif name.startswith("encoder.tile_embed."):
                levels[name] = top if self.embedding_level == "released" else 0
            elif name.startswith("encoder.blocks."):
                levels[name] = 1 + int(name.split(".")[2])
            else:
                levels[name] = top
        return levels


def make_longnet(
    *,
    feature_dim: int,
    num_outputs: int,
    shape: str = "longnet-small",
    pooling: TokenPooling = "attention",
    layers: Sequence[int] | None = None,
    attention_dim: int = 128,
    head_dropout: float = 0.0,
    attention: str | AttentionPattern | None = None,
    chunk_tokens: int | None = None,
    checkpoint_activations: bool = False,
    **overrides: Any,
) -> LongNetMIL:
    """A LongNet model with fresh weights.

    Args:
        feature_dim: Length of a feature vector.
        num_outputs: Length of the logits.
        shape: Name in `LONGNET_CONFIGS`.
        pooling: See `LongNetMIL`.
        layers: See `LongNetMIL`.
        attention_dim: See `LongNetMIL`.
        head_dropout: See `LongNetMIL`.
        attention: Attention pattern, by name or as an object; None: the shape's.
        chunk_tokens: See `LongNetViT`.
        checkpoint_activations: See `LongNetViT`.
        **overrides: Fields of `LongNetConfig` (embed_dim, depth, segment_lengths, dropout ...).

    Raises:
        ConfigError: For settings out of range.
        UnknownNameError: For an unknown shape or attention pattern.
    """
    encoder = LongNetViT(
        LONGNET_CONFIGS[shape],
        attention=attention,
        chunk_tokens=chunk_tokens,
        checkpoint_activations=checkpoint_activations,
        feature_dim=feature_dim,
        **overrides,
    )
    return LongNetMIL(
        encoder,
        num_outputs=num_outputs,
        pooling=pooling,
        layers=layers,
        attention_dim=attention_dim,
        head_dropout=head_dropout,
    )

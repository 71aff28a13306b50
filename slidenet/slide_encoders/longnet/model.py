"""LongNet ViT: tile features and their cells in, states and slide embeddings out.

Shapes: B slides, L tiles, N = 1 + L tokens (class token first), F feature length, D width.
Source: Xu et al. 2024 (Prov-GigaPath), Methods; Ding et al. 2023 (LongNet), section 2.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from slidenet.attention import (
    AttentionPattern,
    DilatedAttention,
    make_attention,
    warn_of_unseen,
)
from slidenet.attention.registry import settings_of
from slidenet.core.checks import check_whole
from slidenet.core.errors import CoordinateError
from slidenet.layers import Linear, checked_mask
from slidenet.slide_encoders.longnet.block import LongNetBlock, default_chunk_tokens
from slidenet.slide_encoders.longnet.config import LongNetConfig, Pooling
from slidenet.slide_encoders.longnet.positions import GridPositions, checked_cells
from slidenet.slide_encoders.longnet.pruning import class_token_output
from slidenet.slide_encoders.longnet.request import ForwardRequest, SlideIds
from slidenet.slide_encoders.longnet.tokens import OneDevice, TokenLayout, TokenSharding
from slidenet.slide_encoders.recipes import State


class LongNetViT(nn.Module):
    """The slide encoder: linear embedding, sine-cosine positions, class token, blocks, norms.

    Slides of a batch may differ in length: `mask` says which tiles are real, in any order, and a
    masked tile is as good as absent. The result equals that of each slide on its own.

    Args:
        config: The shape; `LongNetConfig()` is `gigapath_slide_enc12l768d`.
        attention: Name of a pattern that replaces the configuration's, or a pattern object.
        chunk_tokens: Tokens per chunk of the token-wise part of a block (memory, not numbers); by
            default 16,384 on a GPU and 4,096 elsewhere.
        checkpoint_activations: Recompute blocks in the backward instead of keeping activations.
        **overrides: Fields of `config` to replace.

    Raises:
        ConfigError: For settings out of range.
        UnknownNameError: For an unknown attention pattern.

    Warns:
        AttentionWarning: Where the heads of dilated attention leave tokens out.
    """

    def __init__(
        self,
        config: LongNetConfig | None = None,
        *,
        attention: str | AttentionPattern | None = None,
        chunk_tokens: int | None = None,
        checkpoint_activations: bool = False,
        **overrides: Any,
    ) -> None:
        super().__init__()
        if chunk_tokens is not None:
            check_whole(chunk_tokens=chunk_tokens)
        config = config or LongNetConfig()
        if isinstance(attention, str):
            overrides["attention"] = attention
        self.config = config.with_overrides(**overrides)
        self.chunk_tokens = chunk_tokens
        self.checkpoint_activations = checkpoint_activations
        if attention is None or isinstance(attention, str):
            attention = make_attention(self.config.attention, **self.config.pattern_settings())
        else:  # what is recorded of embeddings is the pattern that made them
            self.config = self.config.with_overrides(
                attention=attention.name, attention_settings=settings_of(attention)
            )
        if isinstance(attention, DilatedAttention):
            warn_of_unseen(attention, self.config.num_heads)
        self.token_sharding: TokenSharding = OneDevice()
        width, depth = self.config.embed_dim, self.config.depth
        self.tile_embed = Linear(self.config.feature_dim, width)
        self.positions = GridPositions(self.config.grid_size, width)
        self.class_token = nn.Parameter(torch.empty(1, 1, width))
        if not self.class_token.is_meta:
            nn.init.normal_(self.class_token, std=0.02)
        self.dropout = nn.Dropout(self.config.dropout)
        self.blocks = nn.ModuleList(
            LongNetBlock(self.config, attention, self.config.drop_path * i / max(depth - 1, 1), i)
            for i in range(depth)
        )
        self.encoder_norm = nn.LayerNorm(width, eps=self.config.layer_norm_eps)
        self.norm = nn.LayerNorm(width, eps=self.config.norm_eps)

    @property
    def pattern(self) -> AttentionPattern:
        """The attention pattern of the blocks."""
        return self._block(0).attention.pattern

    def shard_tokens(self, sharding: TokenSharding | None) -> None:
        """Spreads the tokens of slides over devices from now on; None: whole slides on this one.

        Parameters, their names and the numbers stay what they are.
        """
        self.token_sharding = sharding or OneDevice()

    def forward(
        self,
        features: Tensor,
        grid_xy: Tensor,
        mask: Tensor | None = None,
        *,
        pooling: Pooling | None = None,
        state: State = "final",
        slide_id: SlideIds | None = None,
        recipe: str | None = None,
    ) -> Tensor:
        """One embedding per slide.

        Args:
            features: Tile features (B, L, F).
            grid_xy: int64 (B, L, 2), (column, row) cells.
            mask: Bool (B, L), True = real tile.
            pooling: "class_token" or "mean" over tiles; the configuration's by default.
            state: i in 0..depth (through `norm`), "last", or "final" (through both norms).
            slide_id: Names of the slides of the batch (a text for a single one). Ranks that are
                given chunks must pass it, as their features cannot be compared; else it is free.
            recipe: What pooling, state and cells follow; ranks that share a slide compare it.

        Returns:
            (B, D).

        Raises:
            EncoderError: For features or masks that do not fit.
            CoordinateError: For cells beyond the lattice.
            ConfigError: For a state or pooling that does not exist.
        """
        pooling, final = pooling or self.config.pooling, state == "final"
        request = ForwardRequest(
            "forward",
            self.config.depth,
            pooling=pooling,
            state=state,
            slide_id=slide_id,
            recipe=recipe,
        )
        x, tokens = self._embed(features, grid_xy, mask, request)
        num_blocks = request.num_blocks()
        # Where all tokens are here, the class token needs a single query of the last block.
        alone = pooling == "class_token" and num_blocks > 0 and tokens.is_whole
        with tokens.own_draws("blocks", x.device):
            for block in self.blocks[: num_blocks - alone]:
                x = self._run(block, x, tokens)
            if alone:
                x = class_token_output(self._block(num_blocks - 1), x, tokens)
        if pooling == "mean":
            pooled = tokens.pool(self.encoder_norm(x) if final else x, pooling)
        else:
            pooled = x[:, 0] if alone else tokens.pool(x, pooling)
            pooled = self.encoder_norm(pooled) if final else pooled
        out: Tensor = self.norm(pooled)
        return out

    def states(
        self,
        features: Tensor,
        grid_xy: Tensor,
        mask: Tensor | None = None,
        *,
        layers: Sequence[int] | None = None,
        slide_id: SlideIds | None = None,
    ) -> list[Tensor]:
        """States of all tokens before any norm; 0 = embeddings, i = after block i.

        Args:
            features: Tile features (B, L, F).
            grid_xy: int64 (B, L, 2), (column, row) cells.
            mask: Bool (B, L), True = real tile.
            layers: Which states, ascending; all by default. Others are not kept alive.
            slide_id: As `forward`.

        Returns:
            List of (B, 1 + L, D), zeros at masked tiles.

        Raises:
            EncoderError, CoordinateError, ConfigError: As `forward`.
        """
        request = ForwardRequest("states", self.config.depth, layers=layers, slide_id=slide_id)
        return self._at_layers(features, grid_xy, mask, request, lambda x, tokens: tokens.unpack(x))

    def pooled_states(
        self,
        features: Tensor,
        grid_xy: Tensor,
        mask: Tensor | None = None,
        *,
        layers: Sequence[int] | None = None,
        pooling: Pooling | None = None,
        slide_id: SlideIds | None = None,
    ) -> Tensor:
        """Embeddings from several states in one pass, through `norm`.

        Args:
            features: Tile features (B, L, F).
            grid_xy: int64 (B, L, 2), (column, row) cells.
            mask: Bool (B, L), True = real tile.
            layers: Which states, ascending; all by default.
            pooling: As `forward`.
            slide_id: As `forward`.

        Returns:
            (S, B, D), one row per state asked for.

        Raises:
            EncoderError, CoordinateError, ConfigError: As `forward`.
        """
        how = pooling or self.config.pooling
        request = ForwardRequest(
            "pooled_states", self.config.depth, pooling=how, layers=layers, slide_id=slide_id
        )
        pooled = self._at_layers(
            features, grid_xy, mask, request, lambda x, tokens: self.norm(tokens.pool(x, how))
        )
        return torch.stack(pooled)

    def _at_layers(
        self,
        features: Tensor,
        grid_xy: Tensor,
        mask: Tensor | None,
        request: ForwardRequest,
        take: Callable[[Tensor, TokenLayout], Tensor],
    ) -> list[Tensor]:
        """What `take` makes of each state asked for, in one pass."""
        x, tokens = self._embed(features, grid_xy, mask, request)
        wanted, taken = request.wanted_layers(), []
        with tokens.own_draws("blocks", x.device):
            for i in range(max(wanted, default=-1) + 1):
                if i > 0:
                    x = self._run(self._block(i - 1), x, tokens)
                if i in wanted:
                    taken.append(take(x, tokens) if tokens.is_whole else x)
        # States spread over devices are brought together after the blocks, apart from their draws.
        return taken if tokens.is_whole else [take(x, tokens) for x in taken]

    def _embed(
        self, features: Tensor, grid_xy: Tensor, mask: Tensor | None, request: ForwardRequest
    ) -> tuple[Tensor, TokenLayout]:
        """Tokens before the first block, and how they lie."""
        features, grid_xy, tokens = self.token_sharding.place(
            features, grid_xy, mask, encoder=self, request=request, check=self._check
        )
        x = self.tile_embed(features.to(self.tile_embed.weight.dtype))
        x = x + self.positions(grid_xy)
        # The position of the class token is the zero row of the published table.
        x = tokens.prepend(x, self.class_token.to(x.dtype))
        with tokens.own_draws("embedding", x.device):
            return self.dropout(x), tokens

    def _check(self, features: Tensor, grid_xy: Tensor, mask: Tensor | None) -> Tensor:
        """The cells to go on with."""
        real = checked_mask(features, mask, self.config.feature_dim, unit="slide")
        if grid_xy.shape != (*features.shape[:2], 2):
            raise CoordinateError(
                f"grid_xy has shape {tuple(grid_xy.shape)}",
                expected=f"{(*features.shape[:2], 2)}, one (column, row) cell per tile",
            )
        return checked_cells(grid_xy, real, self.config.grid_size)

    def _run(self, block: nn.Module, x: Tensor, tokens: TokenLayout) -> Tensor:
        run: Callable[..., Tensor] = block
        chunk_tokens = self.chunk_tokens or default_chunk_tokens(x.device)
        if self.checkpoint_activations and torch.is_grad_enabled():
            out: Tensor = checkpoint(run, x, tokens, chunk_tokens, use_reentrant=False)
            return out
        return run(x, tokens, chunk_tokens)

    def _block(self, index: int) -> LongNetBlock:
        block = self.blocks[index]
        assert isinstance(block, LongNetBlock)
        return block

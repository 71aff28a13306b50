"""LongNet ViT: tile features and their cells in, states and slide embeddings out.

Shapes: B slides, L tiles, N = 1 + L tokens (class token first), F feature length, D width.
Source: Xu et al. 2024 (Prov-GigaPath), Methods; Ding et al. 2023 (LongNet), section 2.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from slidenet.attention import AttentionPattern, make_attention
from slidenet.core.errors import ConfigError, CoordinateError
from slidenet.layers import Linear, check_bags
from slidenet.slide_encoders.longnet.block import Lengths, LongNetBlock, spans
from slidenet.slide_encoders.longnet.config import LongNetConfig, Pooling
from slidenet.slide_encoders.longnet.positions import GridPositions, check_grid_xy
from slidenet.slide_encoders.longnet.pruning import class_token_output
from slidenet.slide_encoders.recipes import State


class LongNetViT(nn.Module):
    """The slide encoder: linear embedding, sine-cosine positions, class token, blocks, norms.

    Slides of a batch may differ in length: `mask` says which tiles are real, in any order, and a
    masked tile is as good as absent. The result equals that of each slide on its own.

    Args:
        config: The shape; `LongNetConfig()` is `gigapath_slide_enc12l768d`.
        attention: Name of a pattern that replaces the configuration's, or a pattern object.
        chunk_tokens: Tokens per chunk of the token-wise part of a block (memory, not numbers).
        checkpoint_activations: Recompute blocks in the backward instead of keeping activations.
        **overrides: Fields of `config` to replace.

    Raises:
        ConfigError: For settings out of range.
        UnknownNameError: For an unknown attention pattern.
    """

    def __init__(
        self,
        config: LongNetConfig | None = None,
        *,
        attention: str | AttentionPattern | None = None,
        chunk_tokens: int = 4096,
        checkpoint_activations: bool = False,
        **overrides: Any,
    ) -> None:
        super().__init__()
        if chunk_tokens < 1:
            raise ConfigError(f"chunk_tokens={chunk_tokens}", expected="at least 1")
        config = config or LongNetConfig()
        if isinstance(attention, str):
            overrides["attention"] = attention
        self.config = config.with_overrides(**overrides)
        self.chunk_tokens = chunk_tokens
        self.checkpoint_activations = checkpoint_activations
        pattern: AttentionPattern
        if attention is None or isinstance(attention, str):
            pattern = make_attention(self.config.attention, **self.config.pattern_settings())
        else:
            pattern = attention
        width, depth = self.config.embed_dim, self.config.depth
        self.tile_embed = Linear(self.config.feature_dim, width)
        self.positions = GridPositions(self.config.grid_size, width)
        self.class_token = nn.Parameter(torch.empty(1, 1, width))
        if not self.class_token.is_meta:
            nn.init.normal_(self.class_token, std=0.02)
        self.dropout = nn.Dropout(self.config.dropout)
        self.blocks = nn.ModuleList(
            LongNetBlock(self.config, pattern, self.config.drop_path * i / max(depth - 1, 1))
            for i in range(depth)
        )
        self.encoder_norm = nn.LayerNorm(width, eps=self.config.layer_norm_eps)
        self.norm = nn.LayerNorm(width, eps=self.config.norm_eps)

    def forward(
        self,
        features: Tensor,
        grid_xy: Tensor,
        mask: Tensor | None = None,
        *,
        pooling: Pooling | None = None,
        state: State = "final",
    ) -> Tensor:
        """One embedding per slide.

        Args:
            features: Tile features (B, L, F).
            grid_xy: int64 (B, L, 2), (column, row) cells.
            mask: Bool (B, L), True = real tile.
            pooling: "class_token" or "mean" over tiles; the configuration's by default.
            state: i in 0..depth (through `norm`), "last", or "final" (through both norms).

        Returns:
            (B, D).

        Raises:
            EncoderError: For features or masks that do not fit.
            CoordinateError: For cells beyond the lattice.
            ConfigError: For a state or pooling that does not exist.
        """
        pooling = pooling or self.config.pooling
        num_blocks = self._num_blocks(state)
        x, lengths = self._embed(features, grid_xy, mask)
        if pooling == "class_token" and num_blocks > 0:
            for block in self.blocks[: num_blocks - 1]:
                x = self._run(block, x, lengths)
            x = class_token_output(self._block(num_blocks - 1), x, lengths)
            return self._normed(self.encoder_norm(x[:, 0]) if state == "final" else x[:, 0])
        for block in self.blocks[:num_blocks]:
            x = self._run(block, x, lengths)
        if state == "final":
            x = self.encoder_norm(x)
        return self._normed(_pool(x, lengths, pooling))

    def states(
        self,
        features: Tensor,
        grid_xy: Tensor,
        mask: Tensor | None = None,
        *,
        layers: Sequence[int] | None = None,
    ) -> list[Tensor]:
        """States of all tokens before any norm; 0 = embeddings, i = after block i.

        Args:
            features: Tile features (B, L, F).
            grid_xy: int64 (B, L, 2), (column, row) cells.
            mask: Bool (B, L), True = real tile.
            layers: Which states, ascending; all by default. Others are not kept alive.

        Returns:
            List of (B, 1 + L, D), zeros at masked tiles.

        Raises:
            EncoderError, CoordinateError, ConfigError: As `forward`.
        """
        wanted = self._layers(layers)
        mask = None if mask is None or bool(mask.all()) else mask
        return [
            _unpack(x, lengths, mask)
            for x, lengths in self._states(features, grid_xy, mask, wanted)
        ]

    def pooled_states(
        self,
        features: Tensor,
        grid_xy: Tensor,
        mask: Tensor | None = None,
        *,
        layers: Sequence[int] | None = None,
        pooling: Pooling | None = None,
    ) -> Tensor:
        """Embeddings from several states in one pass, through `norm`.

        Args:
            features: Tile features (B, L, F).
            grid_xy: int64 (B, L, 2), (column, row) cells.
            mask: Bool (B, L), True = real tile.
            layers: Which states, ascending; all by default.
            pooling: As `forward`.

        Returns:
            (S, B, D), one row per state asked for.

        Raises:
            EncoderError, CoordinateError, ConfigError: As `forward`.
        """
        how = pooling or self.config.pooling
        wanted = self._layers(layers)
        states = self._states(features, grid_xy, mask, wanted)
        return torch.stack([self._normed(_pool(x, lengths, how)) for x, lengths in states])

    def _states(
        self, features: Tensor, grid_xy: Tensor, mask: Tensor | None, wanted: Sequence[int]
    ) -> Iterator[tuple[Tensor, Lengths]]:
        x, lengths = self._embed(features, grid_xy, mask)
        for i in range(max(wanted, default=-1) + 1):
            if i > 0:
                x = self._run(self._block(i - 1), x, lengths)
            if i in wanted:
                yield x, lengths

    def _embed(
        self, features: Tensor, grid_xy: Tensor, mask: Tensor | None
    ) -> tuple[Tensor, Lengths]:
        """Tokens (B, 1 + L, D), or packed (1, N, D) with lengths where slides differ in length."""
        if not torch.compiler.is_compiling():
            self._check(features, grid_xy, mask)
        lengths: Lengths = None
        if mask is not None and not bool(mask.all()):
            counts = [int(n) for n in mask.sum(dim=1)]
            features, grid_xy = features[mask], grid_xy[mask]
            if len(set(counts)) == 1:
                features = features.reshape(len(counts), counts[0], -1)
                grid_xy = grid_xy.reshape(len(counts), counts[0], 2)
            else:
                lengths = tuple(1 + n for n in counts)
        x = self.tile_embed(features.to(self.tile_embed.weight.dtype))
        x = x + self.positions(grid_xy)
        first = self.class_token.to(x.dtype)  # its position is the zero row of the published table
        if lengths is None:
            x = torch.cat([first.expand(len(x), -1, -1), x], dim=1)
        else:
            tiles = x.split([n - 1 for n in lengths])
            x = torch.cat([part for t in tiles for part in (first[0], t)])[None]
        return self.dropout(x), lengths

    def _check(self, features: Tensor, grid_xy: Tensor, mask: Tensor | None) -> None:
        check_bags(features, mask, self.config.feature_dim, unit="slide")
        if grid_xy.shape != (*features.shape[:2], 2):
            raise CoordinateError(
                f"grid_xy has shape {tuple(grid_xy.shape)}",
                expected=f"{(*features.shape[:2], 2)}, one (column, row) cell per tile",
            )
        check_grid_xy(grid_xy if mask is None else grid_xy[mask], self.config.grid_size)

    def _run(self, block: nn.Module, x: Tensor, lengths: Lengths) -> Tensor:
        run: Callable[..., Tensor] = block
        if self.checkpoint_activations and torch.is_grad_enabled():
            out: Tensor = checkpoint(run, x, lengths, self.chunk_tokens, use_reentrant=False)
            return out
        return run(x, lengths, self.chunk_tokens)

    def _block(self, index: int) -> LongNetBlock:
        block = self.blocks[index]
        assert isinstance(block, LongNetBlock)
        return block

    def _normed(self, pooled: Tensor) -> Tensor:
        out: Tensor = self.norm(pooled)
        return out

    def _num_blocks(self, state: State) -> int:
        depth = self.config.depth
        if state in ("last", "final"):
            return depth
        if isinstance(state, int) and 0 <= state <= depth:
            return state
        raise ConfigError(
            f"state {state!r} of a slide encoder of {depth} blocks",
            expected=f"0 (embeddings) to {depth}, 'last' or 'final'",
        )

    def _layers(self, layers: Sequence[int] | None) -> tuple[int, ...]:
        wanted = tuple(range(self.config.depth + 1)) if layers is None else tuple(layers)
        for layer in wanted:
            self._num_blocks(layer)
        if list(wanted) != sorted(set(wanted)):
            raise ConfigError(f"layers {wanted}", expected="ascending, each once")
        return wanted


def _pool(x: Tensor, lengths: Lengths, pooling: Pooling) -> Tensor:
    """Tokens to (B, D): the class token, or the mean of the others."""
    if pooling not in ("class_token", "mean"):
        raise ConfigError(f"pooling {pooling!r}", expected="'class_token' or 'mean'")
    if lengths is None:
        return x[:, 0] if pooling == "class_token" else x[:, 1:].mean(dim=1)
    slides = [x[0, s] for s in spans(lengths)]
    return torch.stack([t[0] if pooling == "class_token" else t[1:].mean(dim=0) for t in slides])


def _unpack(x: Tensor, lengths: Lengths, mask: Tensor | None) -> Tensor:
    """Tokens back to (B, 1 + L, D) with zeros at masked tiles."""
    if mask is None:
        return x
    with_class = torch.cat([mask.new_ones(len(mask), 1), mask], dim=1)
    tokens = x.flatten(0, 1)  # in the order of the mask, packed or not
    return tokens.new_zeros(*with_class.shape, x.shape[-1]).masked_scatter(
        with_class[..., None], tokens
    )

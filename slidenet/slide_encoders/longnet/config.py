"""Shapes of LongNet slide encoders: the published ones and a small one to train from scratch."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, get_args

from slidenet.core.checks import check_choice, check_positive, check_share, check_whole
from slidenet.core.errors import ConfigError
from slidenet.core.registry import Registry

Pooling = Literal["class_token", "mean"]

PUBLISHED_DILATIONS = (1, 2, 4, 8, 16)
PUBLISHED_MAX_SLIDE_PX = 262_144
CELL_PX = 256
GRID_SIZE = 1000


def published_segments(
    max_slide_px: int = PUBLISHED_MAX_SLIDE_PX, cell_px: int = CELL_PX, count: int = 5
) -> tuple[int, ...]:
    """Segment lengths of the released model: powers of two evenly spaced in the exponent.

    From 2^10 to 2^floor(log2 of the number of cells of the largest slide); 262,144 px gives
    1024, 5792, 32768, 185363, 1048576.

    Args:
        max_slide_px: Side of the largest slide, in pixels at tile resolution.
        cell_px: Side of a cell of the position lattice, same pixels.
        count: How many segment lengths.

    Raises:
        ConfigError: If the largest slide has fewer than 1024 cells.
    """
    num_cells = (max_slide_px // cell_px) ** 2
    if num_cells < 1024 or count < 2:
        raise ConfigError(
            f"max_slide_px={max_slide_px} holds {num_cells} cells of {cell_px} px, count={count}",
            expected="at least 1024 cells (32 x 32) and two segment lengths",
        )
    first, last = 10, int(math.log2(num_cells))
    return tuple(int(2 ** (first + (last - first) * i / (count - 1))) for i in range(count))


MAX_TABLE = 1 << 28
"""Numbers in the table of positions: 300 times that of Prov-GigaPath. It is made before any weight,
so that a file could ask for all memory there is."""


@dataclass(frozen=True)
class LongNetConfig:
    """Every setting of a `LongNetViT` that changes its numbers.

    Attributes:
        feature_dim: Length of a tile feature vector.
        embed_dim: Width of the encoder; a multiple of 4 and of `num_heads`.
        depth: Number of blocks.
        num_heads: Attention heads.
        ffn_dim: Hidden width of the feed-forward network.
        attention: Name of the attention pattern (`slidenet.attention.make_attention`).
        attention_settings: Further settings of that pattern. "dilated" receives
            `segment_lengths` and `dilation_rates` from below unless they are given here.
        segment_lengths: Segments of dilated attention, in tokens.
        dilation_rates: One dilation per segment length.
        grid_size: Cells along each side of the position lattice.
        pooling: What `forward` returns unless asked otherwise: the class token or the mean over
            tiles (`global_pool` of the released code).
        dropout: After the embedding, the attention and the feed-forward network.
        drop_path: Stochastic depth of the last block; it grows linearly from 0 at the first.
        layer_norm_eps: Of every LayerNorm but the last.
        norm_eps: Of the last LayerNorm (`norm`).
    """

    feature_dim: int = 1536
    embed_dim: int = 768
    depth: int = 12
    num_heads: int = 16
    ffn_dim: int = 3072
    attention: str = "dilated"
    attention_settings: Mapping[str, Any] = field(default_factory=dict)
    segment_lengths: tuple[int, ...] = published_segments()
    dilation_rates: tuple[int, ...] = PUBLISHED_DILATIONS
    grid_size: int = GRID_SIZE
    pooling: Pooling = "class_token"
    dropout: float = 0.25
    drop_path: float = 0.1
    layer_norm_eps: float = 1e-5
    norm_eps: float = 1e-6

    def __post_init__(self) -> None:
        # YAML hands over lists.
        object.__setattr__(self, "segment_lengths", tuple(self.segment_lengths))
        object.__setattr__(self, "dilation_rates", tuple(self.dilation_rates))
        check_whole(
            feature_dim=self.feature_dim,
            embed_dim=self.embed_dim,
            depth=self.depth,
            num_heads=self.num_heads,
            ffn_dim=self.ffn_dim,
            grid_size=self.grid_size,
        )
        if self.embed_dim % 4 or self.embed_dim % self.num_heads:
            raise ConfigError(
                f"embed_dim={self.embed_dim} with num_heads={self.num_heads}",
                expected="a multiple of 4 (sine and cosine of x and y) and of num_heads",
            )
        if self.grid_size * self.embed_dim > MAX_TABLE:
            raise ConfigError(
                f"grid_size={self.grid_size} with embed_dim={self.embed_dim}",
                expected=f"a table of positions of at most {MAX_TABLE:,} numbers",
            )
        if len(self.segment_lengths) != len(self.dilation_rates) or not self.segment_lengths:
            raise ConfigError(
                f"{len(self.segment_lengths)} segment_lengths, "
                f"{len(self.dilation_rates)} dilation_rates",
                expected="one dilation per segment length",
            )
        check_positive(layer_norm_eps=self.layer_norm_eps, norm_eps=self.norm_eps)
        check_share(below_one=True, dropout=self.dropout, drop_path=self.drop_path)
        check_choice(get_args(Pooling), pooling=self.pooling)

    def with_overrides(self, **overrides: Any) -> "LongNetConfig":
        """A copy with some fields replaced.

        Raises:
            ConfigError: For a field that does not exist, or a value out of range.
        """
        known = {f.name for f in fields(self)}
        unknown = sorted(set(overrides) - known)
        if unknown:
            raise ConfigError(
                f"unknown slide encoder setting {', '.join(unknown)}",
                expected=f"settings among {', '.join(sorted(known))}",
            )
        return replace(self, **overrides)

    def pattern_settings(self) -> dict[str, Any]:
        """Settings for `make_attention(self.attention, ...)`, as embeddings keep them.

        `legacy_readback` is only there where it is on, as embeddings made before it have none.
        """
        if self.attention != "dilated":
            return dict(self.attention_settings)
        segments = {
            "segment_lengths": self.segment_lengths,
            "dilation_rates": self.dilation_rates,
        }
        settings = segments | dict(self.attention_settings)
        return {k: v for k, v in settings.items() if k != "legacy_readback" or v is not False}


LONGNET_CONFIGS: Registry[LongNetConfig] = Registry("slide encoder shape")
LONGNET_CONFIGS.add("gigapath", LongNetConfig())
LONGNET_CONFIGS.add("longnet-24l1024d", LongNetConfig(embed_dim=1024, depth=24, ffn_dim=4096))
LONGNET_CONFIGS.add("longnet-12l1536d", LongNetConfig(embed_dim=1536, ffn_dim=6144))
LONGNET_CONFIGS.add(
    "longnet-small",
    LongNetConfig(
        embed_dim=192,
        depth=4,
        num_heads=8,
        ffn_dim=384,
        segment_lengths=(256, 1024, 4096),
        dilation_rates=(1, 2, 4),
        dropout=0.1,
        drop_path=0.0,
    ),
)

"""Transformer-based correlated multiple instance learning (TransMIL).

Source: Shao et al. 2021, "TransMIL: Transformer based Correlated Multiple Instance Learning for
Whole Slide Image Classification", section 3.3 (squaring, TPT module, PPEG).
Tiles are laid in a square **in the order of the file**, so the order matters and `grid_xy` does
not.

Differs from the authors' code: every bag is squared over its real tiles, one bag after another,
and attention follows `nystrom.py`, so that neither padding nor other bags play a part; layer
sizes are the same. The head starts near zero. `tile_attention` is what the class token of the last
layer attends to by exact softmax, mean over heads, over the tiles (a repeated tile gets its copies'
share); no gradient flows through it.
"""

import math

import torch
from torch import Tensor, nn

from slidenet.core.checks import check_share, check_whole, refused
from slidenet.core.errors import ConfigError
from slidenet.layers import Linear
from slidenet.mil.contract import BagModel, BagOutput
from slidenet.mil.gated_attention import Head
from slidenet.mil.nystrom import NystromAttention

MAX_ITERATIONS = 100
"""Of the pseudo-inverse, which converges in about six; a file could ask for years."""


class TransMIL(BagModel):
    """Embedding -> squaring -> class token -> attention -> PPEG -> attention -> norm -> head.

    Args:
        feature_dim: Length of a feature vector.
        num_outputs: Length of the logits.
        embed_dim: Width, a multiple of `num_heads`.
        num_heads: Attention heads.
        num_landmarks: Of Nystrom attention.
        pinv_iterations: Steps of its pseudo-inverse.
        residual_kernel: Odd length of its convolution of the values.
        dropout: After each attention.

    Raises:
        ConfigError: For settings out of range.
    """

    def __init__(
        self,
        *,
        feature_dim: int,
        num_outputs: int,
        embed_dim: int = 512,
        num_heads: int = 8,
        num_landmarks: int = 256,
        pinv_iterations: int = 6,
        residual_kernel: int = 33,
        dropout: float = 0.1,
    ) -> None:
        super().__init__(feature_dim, num_outputs)
        check_whole(embed_dim=embed_dim, num_heads=num_heads, num_landmarks=num_landmarks)
        check_whole(pinv_iterations=pinv_iterations, residual_kernel=residual_kernel)
        if pinv_iterations > MAX_ITERATIONS:
            raise refused("pinv_iterations", pinv_iterations, f"at most {MAX_ITERATIONS}")
        check_share(below_one=True, dropout=dropout)
        if embed_dim % num_heads or residual_kernel % 2 == 0:
            raise ConfigError(
                f"embed_dim={embed_dim}, num_heads={num_heads}, residual_kernel={residual_kernel}",
                expected="embed_dim a multiple of num_heads, and an odd kernel",
            )
        self.embed = nn.Sequential(Linear(feature_dim, embed_dim), nn.ReLU())
        self.class_token = nn.Parameter(torch.empty(1, embed_dim))
        nn.init.normal_(self.class_token, std=1e-6)
        self.layers = nn.ModuleList(
            AttentionLayer(
                embed_dim,
                NystromAttention(
                    embed_dim,
                    num_heads=num_heads,
                    num_landmarks=num_landmarks,
                    pinv_iterations=pinv_iterations,
                    residual_kernel=residual_kernel,
                    dropout=dropout,
                ),
            )
            for _ in range(2)
        )
        self.positions = PPEG(embed_dim)
        self.norm = nn.LayerNorm(embed_dim)
        self.head = Head(embed_dim, num_outputs)

    def forward(self, features: Tensor, grid_xy: Tensor, mask: Tensor) -> BagOutput:
        """See `BagModel.forward`; bags one after another, since each has its own square."""
        hidden = self.embed(self.real_features(features, mask))
        if mask.shape[1] == 1 and not self.training:
            # Bags of one tile have one shape; thousands of them (explanations) go together.
            tokens, weights = torch.vmap(self._one_bag)(hidden)
            return BagOutput(self.head(self.norm(tokens)), weights[:, None])
        each = []
        exact = torch.promote_types(hidden.dtype, torch.float32)
        attention = torch.zeros(mask.shape, dtype=exact, device=mask.device)
        for bag, real in enumerate(mask):
            token, weights = self._one_bag(hidden[bag][real])
            each.append(token)
            attention[bag, real] = weights
        return BagOutput(self.head(self.norm(torch.stack(each))), attention[:, None])

    def _one_bag(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Tiles (N, D) to the class token (D,) and its attention to the tiles (N,)."""
        num_tiles = len(hidden)
        side = math.isqrt(num_tiles - 1) + 1
        repeated = side * side - num_tiles
        x = torch.cat([self.class_token.to(hidden.dtype), hidden, hidden[:repeated]])
        x, _ = self.layers[0](x)
        x = self.positions(x, side)
        x, row = self.layers[1](x)
        weights = row[1 : 1 + num_tiles].clone()
        weights[:repeated] += row[1 + num_tiles :]
        return x[0], weights / weights.sum()


class AttentionLayer(nn.Module):
    """x + attention(norm(x)); there is no feed-forward part."""

    def __init__(self, width: int, attention: NystromAttention) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = attention

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (N, D) to tokens and the first token's attention (N,)."""
        mixed, row = self.attention(self.norm(x))
        return x + mixed, row


class PPEG(nn.Module):
    """Pyramid position encoding: depth-wise 7, 5 and 3 convolutions over the square, summed.

    Args:
        width: D.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv2d(width, width, size, padding=size // 2, groups=width) for size in (7, 5, 3)
        )

    def forward(self, x: Tensor, side: int) -> Tensor:
        """Tokens (1 + side^2, D), class token first and left alone, to the same shape."""
        square = x[1:].T.reshape(1, -1, side, side)
        encoded = square + sum(convolve(square) for convolve in self.convolutions)
        return torch.cat([x[:1], encoded[0].flatten(1).T.to(x.dtype)])

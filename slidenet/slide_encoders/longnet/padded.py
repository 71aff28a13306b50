"""Slides of different lengths as a compiler takes them: padded rows, real tiles first.

Without a compiler masked tiles are left out and slides are packed one after another; how many
there are is then read from the mask, which would cut a compiled graph. Here nothing is read: tiles
are sorted by the mask, and everything that mixes tokens is given it. What padding costs is linear
in it; attention runs each slide at its own length either way.

Shapes: B slides, L tiles, N = 1 + L tokens (class token first), F feature length, D width.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from slidenet.attention import AttentionPattern
from slidenet.attention.operators import call_pattern
from slidenet.slide_encoders.longnet.config import Pooling


@dataclass(frozen=True, eq=False)
class PaddedSlides:
    """The layout of slides padded to one length, real tiles first; a `TokenLayout`.

    Attributes:
        order: int64 (B, L), the tile that lies at each place.
        real: Bool (B, L), which places hold a real tile.
    """

    order: Tensor
    real: Tensor

    @property
    def lengths(self) -> None:
        """One slide per row."""
        return None

    @property
    def is_whole(self) -> bool:
        """See `TokenLayout.is_whole`."""
        return True

    def prepend(self, x: Tensor, class_token: Tensor) -> Tensor:
        """See `TokenLayout.prepend`."""
        return torch.cat([class_token.expand(x.shape[0], -1, -1), x], dim=1)

    def attend(self, pattern: AttentionPattern, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """See `TokenLayout.attend`."""
        mask = torch.cat([self.real.new_ones(self.real.shape[0], 1), self.real], dim=1)
        return call_pattern(pattern, q, k, v, mask=mask)[0]

    def own_draws(self, stage: str, device: torch.device) -> AbstractContextManager[None]:
        """PyTorch's default generator, whatever it is at."""
        return nullcontext()

    def slide_draws(self, block: int, device: torch.device) -> AbstractContextManager[None]:
        """PyTorch's default generator, whatever it is at."""
        return nullcontext()

    def pool(self, x: Tensor, pooling: Pooling) -> Tensor:
        """See `TokenLayout.pool`."""
        if pooling == "class_token":
            return x[:, 0]
        tiles = x[:, 1:].masked_fill(~self.real[..., None], 0.0)
        exact = torch.float64 if x.dtype == torch.float64 else torch.float32
        return (tiles.sum(dim=1, dtype=exact) / self.real.sum(dim=1, keepdim=True)).to(x.dtype)

    def unpack(self, x: Tensor) -> Tensor:
        """See `TokenLayout.unpack`."""
        tiles = x[:, 1:].masked_fill(~self.real[..., None], 0.0)
        places = self.order[..., None].expand_as(tiles)
        return torch.cat([x[:, :1], torch.zeros_like(tiles).scatter(1, places, tiles)], dim=1)


def real_tiles_first(
    features: Tensor, grid_xy: Tensor, mask: Tensor
) -> tuple[Tensor, Tensor, PaddedSlides]:
    """Tiles sorted so that each slide's masked ones come last, as zeros.

    Args:
        features: Tile features (B, L, F); anything where masked.
        grid_xy: int64 (B, L, 2), cells; on the lattice where masked.
        mask: Bool (B, L), True = real tile.

    Returns:
        Features (B, L, F), cells (B, L, 2), and how they lie.
    """
    order = (~mask).to(torch.uint8).argsort(dim=1, stable=True)
    real = mask.gather(1, order)
    features = features.gather(1, order[..., None].expand_as(features))
    features = features.masked_fill(~real[..., None], 0.0)
    return (
        features,
        grid_xy.gather(1, order[..., None].expand_as(grid_xy)),
        PaddedSlides(order, real),
    )

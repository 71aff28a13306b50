"""Slide embeddings without weights: mean, and mean beside standard deviation, of tile features."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from slidenet.core.arrays import BoolArray, FeatureRows, Float64Array, IntArray, row_blocks
from slidenet.core.errors import EncoderError
from slidenet.core.provenance import Identity
from slidenet.core.records import TileGeometry
from slidenet.core.registry import Registry
from slidenet.layers import checked_mask


def mean(features: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean over tiles.

    Args:
        features: (B, L, D).
        mask: Bool (B, L), True = real.

    Returns:
        float32 (B, D), accumulated in float64.

    Raises:
        EncoderError: If a slide has no real tile, or the shapes do not fit.
    """
    values, counts = _real_values(features, mask)
    return (values.sum(dim=1) / counts).float()


def mean_std(features: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean and population standard deviation over tiles, side by side.

    Args:
        features: (B, L, D).
        mask: Bool (B, L), True = real.

    Returns:
        float32 (B, 2 D), accumulated in float64. A single tile has deviation 0.

    Raises:
        EncoderError: If a slide has no real tile, or the shapes do not fit.
    """
    values, counts = _real_values(features, mask)
    centre = values.sum(dim=1) / counts
    offsets = values - centre[:, None]
    if mask is not None:
        offsets = offsets.masked_fill(~mask[..., None], 0.0)
    variance = offsets.square().sum(dim=1) / counts
    return torch.cat([centre, variance.sqrt()], dim=1).float()


def _real_values(features: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Features in float64 with zeros in the padding, and the number of tiles (B, 1)."""
    mask = checked_mask(features, mask, unit="slide")
    values = features.double()
    if mask is None:
        return values, values.new_full((len(values), 1), values.shape[1])
    return values.masked_fill(~mask[..., None], 0.0), mask.sum(dim=1, keepdim=True).double()


POOLINGS: Registry[Callable[[Tensor, Tensor | None], Tensor]] = Registry("parameter-free pooling")
POOLINGS.add("mean", mean)
POOLINGS.add("mean_std", mean_std)


class PoolingEncoder(nn.Module):
    """A slide encoder without parameters; a `SlideEncoder`.

    Args:
        name: "mean" or "mean_std".

    Raises:
        UnknownNameError: For any other name.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self._pool = POOLINGS[name]

    def forward(
        self, features: Tensor, grid_xy: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """(B, L, D) -> (B, D) or (B, 2 D); positions play no part."""
        return self._pool(features, mask)

    @property
    def feature_dim(self) -> None:
        """Any length."""
        return None

    def embed(
        self,
        features: FeatureRows,
        coords: IntArray,
        geometry: TileGeometry,
        *,
        mask: BoolArray,
        slide_id: str = "",
    ) -> Tensor:
        """See `SlideEncoder.embed`: features are read in blocks, as they may be too many to hold.

        Returns:
            float32 (D,) or (2 D,); positions play no part.

        Raises:
            EncoderError: If there is no real tile, or a real tile has NaN or infinite features.
        """
        if not mask.any():
            raise EncoderError(
                "the slide has no real tile",
                expected="at least one tile; the embedding of nothing is undefined",
                slide=slide_id,
            )
        count = int(mask.sum())
        centre = sum(block.sum(axis=0) for block in _real_blocks(features, mask)) / count
        if not np.isfinite(centre).all():
            raise EncoderError(
                "some tiles have NaN or infinite features",
                expected="finite features",
                remedy="re-encode those tiles, or mask them out",
                slide=slide_id,
            )
        parts = [centre]
        if self.name == "mean_std":
            blocks = _real_blocks(features, mask)
            parts.append(np.sqrt(sum(((b - centre) ** 2).sum(axis=0) for b in blocks) / count))
        return torch.from_numpy(np.concatenate(parts)).float()

    def identity(self) -> Identity:
        """What made an embedding, as JSON."""
        return {"name": self.name, "version": 1, "weights": "none"}


def _real_blocks(features: FeatureRows, mask: BoolArray) -> Iterator[Float64Array]:
    """The rows of real tiles in float64, a block at a time."""
    for rows, block in row_blocks(features):
        yield block[mask[rows]].astype(np.float64)

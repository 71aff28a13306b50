"""LongNet with its weights and its recipe: what users and pipelines hold."""

import contextlib
from dataclasses import asdict
from zlib import crc32

import torch
from torch import Tensor, nn

from slidenet.attention import ATTENTION_PATTERNS
from slidenet.core.arrays import BoolArray, FeatureRows, IntArray
from slidenet.core.provenance import Identity
from slidenet.core.records import TileGeometry
from slidenet.core.window_rule import with_rule
from slidenet.slide_encoders.coords.contract import checked_grid_xy
from slidenet.slide_encoders.longnet.checkpoint import weights_digest
from slidenet.slide_encoders.longnet.model import LongNetViT
from slidenet.slide_encoders.longnet.request import SlideIds
from slidenet.slide_encoders.recipes import EmbeddingRecipe, Precision

_AUTOCAST = {"autocast-float16": torch.float16, "autocast-bfloat16": torch.bfloat16}


class LongNetEncoder(nn.Module):
    """Features and cells in, one embedding per slide out, as a named recipe says; a `SlideEncoder`.

    Args:
        name: Of the weights, for the record.
        net: The network with its weights.
        recipe: Pooling, state, frame, precision.
        precision: Replaces the recipe's; recorded.
    """

    def __init__(
        self,
        name: str,
        net: LongNetViT,
        recipe: EmbeddingRecipe,
        *,
        precision: Precision | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self.recipe = recipe
        self.precision: Precision = precision or recipe.precision
        self._digest: str | None = None
        self.net = net
        if self.precision == "float16":
            self._digest = weights_digest(net.state_dict())  # of the weights as they were loaded
            self.net = net.half()
        self.eval()

    @property
    def feature_dim(self) -> int:
        """Length of a tile feature vector."""
        return self.net.config.feature_dim

    @property
    def embedding_dim(self) -> int:
        """Length of an embedding."""
        return self.net.config.embed_dim

    def forward(
        self,
        features: Tensor,
        grid_xy: Tensor,
        mask: Tensor | None = None,
        *,
        slide_id: SlideIds | None = None,
    ) -> Tensor:
        """One embedding per slide, by the recipe.

        Args:
            features: Tile features (B, L, F).
            grid_xy: int64 (B, L, 2), cells of `recipe.grid_cells`.
            mask: Bool (B, L), True = real tile; a masked tile is as good as absent.
            slide_id: Names of the slides; ranks that are given chunks of them must pass it.

        Returns:
            float32 (B, D).

        Raises:
            EncoderError: For features or masks that do not fit, NaN features, slides without tile.
            CoordinateError: For cells beyond the lattice.
        """
        with self._casting(features):
            embedding: Tensor = self.net(
                features,
                grid_xy,
                mask,
                pooling=self.recipe.pooling,
                state=self.recipe.state,
                slide_id=slide_id,
                recipe=self.recipe.label,
            )
        return embedding.float()

    def embed(
        self,
        features: FeatureRows,
        coords: IntArray,
        geometry: TileGeometry,
        *,
        mask: BoolArray,
        slide_id: str = "",
    ) -> Tensor:
        """See `SlideEncoder.embed`; ranks that share the slide read their own tiles only.

        Raises:
            ParallelError: On all ranks, if one of them fails or is lost.
        """

        def read(start: int, stop: int) -> tuple[Tensor, Tensor, Tensor]:
            grid_xy = checked_grid_xy(
                coords,
                geometry,
                recipe=self.recipe,
                grid_size=self.net.config.grid_size,
                slide=slide_id,
            )
            device = next(self.parameters()).device
            return (
                torch.from_numpy(features[start:stop]).float().to(device)[None],
                torch.from_numpy(grid_xy[start:stop]).to(device)[None],
                torch.from_numpy(mask[start:stop]).to(device)[None],
            )

        known = {
            "slide_id": slide_id,
            "recipe": self.recipe.label,
            "shape of the features": tuple(features.shape),
            "coords (a checksum)": crc32(coords.tobytes()),
            "geometry": asdict(geometry),
        }
        inputs = self.net.token_sharding.read_tiles(mask, read, known=known)
        with torch.inference_mode():
            embedding: Tensor = self(*inputs, slide_id=slide_id or None)
        return embedding[0].cpu()

    def states(
        self,
        features: Tensor,
        grid_xy: Tensor,
        mask: Tensor | None = None,
        *,
        slide_id: SlideIds | None = None,
    ) -> list[Tensor]:
        """All states before any norm: (B, 1 + L, D) each, 0 = embeddings, i = after block i.

        Args and errors as `forward`; masked tiles are zero.
        """
        with self._casting(features):
            return self.net.states(features, grid_xy, mask, slide_id=slide_id)

    def identity(self) -> Identity:
        """What made an embedding, as JSON: name, weights, recipe, precision, attention.

        The digest of the weights is taken at the first call and kept: wrap trained weights anew.
        """
        config = self.net.config
        settings = with_rule(config.attention, config.pattern_settings(), "keys")
        if self._digest is None:
            self._digest = weights_digest(self.net.state_dict())
        return {
            "name": self.name,
            "weights": self._digest,
            "recipe": self.recipe.identity(),
            "precision": self.precision,
            "attention": config.attention,
            **ATTENTION_PATTERNS.plugin_identity(config.attention),
            "attention_settings": {k: _plain(v) for k, v in settings.items()},
        }

    def _casting(self, features: Tensor) -> contextlib.AbstractContextManager[object]:
        dtype = _AUTOCAST.get(self.precision)
        if dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(features.device.type, dtype=dtype)


def _plain(value: object) -> str | int | float | bool | list[int] | None:
    if isinstance(value, tuple):
        return [int(v) for v in value]
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)

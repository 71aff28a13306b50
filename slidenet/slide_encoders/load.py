"""`load_slide_encoder`: a name, weights and a recipe become an encoder. Never random weights."""

from pathlib import Path
from typing import Any

import torch

from slidenet.core.errors import EncoderError, MissingWeightsError
from slidenet.core.registry import Registry
from slidenet.slide_encoders.encoder import SlideEncoder
from slidenet.slide_encoders.longnet.checkpoint import from_official, read_checkpoint
from slidenet.slide_encoders.longnet.config import LONGNET_CONFIGS, LongNetConfig
from slidenet.slide_encoders.longnet.model import LongNetViT
from slidenet.slide_encoders.pooling import POOLINGS, PoolingEncoder
from slidenet.slide_encoders.recipes import RECIPES, EmbeddingRecipe, Precision
from slidenet.weights.hub import HubWeights, download

HUB_FILES = {
    "gigapath": HubWeights(
        "prov-gigapath/prov-gigapath", filenames=("slide_encoder.pth",), gated=True
    )
}
"""Published weights."""


def load_slide_encoder(
    name: str = "gigapath",
    *,
    weights: str | Path | None = None,
    recipe: str | EmbeddingRecipe = "gigapath",
    device: str | torch.device = "cpu",
    precision: Precision | None = None,
    config: LongNetConfig | None = None,
    **overrides: Any,
) -> SlideEncoder | PoolingEncoder:
    """A slide encoder in eval mode, ready to embed.

    Args:
        name: A shape of `list_slide_encoders()`; "mean" and "mean_std" need no weights.
        weights: A `slide_encoder.pth`. Without it the hub cache, then the hub, are tried.
        recipe: Name of an embedding recipe, or one of your own.
        device: Where to put it.
        precision: Replaces the recipe's precision.
        config: Replaces the shape registered under `name`.
        **overrides: Fields of the configuration to replace, or `chunk_tokens`.

    Returns:
        `encoder(features, grid_xy, mask=None)` -> (B, D) by its recipe; `encoder.states(...)`.

    Raises:
        UnknownNameError: For an unknown encoder or recipe.
        MissingWeightsError: If weights are neither given, nor cached, nor reachable.
        WeightsMismatchError: If the file does not belong to this architecture, naming the key.
        ConfigError: For overrides that do not exist.
    """
    if name in POOLINGS:
        if weights is not None:
            raise EncoderError(
                f"weights {str(weights)!r} given to the parameter-free slide embedding {name!r}",
                remedy="drop --slide-weights, or choose the slide encoder they belong to",
            )
        return PoolingEncoder(name).eval()
    if name not in LONGNET_CONFIGS:
        raise _known_names().unknown(name)
    chosen = RECIPES[recipe] if isinstance(recipe, str) else recipe
    with torch.device("meta"):
        net = LongNetViT(config or LONGNET_CONFIGS[name], **overrides)
    path = Path(weights) if weights is not None else _published_weights(name)
    shapes = {key: value.shape for key, value in net.state_dict().items()}
    state = from_official(read_checkpoint(path), shapes, source=str(path))
    net.load_state_dict(state, strict=True, assign=True)
    return SlideEncoder(name, net, chosen, precision=precision).to(device)


def list_slide_encoders() -> list[str]:
    """Names `load_slide_encoder` takes."""
    return list(_known_names())


def _known_names() -> Registry[str]:
    names: Registry[str] = Registry("slide encoder")
    for name in (*LONGNET_CONFIGS, *POOLINGS):
        names.add(name, name)
    return names


def _published_weights(name: str) -> Path:
    """Path of the published weights: the hub cache, else a download."""
    if name not in HUB_FILES:
        raise MissingWeightsError(
            f"no weights given for {name!r}, and none are published",
            expected="weights=PATH of a checkpoint of this shape",
            remedy="give --slide-weights FILE, or use 'mean' or 'mean_std', which need none",
        )
    return download(
        HUB_FILES[name],
        name=name,
        flag="--slide-weights (weights=PATH)",
        also="'mean' and 'mean_std' need no weights",
    )

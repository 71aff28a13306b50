"""`load_slide_encoder`: a name, weights and a recipe become an encoder. Never random weights."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from slidenet.core.errors import EncoderError, MissingWeightsError, PluginError
from slidenet.core.registry import Registry
from slidenet.slide_encoders.encoder import LongNetEncoder
from slidenet.slide_encoders.longnet.checkpoint import from_official, read_checkpoint
from slidenet.slide_encoders.longnet.config import LONGNET_CONFIGS, LongNetConfig
from slidenet.slide_encoders.longnet.model import LongNetViT
from slidenet.slide_encoders.pooling import POOLINGS, PoolingEncoder
from slidenet.slide_encoders.protocol import SlideEncoder
from slidenet.slide_encoders.recipes import RECIPES, EmbeddingRecipe, Precision
from slidenet.weights.hub import HubWeights, download

HUB_FILES = {
    "gigapath": HubWeights(
        "prov-gigapath/prov-gigapath", filenames=("slide_encoder.pth",), gated=True
    )
}
"""Published weights."""

SLIDE_ENCODERS: Registry[Callable[..., SlideEncoder]] = Registry(
    "slide encoder",
    group="slidenet.slide_encoders",
    expected="a class or a function that gives a slidenet.slide_encoders.SlideEncoder",
)
"""Name to what makes the encoder, called with `weights`, `device` and the settings given."""


def load_slide_encoder(
    name: str = "gigapath",
    *,
    weights: str | Path | None = None,
    recipe: str | EmbeddingRecipe | None = None,
    device: str | torch.device = "cpu",
    precision: Precision | None = None,
    config: LongNetConfig | None = None,
    **settings: Any,
) -> SlideEncoder:
    """A slide encoder in eval mode, ready to embed.

    Args:
        name: A shape of `list_slide_encoders()`; "mean" and "mean_std" need no weights. Or a slide
            encoder of another package: its entry point in `slidenet.slide_encoders`, or
            `package.module.Class`.
        weights: A `slide_encoder.pth`. Without it the hub cache, then the hub, are tried.
        recipe: Name of an embedding recipe, or one of your own; "gigapath" by default.
        device: Where to put it.
        precision: Replaces the recipe's precision.
        config: Replaces the shape registered under `name`.
        **settings: Fields of the configuration to replace, or `chunk_tokens`; settings of a slide
            encoder of another package.

    Returns:
        A `SlideEncoder`: `encoder.embed(features, coords, geometry, mask=...)` -> (E,). Those of
        slidenet also take batches: `encoder(features, grid_xy, mask=None)` -> (B, E).

    Raises:
        UnknownNameError: For an unknown encoder or recipe.
        MissingWeightsError: If weights are neither given, nor cached, nor reachable.
        WeightsMismatchError: If the file does not belong to this architecture, naming the key.
        ConfigError: For settings that do not exist.
        PluginError: For a slide encoder of another package that cannot be loaded, or is none.
    """
    known = {"recipe": recipe, "precision": precision, "config": config}
    given = {key: value for key, value in known.items() if value is not None}
    encoder: object = SLIDE_ENCODERS[name](weights=weights, device=device, **given, **settings)
    if not isinstance(encoder, SlideEncoder):
        raise PluginError(
            f"{name} gives a {type(encoder).__name__}, which is no slide encoder",
            expected="name, feature_dim, embed() and identity(), as the protocol "
            "slidenet.slide_encoders.SlideEncoder says",
        )
    return encoder


def list_slide_encoders() -> list[str]:
    """Names of slidenet's own that `load_slide_encoder` takes."""
    return list(SLIDE_ENCODERS)


def load_longnet(
    name: str,
    *,
    weights: str | Path | None = None,
    recipe: str | EmbeddingRecipe = "gigapath",
    device: str | torch.device = "cpu",
    precision: Precision | None = None,
    config: LongNetConfig | None = None,
    **overrides: Any,
) -> LongNetEncoder:
    """`load_slide_encoder` for a shape in `LONGNET_CONFIGS`; arguments and errors as there."""
    chosen = RECIPES[recipe] if isinstance(recipe, str) else recipe
    with torch.device("meta"):
        net = LongNetViT(config or LONGNET_CONFIGS[name], **overrides)
    path = Path(weights) if weights is not None else _published_weights(name)
    shapes = {key: value.shape for key, value in net.state_dict().items()}
    state = from_official(read_checkpoint(path), shapes, source=str(path))
    net.load_state_dict(state, strict=True, assign=True)
    return LongNetEncoder(name, net, chosen, precision=precision).to(device)


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


def _pooling(
    name: str, *, weights: object = None, device: object = "cpu", **settings: object
) -> PoolingEncoder:
    if weights is not None:
        raise EncoderError(
            f"weights {str(weights)!r} given to the parameter-free slide embedding {name!r}",
            remedy="drop --slide-weights, or choose the slide encoder they belong to",
        )
    if settings:
        raise EncoderError(
            f"{', '.join(settings)} given to the parameter-free slide embedding {name!r}",
            expected="no settings",
        )
    return PoolingEncoder(name).eval()


for _name in LONGNET_CONFIGS:
    SLIDE_ENCODERS.add(_name, partial(load_longnet, _name))
for _name in POOLINGS:
    SLIDE_ENCODERS.add(_name, partial(_pooling, _name))

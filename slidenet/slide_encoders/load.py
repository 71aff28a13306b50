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

HUB_FILES = {"gigapath": ("prov-gigapath/prov-gigapath", "slide_encoder.pth")}
"""Published weights: hub repository and file. The repository is gated."""


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
    # Imported here: every other use of this room works without it and without its start-up time.
    import huggingface_hub
    from huggingface_hub import errors

    repository, file = HUB_FILES[name]
    # Which HTTP client the hub uses depends on its version; its errors are the parent's here.
    http_error: type[Exception] = errors.HfHubHTTPError.__bases__[0]
    try:
        return Path(huggingface_hub.hf_hub_download(repository, file))
    except errors.GatedRepoError as error:
        remedy = (
            f"ask for access at huggingface.co/{repository}, then run `hf auth login`; or give "
            "--slide-weights FILE"
        )
        raise MissingWeightsError(
            f"access to the weights of {name!r} is not granted to you", remedy=remedy
        ) from error
    except (OSError, http_error) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise MissingWeightsError(
            f"the weights of {name!r} ({repository}/{file}) are neither given, nor in the hub "
            f"cache, nor reachable ({reason})",
            remedy="give --slide-weights FILE (weights=PATH), or download them where there is a "
            f"network: `hf download {repository} {file}`; 'mean' and 'mean_std' need no weights",
        ) from error

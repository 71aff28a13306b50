"""What ranks that share slides must have in common in a forward, by the names users type.

Whole slides are compared by digests. Chunks differ by intention, so they are known by the
`slide_id` that every rank passes.
"""

from collections.abc import Iterable, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from slidenet.core.errors import ParallelError
from slidenet.parallel.agreement import Fact
from slidenet.parallel.digests import WeightDigests, digest
from slidenet.slide_encoders import LongNetViT
from slidenet.slide_encoders.longnet.block import LongNetBlock
from slidenet.slide_encoders.longnet.request import ForwardRequest

Inputs = Literal["whole", "chunk"]

HELD = ("p", "eps", "drop_path", "num_heads", "grid_size", "number")
"""Attributes of modules that decide outputs and may be set after building."""

SHAPE = ("number of slides", "tiles per slide (padding included)")
SAME_SLIDES = (
    "give every rank of a sequence group the same slides in the same order; a sampler goes by the "
    "data rank, not by the rank"
)
SAME_CELLS = "work out the cells on every rank from the same coordinates, in the same way"
SAME_NAMES = f"{SAME_SLIDES}; pass their slide_id on every rank"
SAME_MODEL = "build the model from the same settings on every rank"
SAME_VALUES = "set what you change in a built model on every rank"
SAME_WEIGHTS = (
    "load weights on every rank, or before apply_sequence_parallel, which makes them equal"
)
SAME_CALL = "call the encoder with the same arguments on every rank"
SAME_PRECISION = "use the same precision on every rank"


def forward_facts(
    encoder: LongNetViT,
    request: ForwardRequest,
    inputs: Inputs,
    features: Tensor,
    grid_xy: Tensor,
    mask: Tensor | None,
    weights: WeightDigests,
) -> dict[str, Fact]:
    """All of them, for inputs that have been checked.

    Args:
        encoder: The slide encoder.
        request: What it is asked for.
        inputs: Whether the tensors hold whole slides or this rank's chunks.
        features: (B, L, F).
        grid_xy: (B, L, 2).
        mask: Bool (B, L), or None.
        weights: Those of earlier forwards.

    Raises:
        ParallelError: If there is not one `slide_id` for each slide.
    """
    facts = {
        "method": Fact(request.method, SAME_CALL),
        "recipe": Fact(request.recipe, "give every rank the same recipe"),
        "pooling": Fact(request.pooling, SAME_CALL),
        "state": Fact(request.state, SAME_CALL),
        "layers": Fact(request.wanted_layers(), SAME_CALL),
        "slide_id": Fact(slide_ids(request, len(features)), SAME_NAMES),
        SHAPE[0]: Fact(len(features), SAME_SLIDES),
    }
    if inputs == "whole":
        facts |= _content(features, grid_xy, mask)
    facts |= _precision(encoder, features) | _mode(encoder, features)
    # In training they change with every step, so `WeightDigests.changes` says when to compare.
    found = 0 if torch.is_grad_enabled() else weights.of(encoder)
    facts["weights"] = Fact(
        found, SAME_WEIGHTS, "", ("config", "gradients", "dtype of the weights")
    )
    return facts


def slide_ids(request: ForwardRequest, num_slides: int) -> tuple[str, ...] | None:
    """One name for each slide of the batch, or None where none was passed.

    Raises:
        ParallelError: If they are not as many as the slides.
    """
    given = request.slide_id
    if given is None:
        return None
    names = (given,) if isinstance(given, str) else tuple(str(name) for name in given)
    if len(names) != num_slides:
        raise ParallelError(
            f"{len(names)} names in slide_id for {num_slides} slides",
            expected="one for each slide of the batch",
        )
    return names


def _content(features: Tensor, grid_xy: Tensor, mask: Tensor | None) -> dict[str, Fact]:
    """What whole slides hold at their real tiles."""
    gaps = None if mask is None or bool(mask.all()) else mask
    digests = [digest(features, gaps), digest(grid_xy, gaps)]
    if gaps is not None:
        digests.append(digest(gaps))
    found = torch.stack(digests).tolist()
    return {
        SHAPE[1]: Fact(features.shape[1], SAME_SLIDES),
        "mask": Fact(found[2] if gaps is not None else 0, SAME_SLIDES, "", SHAPE),
        "features": Fact(found[0], SAME_SLIDES, "", (*SHAPE, "mask", "features.dtype")),
        "grid_xy": Fact(found[1], SAME_CELLS, "", (*SHAPE, "mask")),
    }


def _precision(encoder: LongNetViT, features: Tensor) -> dict[str, Fact]:
    kind = features.device.type
    cast = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else "off"
    return {
        "features.dtype": Fact(features.dtype, SAME_PRECISION),
        "features.device": Fact(kind, "move features and model to the same kind of device"),
        "dtype of the weights": Fact(encoder.tile_embed.weight.dtype, SAME_PRECISION),
        "autocast": Fact(cast, "enter torch.autocast on every rank, or on none", str(cast)),
    }


def _mode(encoder: LongNetViT, features: Tensor) -> dict[str, Fact]:
    """Settings of the model, and whether it trains."""
    recorded = torch.is_grad_enabled()
    modules = dict(encoder.named_modules())
    modes = [module.training for module in modules.values()]
    trained = [p.requires_grad for p in encoder.parameters()] if recorded else []
    wanted = recorded and features.requires_grad
    gradients = f"recorded for {_share(trained, 'parameters')}" if recorded else "off"
    return {
        "config": Fact(model_settings(encoder), SAME_MODEL),
        "encoder": Fact(held_values(encoder, modules), SAME_VALUES, given=("config",)),
        "train mode": Fact(
            modes,
            "call model.train() or model.eval() on every rank",
            f"{'on' if encoder.training else 'off'} ({_share(modes, 'modules')} train)",
        ),
        "gradients": Fact(
            (trained, wanted),
            "enter torch.no_grad or inference_mode on every rank or on none, and freeze the same "
            "parameters; a rank without gradients leaves the others waiting in the backward",
            gradients + (" and features" if wanted else ""),
        ),
        "checkpoint_activations": Fact(recorded and encoder.checkpoint_activations, SAME_MODEL),
    }


def model_settings(encoder: LongNetViT) -> dict[str, object]:
    """Of the encoder; the pattern's own, too, which may have been given as an object."""
    return vars(encoder.config) | {"pattern": getattr(encoder.pattern, "config", None)}


def held_values(encoder: LongNetViT, modules: Mapping[str, nn.Module]) -> dict[str, object]:
    """What modules hold now, by path; config says what they were built with."""
    found: dict[str, object] = {}
    pattern = encoder.pattern
    settings = getattr(pattern, "config", None)
    for path, module in modules.items():
        values = vars(module)  # modules look up what they lack at length
        for name in HELD:
            if name in values:
                found[f"{path}.{name}"] = values[name]
        own = values.get("pattern", pattern)
        if own is not pattern and (other := getattr(own, "config", own.name)) != settings:
            found[f"{path}.pattern"] = other
    return found


def draws(encoder: LongNetViT) -> bool:
    """Whether a forward may draw random numbers, by what was asked for and what modules hold."""
    config = encoder.config
    if encoder.training and (config.dropout or config.drop_path):
        return True
    modules = [encoder.dropout]
    for block in encoder.blocks:
        assert isinstance(block, LongNetBlock)
        if block.training and block.drop_path:
            return True
        modules.append(block.dropout)
    return any(module.training and getattr(module, "p", 0) for module in modules)


def _share(flags: Iterable[bool], noun: str) -> str:
    flags = list(flags)
    return f"{sum(flags)} of {len(flags)} {noun}"

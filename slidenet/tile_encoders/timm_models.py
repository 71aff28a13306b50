"""Any timm model as a tile encoder, by the name `timm/<architecture>[.<tag>]`."""

import difflib
import math
from dataclasses import replace
from typing import cast, get_args

import timm
from timm.models import PretrainedCfg

from slidenet.core.errors import EncoderError, UnknownNameError
from slidenet.tile_encoders.architecture import build_module, output_dim_of
from slidenet.tile_encoders.spec import InputTransform, Interpolation, TileEncoderSpec, TimmWeights


def timm_spec(architecture: str) -> TileEncoderSpec:
    """The spec of a timm model, its preprocessing taken from timm's own configuration.

    Raises:
        UnknownNameError: timm has no such model or tag.
        EncoderError: The model does not take RGB squares or resampling slidenet offers.
    """
    config = _config(architecture)
    size, interpolations = config.input_size, get_args(Interpolation)
    if size[0] != 3 or size[1] != size[2] or config.interpolation not in interpolations:
        raise EncoderError(
            f"timm model {architecture!r} takes {size} resized by {config.interpolation!r}",
            expected="square RGB inputs and bilinear or bicubic resizing",
            remedy="wrap it yourself and use TileEncoder.from_module",
        )
    transform = InputTransform(
        input_px=size[1],
        resize_px=max(size[1], math.floor(size[1] / config.crop_pct)),
        interpolation=cast(Interpolation, config.interpolation),
        mean=cast(tuple[float, float, float], tuple(config.mean)),
        std=cast(tuple[float, float, float], tuple(config.std)),
    )
    spec = TileEncoderSpec(
        name=f"timm/{architecture}",
        architecture=architecture,
        weights=TimmWeights(config.hf_hub_id or ""),
        transform=transform,
        output_dim=0,
        pooling="model",
        precision="fp32",
        licence=config.license or "see timm",
        citation=f"timm/{architecture}",
    )
    module = build_module(spec, device="cpu")  # "meta" is not enough for every architecture
    return replace(spec, output_dim=output_dim_of(module, transform.input_px, "model", "cpu"))


def _config(architecture: str) -> PretrainedCfg:
    base, _, tag = architecture.partition(".")
    if not timm.is_model(base):
        near = difflib.get_close_matches(base, timm.list_models(), n=4, cutoff=0.4)
        raise UnknownNameError(
            f"timm {timm.__version__} has no model {base!r}",
            remedy=f"did you mean {' or '.join(f'timm/{n}' for n in near)}?" if near else "",
        )
    tags = [n.partition(".")[2] for n in timm.list_pretrained(f"{base}.*")]
    if tag and tag not in tags:
        raise UnknownNameError(
            f"timm {timm.__version__} has no weights tagged {tag!r} for {base!r}",
            expected=f"one of {', '.join(tags)}" if tags else "",
        )
    config = timm.get_pretrained_cfg(architecture)
    assert config is not None, f"timm lists {architecture} without a configuration"
    return config

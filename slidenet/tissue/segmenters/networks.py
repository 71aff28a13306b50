"""Segmentation networks of the user's own: made, given their weights, and told apart by digests."""

import functools
import hashlib
import json
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from slidenet.core.errors import ConfigError, PluginError, WeightsMismatchError
from slidenet.core.registry import Registry
from slidenet.weights import digest_of_state, read_tensor_file, resolve_device

if TYPE_CHECKING:
    from torch import nn

NETWORKS: Registry[Callable[..., Any]] = Registry(
    "segmentation network",
    group="slidenet.segmentation_networks",
    expected="a torch.nn.Module class, or a function that makes one",
)
"""Networks for `ModelSegmenter`; slidenet has none of its own."""

_CHUNK_BYTES = 2**20


@functools.lru_cache(maxsize=2)
def load_network(
    path: Path,
    version: tuple[int, int],
    kind: str | None,
    class_settings: str,
    device: str,
    allow_code: bool,
) -> tuple["nn.Module", str]:
    """The network in eval mode and the digest of its weights.

    Args:
        path: The file of weights.
        version: Its size and time of change: another file is loaded anew.
        kind: Name of the class; None for an archive.
        class_settings: Arguments of the class, as JSON.
        device: Where it runs.
        allow_code: Whether an archive may be run.

    Raises:
        ConfigError: A class for an archive, or none for tensors.
        WeightsMismatchError: The file is broken, something else, or does not fit the class.
        PluginError: The class cannot be loaded or made, or the archive may not be run.
    """
    import torch

    where = resolve_device(device)
    if kind is None:
        return _load_archive(path, where, allow_code=allow_code)
    if _is_archive(path):
        raise ConfigError(
            f"{path} is a TorchScript archive, which brings its own code",
            expected="no segmenter_class beside it, or a file of tensors alone",
        )
    state = read_tensor_file(path, what="weights file")
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise WeightsMismatchError(
            f"{path} holds a {type(state).__name__}, which is no mapping of names to tensors",
            expected="the state dict of the network",
        )
    made = NETWORKS[kind]
    try:
        network = made(**json.loads(class_settings))
    except (TypeError, ValueError, RuntimeError) as error:
        raise PluginError(
            f"{kind} cannot be made with {class_settings} ({error})",
            expected="arguments it takes",
            remedy="give them as class_settings in --segmenter-settings",
        ) from error
    if not isinstance(network, torch.nn.Module):
        raise PluginError(f"{kind} makes a {type(network).__name__}", expected="a torch.nn.Module")
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsMismatchError(
            f"{path} does not fit {kind}: {shorten(str(error), 300, placeholder=' ...')}",
            expected="the weights of this class, all of them and no others",
            remedy="make the class as it was trained (class_settings in --segmenter-settings), or "
            "give the weights that belong to it",
        ) from error
    return network.float().eval().to(where), digest_of_state(state)


def _is_archive(path: Path) -> bool:
    """Whether a file is a TorchScript archive: a zip with code in it."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:  # what else it may be is seen when it is read
        return False
    return any("/code/" in name or name.endswith("constants.pkl") for name in names)


def _load_archive(path: Path, device: Any, *, allow_code: bool) -> tuple["nn.Module", str]:
    import torch

    if not _is_archive(path):
        raise ConfigError(
            f"segmenter_weights is {path}, and no segmenter_class is given",
            expected="the class its tensors belong to, or a TorchScript archive",
            remedy="pass --segmenter-class package.module:Class",
        )
    if not allow_code:
        raise PluginError(
            f"{path} is a TorchScript archive, which is a program",
            expected="a file of tensors alone with its class, or leave to run it",
            remedy="give --allow-code if you trust where it comes from, or save the state dict as "
            "safetensors and pass --segmenter-class",
        )
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    try:
        with warnings.catch_warnings():  # archives will be around for longer than torch.jit
            warnings.simplefilter("ignore", FutureWarning)
            network = torch.jit.load(str(path), map_location=device)  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        raise WeightsMismatchError(
            f"{path} cannot be loaded as TorchScript ({str(error).splitlines()[0]})",
            expected="an archive of torch.jit.save",
        ) from error
    return network.eval(), digest.hexdigest()

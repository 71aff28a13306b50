"""A trained `SlideClassifier` from its Lightning checkpoint, refused where it does not fit."""

import os
from collections.abc import Mapping
from typing import Any

import torch

from slidenet.core.errors import StoreError
from slidenet.mil.registry import require_own
from slidenet.tasks import Task
from slidenet.training.checkpoints import check_same_model
from slidenet.training.module import SlideClassifier
from slidenet.weights.files import read_tensor_file

CHECKPOINT = "checkpoint of a slide classifier"


def load_classifier(
    path: str | os.PathLike[str],
    *,
    task: Task | None = None,
    feature_dim: int | None = None,
    allow_code: bool = False,
) -> SlideClassifier:
    """The classifier of a checkpoint, in eval mode on the CPU.

    Args:
        path: A `.ckpt` written during training.
        task: What it must predict; not checked where None.
        feature_dim: Length of the features it must take; not checked where None.
        allow_code: Whether the file may name code outside slidenet.

    Raises:
        PluginError: If it names code outside slidenet, and `allow_code` is False.
        StoreError: If there is no such file, or it is no checkpoint of a slide classifier.
        ConfigError: If it was trained for another task or feature length, naming file and both.
    """
    content = read_torch_file(path, what=CHECKPOINT)
    settings = content.get("hyper_parameters")
    if not isinstance(settings, dict) or not {"task", "feature_dim", "network"} <= set(settings):
        raise StoreError(
            f"{path} is no checkpoint of a slide classifier",
            expected="a best.ckpt or last.ckpt of `slidenet train`",
        )
    wanted: dict[str, Any] = {} if task is None else {"task": task.identity()}
    if feature_dim is not None:
        wanted["feature_dim"] = feature_dim
    check_same_model(str(path), settings, wanted)
    module = make_classifier(settings, source=str(path), allow_code=allow_code)
    fill(module, content["state_dict"], source=str(path))
    return module.eval()


def make_classifier(
    settings: Mapping[str, Any], *, source: str, allow_code: bool
) -> SlideClassifier:
    """The classifier that a file describes, without its weights.

    Raises:
        PluginError: If the file names code outside slidenet, and `allow_code` is False.
    """
    network = settings.get("network_settings") or {}
    require_own(settings["network"], network, source=source, allow_code=allow_code)
    return SlideClassifier(**settings)


def load_weights(module: SlideClassifier, path: str | os.PathLike[str]) -> SlideClassifier:
    """Loads the weights of a checkpoint of the same model; it ends in eval mode on the CPU.

    Raises:
        StoreError: If there is no such file, or it holds other weights.
    """
    module = module.cpu()
    fill(module, read_torch_file(path, what=CHECKPOINT)["state_dict"], source=str(path))
    return module.eval()


def read_torch_file(path: str | os.PathLike[str], *, what: str) -> dict[str, Any]:
    """The dict in a file of `torch.save`, unpickled without running code.

    Raises:
        StoreError: If there is no such file, or something else is in it.
    """
    content = read_tensor_file(
        path,
        what=what,
        error=StoreError,
        missing=StoreError,
        remedy="copy the file again, or make it again",
    )
    if not isinstance(content, dict):
        raise StoreError(f"{path} holds a {type(content).__name__}", expected=f"a {what}")
    return content


def fill(module: SlideClassifier, state: Mapping[str, torch.Tensor], *, source: str) -> None:
    """Loads the weights, all of them.

    Raises:
        StoreError: Naming the file, if a weight is missing, unknown or of another shape.
    """
    try:
        module.load_state_dict(state, strict=True)
    except RuntimeError as error:
        reason = "; ".join(line.strip() for line in str(error).splitlines()[1:3])
        raise StoreError(
            f"{source} does not hold the weights its settings describe ({reason})",
            remedy="train again, or use the version of slidenet that made it",
        ) from error

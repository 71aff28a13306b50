"""Classifiers out of files that may come from anybody: settings and weights, checked before use.

A file says how large its model is, and what its weights are. The model is first made without memory
(on torch's device "meta") and compared with the weights that the file holds, so that no more memory
is taken than the file explains.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from slidenet.core.errors import ConfigError, StoreError, UnknownNameError
from slidenet.core.json_text import parse_json
from slidenet.core.text import name_some
from slidenet.mil.registry import BAG_MODELS, plugin_identity, require_own, settings_with_rule
from slidenet.tasks import Task
from slidenet.training.bundles.checkpoints import check_same_model
from slidenet.training.module import SlideClassifier
from slidenet.weights.files import read_tensor_file

CHECKPOINT = "checkpoint of a slide classifier"

_REMEDY = "copy or make the file again, or use the version of slidenet that made it"

MAX_TEXT_BYTES = 16 << 20
"""Of what a file of models says in words and numbers beside its weights."""

SLACK = 64
"""Parameters that a network may make beyond those it keeps (some are replaced while it is made)."""


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
    state = content.get("state_dict")
    return restore(settings, state, source=str(path), allow_code=allow_code)


def load_weights(module: SlideClassifier, path: str | os.PathLike[str]) -> SlideClassifier:
    """Loads the weights of a checkpoint of the same model; it ends in eval mode on the CPU.

    Raises:
        StoreError: If there is no such file, or it holds other weights.
    """
    module = module.cpu()
    state = read_torch_file(path, what=CHECKPOINT).get("state_dict")
    _fill(module, check_weights(state, source=str(path)), source=str(path))
    return module.eval()


def restore(
    settings: object,
    state: object,
    *,
    source: str,
    allow_code: bool,
) -> SlideClassifier:
    """The classifier that a file describes, with its weights, in eval mode.

    Args:
        settings: Arguments of `SlideClassifier`.
        state: Its weights by name.
        source: The file, for messages.
        allow_code: Whether the settings may name code outside slidenet.

    Raises:
        PluginError: If the file names code outside slidenet, and `allow_code` is False.
        StoreError: If the settings describe no model, or the weights are not those of the settings.
    """
    weights = check_weights(state, source=source)
    with malformed_explained(source):
        if not isinstance(settings, Mapping):
            raise TypeError(f"the settings are a {type(settings).__name__}")
        network = settings.get("network_settings") or {}
        require_own(settings["network"], network, source=source, allow_code=allow_code)
        network = settings_with_rule(settings["network"], network, "half")
        # Files that do not say how features are scaled are older than the setting.
        settings = {"feature_scaling": "none", **settings, "network_settings": network}
        if settings["network"] in BAG_MODELS and not plugin_identity(settings["network"], network):
            _check_shapes(_outline(settings, weights, source), weights, source)
        module = SlideClassifier(**settings)
    _fill(module, weights, source=source)
    for name, parameter in module.named_parameters():
        if not bool(parameter.isfinite().all()):
            raise StoreError(
                f"{source} holds an infinite number in the weight {name}",
                expected="finite numbers",
                remedy="train again, with a lower learning rate; or copy the file again",
            )
    return module.eval()


def read_torch_file(
    path: str | os.PathLike[str],
    *,
    what: str,
    remedy: str = "copy the file again, or make it again",
) -> dict[str, Any]:
    """The dict in a file of slidenet or Lightning, unpickled without running code.

    Args:
        path: The file.
        what: What it should be, for messages.
        remedy: For messages, where the file does not tell what went wrong.

    Raises:
        StoreError: If there is no such file, or something else is in it.
    """
    content = read_tensor_file(
        path,
        what=what,
        error=StoreError,
        missing=StoreError,
        remedy=remedy,
        plain=True,
    )
    if not isinstance(content, dict):
        raise StoreError(f"{path} holds a {type(content).__name__}", expected=f"a {what}")
    return content


@dataclass(frozen=True)
class Entries:
    """What a file of trained models holds, and nothing beside.

    Attributes:
        format: What it calls itself.
        version: The one this version of slidenet reads.
        file: Entries of the file beside `format`, `version` and `content`, its text.
        optional_file: Further ones that may be there.
        content: Entries of the text.
        optional_content: Further ones that newer files may have.
        by_name: Entries of the text that are mappings.
    """

    format: str
    version: int
    file: tuple[str, ...]
    optional_file: tuple[str, ...]
    content: tuple[str, ...]
    optional_content: tuple[str, ...]
    by_name: tuple[str, ...]


def read_content(file: Mapping[str, Any], entries: Entries, *, source: str) -> dict[str, Any]:
    """The text of a file of trained models, with every entry of its kind and none beside them.

    Raises:
        StoreError: Of another version; or naming the entry that is missing, unknown or malformed.
    """
    version = file.get("version")
    if type(version) is not int or version != entries.version:
        raise StoreError(
            f"{source} is a {entries.format} of version {str(version)[:40]}",
            expected=f"version {entries.version}",
            remedy="install the version of slidenet that made it, or a newer one",
        )
    content: dict[str, Any] = {}
    missing = [key for key in ("content", *entries.file) if key not in file]
    if not missing:
        with malformed_explained(source):
            if not isinstance(file["content"], str):
                raise TypeError(f"its text is a {type(file['content']).__name__}")
            found = parse_json(file["content"], max_bytes=MAX_TEXT_BYTES)
            if not isinstance(found, dict):
                raise TypeError(f"its text holds a {type(found).__name__}")
            content = found
        missing = [key for key in entries.content if key not in content]
    if missing:
        raise StoreError(
            f"{source} lacks {', '.join(missing)}",
            expected=f"a whole {entries.format}",
            remedy="copy or make the file again",
        )
    outer = ("format", "version", "content", *entries.file, *entries.optional_file)
    inner = (*entries.content, *entries.optional_content)
    unknown = [str(key) for key in file if key not in outer]
    unknown += [key for key in content if key not in inner]
    if unknown:
        raise StoreError(
            f"{source} holds {name_some(unknown)}, which this version of slidenet does not know",
            expected=f"entries among {', '.join(inner)}",
            remedy="install the version of slidenet that made it, or a newer one",
        )
    with malformed_explained(source):
        for key in entries.by_name:
            if not isinstance(content[key], dict):
                raise TypeError(f"{key} is a {type(content[key]).__name__}")
    return content


def check_weights(state: object, *, source: str) -> dict[str, Tensor]:
    """The weights in a file, once each is a whole tensor of numbers.

    Raises:
        StoreError: Naming the file and the weight.
    """
    if not isinstance(state, Mapping):
        raise StoreError(
            f"{source} holds weights of the type {type(state).__name__}",
            expected="tensors by name",
            remedy="copy or make the file again",
        )
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            wrong = "no text as the name" if not isinstance(name, str) else f"no tensor {name!r}"
            raise StoreError(f"{source} holds {wrong} of a weight", expected="tensors by name")
        stored = value.layout == torch.strided and value.device.type == "cpu"
        if not stored or value.untyped_storage().nbytes() < value.numel() * value.element_size():
            raise StoreError(
                f"{source} does not hold the whole weight {name}",
                expected=f"as many numbers as its shape {tuple(value.shape)} says",
                remedy="copy or make the file again",
            )
        if value.is_floating_point() and bool(value.isnan().any()):
            raise StoreError(
                f"{source} holds NaN in the weight {name}",
                expected="numbers",
                remedy="train again, with a lower learning rate; or copy the file again",
            )
    return dict(state)


@contextmanager
def malformed_explained(source: str) -> Iterator[None]:
    """Values of another shape than slidenet writes, in whatever way they fail, as one error."""
    try:
        yield
    except (ConfigError, UnknownNameError) as error:
        raise StoreError(
            f"{source} does not describe a model ({error.found[:300]})",
            expected=error.expected[:300],
            remedy=error.remedy or _REMEDY,
        ) from error
    except (
        *(KeyError, IndexError, TypeError, ValueError, AttributeError, AssertionError),
        *(ArithmeticError, RecursionError, RuntimeError, MemoryError),
    ) as error:
        # A quarter of a line is enough: what torch says of a shape may be longer than the file.
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise StoreError(
            f"{source} does not describe a model ({reason})",
            expected="the settings that slidenet writes there",
            remedy=_REMEDY,
        ) from error


def _outline(
    settings: Mapping[str, Any], weights: Mapping[str, Tensor], source: str
) -> SlideClassifier:
    """The model without memory for its numbers, made no further than its file can fill.

    Raises:
        StoreError: The settings ask for more parameters than the file holds.
    """
    most = 2 * len(weights) + SLACK
    largest = 2 * sum(value.numel() for value in weights.values()) + SLACK
    made = numbers = 0

    def count(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal made, numbers
        made += 1
        numbers += 0 if parameter is None else parameter.numel()
        if made > most or numbers > largest:
            held = sum(value.numel() for value in weights.values())
            raise _other_weights(
                source, f"they ask for more than its {len(weights)} weights of {held:,} numbers"
            )

    handle = register_module_parameter_registration_hook(count)
    try:
        with torch.device("meta"):
            return SlideClassifier(**settings)
    finally:
        handle.remove()


def _check_shapes(outline: SlideClassifier, weights: Mapping[str, Tensor], source: str) -> None:
    wanted = outline.state_dict()
    missing = [name for name in wanted if name not in weights]
    unknown = [name for name in weights if name not in wanted]
    reasons = [f"it lacks {name_some(missing)}"] if missing else []
    reasons += [f"it has {name_some(unknown)} besides"] if unknown else []
    for name, value in weights.items():
        if name in wanted and value.shape != wanted[name].shape:
            asked = tuple(wanted[name].shape)
            reasons.append(f"{name} is {tuple(value.shape)}, the settings ask for {asked}")
        elif name in wanted and value.is_floating_point() != wanted[name].is_floating_point():
            reasons.append(f"{name} is {value.dtype}, the settings ask for {wanted[name].dtype}")
    if reasons:
        raise _other_weights(source, "; ".join(reasons[:2]))


def _fill(module: SlideClassifier, weights: Mapping[str, Tensor], *, source: str) -> None:
    """Loads the weights, all of them.

    Raises:
        StoreError: Naming the file, if a weight is missing, unknown or of another shape.
    """
    try:
        module.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        reason = "; ".join(line.strip() for line in str(error).splitlines()[1:3])
        raise _other_weights(source, reason) from error


def _other_weights(source: str, reason: str) -> StoreError:
    return StoreError(
        f"{source} does not hold the weights its settings describe ({reason})",
        remedy="train again, or use the version of slidenet that made it",
    )

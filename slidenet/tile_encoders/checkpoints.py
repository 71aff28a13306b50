"""State dicts of encoders out of any checkpoint: unwrapping, renaming, strict loading."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from slidenet.core.errors import WeightsMismatchError
from slidenet.core.text import name_some
from slidenet.tile_encoders.layouts import State, to_timm_layout
from slidenet.weights.files import read_tensor_file

if TYPE_CHECKING:
    from torch import Tensor, nn

WRAPPERS = ("teacher", "state_dict", "model")
"""Entries of a training checkpoint that hold the weights, in order of preference."""

PREFIXES = ("module.", "model.", "backbone.", "vit.", "dinov2.")
"""Prefixes that wrapping modules leave on every name; stripped, outermost first."""

TRAINING_HEADS = ("dino_head.", "ibot_head.", "head.")
"""Projection heads beside a backbone; dropped with its prefix."""


def load_weights(module: "nn.Module", path: Path, *, name: str) -> tuple[str, ...]:
    """Loads a file strictly into a module, whatever layout and wrapping it comes in.

    Float tensors become float32. Tensors are assigned, not copied, so the module may lie on the
    meta device.

    Args:
        module: The module without weights.
        path: `.safetensors`, or anything `torch.load(weights_only=True)` reads.
        name: Name of the encoder, for messages.

    Returns:
        What was done to the content of the file to fit.

    Raises:
        MissingWeightsError: There is no such file.
        WeightsMismatchError: It cannot be read, or does not belong to this architecture.
    """
    state, steps = unwrap(read_tensor_file(path, what="weights file"), path)
    state, layout = to_timm_layout(state, module)
    wanted = module.state_dict()
    # timm's checkpoints carry a classifier; encoders are built without one.
    named = (getattr(module, "pretrained_cfg", None) or {}).get("classifier") or ()
    classifiers = tuple(f"{n}." for n in ((named,) if isinstance(named, str) else named))
    state = {k: v for k, v in state.items() if k in wanted or not k.startswith(classifiers)}
    _check_match(state, wanted, path=path, name=name)
    state = {k: v.float() if v.is_floating_point() else v for k, v in state.items()}
    module.load_state_dict(state, strict=True, assign=True)
    return (*steps, f"{layout} names")


def unwrap(content: object, path: Path) -> tuple[State, tuple[str, ...]]:
    """The state dict inside a checkpoint, and the steps taken to reach it.

    Only entries named in `WRAPPERS`, prefixes in `PREFIXES` and heads in `TRAINING_HEADS` are
    looked through; anything else stays and fails the strict comparison.
    """
    steps: list[str] = []
    while isinstance(content, Mapping):
        wrapper = next((w for w in WRAPPERS if isinstance(content.get(w), Mapping)), None)
        if wrapper is None:
            break
        content = content[wrapper]
        steps.append(f"took {wrapper!r}")
    if not isinstance(content, Mapping) or not content:
        raise WeightsMismatchError(
            f"the weights file {path.name!r} holds {type(content).__name__}",
            expected=f"a state dict, or one under {', '.join(WRAPPERS)}",
        )
    for key, value in content.items():
        if not isinstance(value, torch.Tensor):
            raise WeightsMismatchError(
                f"entry {key!r} of the weights file {path.name!r} is {type(value).__name__}",
                expected=f"tensors only, or a state dict under {', '.join(WRAPPERS)}",
            )
    state: State = dict(content)
    for prefix in PREFIXES:
        inside = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        outside = [k for k in state if not k.startswith(prefix)]
        if inside and all(k.startswith(TRAINING_HEADS) for k in outside):
            state = inside
            steps.append(f"stripped {prefix!r}")
            if outside:
                steps.append(f"dropped {len(outside)} tensors of training heads")
    return state, tuple(steps)


def _check_match(found: State, wanted: Mapping[str, "Tensor"], *, path: Path, name: str) -> None:
    missing = [k for k in wanted if k not in found]
    unexpected = [k for k in found if k not in wanted]
    misshaped = [
        f"{k} {tuple(found[k].shape)} instead of {tuple(wanted[k].shape)}"
        for k in wanted
        if k in found and found[k].shape != wanted[k].shape
    ]
    problems = [
        f"{len(keys)} {kind} ({name_some(keys, most=3)})"
        for kind, keys in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("misshaped", misshaped),
        )
        if keys
    ]
    if problems:
        raise WeightsMismatchError(
            f"the weights file {path.name!r} does not belong to {name!r}: {'; '.join(problems)}",
            expected=f"the {len(wanted)} tensors of this architecture",
            remedy="give this encoder's own weights, or name the encoder they belong to",
        )

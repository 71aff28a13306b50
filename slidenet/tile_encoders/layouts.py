"""Names of weights: from the layouts models are published in to timm's.

Three projects write the same vision transformer under three sets of names, and DINOv2's code keeps
tensors that only training needs. Every rule here renames, stacks or adds; none trains or guesses,
and what it does not recognise is left for the strict comparison to refuse.
"""

import math
import re
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from slidenet.core.errors import WeightsMismatchError

if TYPE_CHECKING:
    from torch import Tensor, nn

State = dict[str, "Tensor"]

_TRANSFORMERS_NAMES = (
    (r"^embeddings\.cls_token$", "cls_token"),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.register_tokens$", "reg_token"),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^layernorm\.", "norm."),
    (r"^encoder\.layer\.(\d+)\.", r"blocks.\1."),
    (r"\.attention\.attention\.(query|key|value)\.", r".attn.\1."),
    (r"\.attention\.output\.dense\.", ".attn.proj."),
    # DINOv2
    (r"\.layer_scale([12])\.lambda1$", r".ls\1.gamma"),
    (r"\.mlp\.weights_in\.", ".mlp.fc1."),
    (r"\.mlp\.weights_out\.", ".mlp.fc2."),
    # ViT
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
)
_DINOV2_NAMES = (
    (r"^register_tokens$", "reg_token"),
    (r"^blocks\.\d+\.(\d+)\.", r"blocks.\1."),  # blocks saved in chunks, numbered throughout
    (r"\.mlp\.w12\.", ".mlp.fc1."),
    (r"\.mlp\.w3\.", ".mlp.fc2."),
)
_ONLY_FOR_TRAINING = ("mask_token", "embeddings.mask_token", "pooler.")


def to_timm_layout(state: State, module: "nn.Module") -> tuple[State, str]:
    """The state dict under timm's names, and the layout it came in.

    Layouts are told apart by names only they use: transformers (ViT, DINOv2 with and without
    registers), facebookresearch/dinov2, EfficientNet-PyTorch; anything else is taken as timm's.
    """
    if "embeddings.cls_token" in state:
        return _from_transformers(state, module), "transformers"
    if {"mask_token", "register_tokens"} & state.keys():
        state = _renamed(state, _DINOV2_NAMES)
        return _with_fitting_positions(state, module, resample=False), "dinov2"
    if "_conv_stem.weight" in state:
        return _in_order(state, module), "efficientnet-pytorch"
    return state, "timm"


def _from_transformers(state: State, module: "nn.Module") -> State:
    state = _renamed(state, _TRANSFORMERS_NAMES)
    for key in [k for k in state if ".attn.query." in k]:
        parts = [key.replace(".query.", f".{part}.") for part in ("query", "key", "value")]
        if all(part in state for part in parts):
            stacked = torch.cat([state.pop(part) for part in parts])
            state[key.replace(".query.", ".qkv.")] = stacked
    return _with_fitting_positions(state, module)


def _renamed(state: State, rules: tuple[tuple[str, str], ...]) -> State:
    """Under timm's names, without what only training needs."""
    renamed: State = {}
    for name, tensor in state.items():
        if name.startswith(_ONLY_FOR_TRAINING):
            continue
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        renamed[name] = tensor
    return renamed


def _with_fitting_positions(state: State, module: "nn.Module", *, resample: bool = True) -> State:
    """Fits a position table of 1 + patches rows to the module's table.

    transformers resamples a table of another grid by bicubic interpolation without antialiasing
    (`Dinov2Embeddings.interpolate_pos_encoding`), and so does this for models without registers.
    timm's models with registers keep no row for the class token; that row is added to the token
    itself, which is the same sum.
    """
    wanted = getattr(module, "pos_embed", None)
    if wanted is None or not {"cls_token", "pos_embed"} <= state.keys():
        return state
    class_row, patches = state["pos_embed"][:, :1], state["pos_embed"][:, 1:]
    if getattr(module, "no_embed_class", False):
        return state | {"cls_token": state["cls_token"] + class_row, "pos_embed": patches}
    num_rows, num_wanted = patches.shape[1], wanted.shape[1] - 1
    old, new = math.isqrt(num_rows), math.isqrt(num_wanted)
    squares = old * old == num_rows and new * new == num_wanted
    if not resample or num_rows == num_wanted or not squares:
        return state  # where the tables differ, the strict comparison says so
    grid = patches.reshape(1, old, old, -1).permute(0, 3, 1, 2)
    grid = functional.interpolate(
        grid.float(), size=(new, new), mode="bicubic", align_corners=False
    )
    resampled = grid.permute(0, 2, 3, 1).reshape(1, num_wanted, -1)
    return state | {"pos_embed": torch.cat([class_row, resampled], dim=1)}


def _in_order(state: State, module: "nn.Module") -> State:
    """Pairs both lists of names by position; kinds (weight, running_var ...) and shapes must agree.

    EfficientNet-PyTorch and timm define the same layers in the same order under unlike names.
    """
    theirs = [(k, v) for k, v in state.items() if not k.startswith("_fc.")]
    ours = list(module.state_dict().items())
    for (their_name, their), (our_name, our) in zip(theirs, ours, strict=False):
        same_kind = their_name.rsplit(".", 1)[-1] == our_name.rsplit(".", 1)[-1]
        if not same_kind or their.shape != our.shape:
            raise WeightsMismatchError(
                f"weights {their_name} {tuple(their.shape)} stand where {our_name} "
                f"{tuple(our.shape)} belongs",
                remedy="give the weights of this architecture",
            )
    if len(theirs) != len(ours):
        raise WeightsMismatchError(
            f"the file holds {len(theirs)} tensors besides the classifier",
            expected=f"{len(ours)}",
            remedy="give the weights of this architecture",
        )
    return {our_name: their for (_, their), (our_name, _) in zip(theirs, ours, strict=True)}

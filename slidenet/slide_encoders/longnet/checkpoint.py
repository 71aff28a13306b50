"""Official `slide_encoder.pth` files to our parameter names and back, through one key table."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path

import torch
from torch import Tensor

from slidenet.core.errors import WeightsMismatchError
from slidenet.core.provenance import IDENTITY_HASH_LENGTH
from slidenet.stores.atomic import atomic_path
from slidenet.weights.files import digest_of_state, read_tensor_file

TOP_KEY = "model"
"""Where the state dict lies in an official file."""

MODULES = (
    # official                                    ours
    ("patch_embed.proj", "tile_embed"),
    ("encoder.layers.{i}.self_attn.q_proj", "blocks.{i}.attention.q_proj"),
    ("encoder.layers.{i}.self_attn.k_proj", "blocks.{i}.attention.k_proj"),
    ("encoder.layers.{i}.self_attn.v_proj", "blocks.{i}.attention.v_proj"),
    ("encoder.layers.{i}.self_attn.out_proj", "blocks.{i}.attention.out_proj"),
    ("encoder.layers.{i}.self_attn.inner_attn_ln", "blocks.{i}.attention.inner_norm"),
    ("encoder.layers.{i}.self_attn_layer_norm", "blocks.{i}.attention_norm"),
    ("encoder.layers.{i}.final_layer_norm", "blocks.{i}.ffn_norm"),
    ("encoder.layers.{i}.ffn.fc1", "blocks.{i}.ffn.fc1"),
    ("encoder.layers.{i}.ffn.fc2", "blocks.{i}.ffn.fc2"),
    ("encoder.layers.{i}.ffn.ffn_layernorm", "blocks.{i}.ffn.inner_norm"),
    ("encoder.layer_norm", "encoder_norm"),
    ("norm", "norm"),
)
"""Modules with a weight and a bias."""

SINGLE_KEYS = (("cls_token", "class_token"),)


def key_table(depth: int) -> dict[str, str]:
    """Official key -> our key, for an encoder of `depth` blocks (247 keys for 12)."""
    table = dict(SINGLE_KEYS)
    for official, ours in MODULES:
        blocks: Iterable[int] = range(depth) if "{i}" in official else (0,)
        for i in blocks:
            for part in ("weight", "bias"):
                table[f"{official.format(i=i)}.{part}"] = f"{ours.format(i=i)}.{part}"
    return table


def num_blocks(keys: Iterable[str]) -> int:
    """How many blocks our keys are of."""
    return 1 + max((int(k.split(".")[1]) for k in keys if k.startswith("blocks.")), default=-1)


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """The official state dict of a file, unpickled without running code.

    Raises:
        MissingWeightsError: If there is no such file.
        WeightsMismatchError: If it is no slide encoder checkpoint.
    """
    content = read_tensor_file(
        path, what="weights file", expected="a slide_encoder.pth saved by torch.save"
    )
    state = content.get(TOP_KEY) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        keys = ", ".join(map(str, list(content)[:5])) if isinstance(content, dict) else "no dict"
        raise WeightsMismatchError(
            f"{path} has no state dict under the key {TOP_KEY!r} (found: {keys})",
            expected="the layout of the official slide_encoder.pth",
            remedy="save it with slidenet.slide_encoders.save_checkpoint",
        )
    return state


def from_official(
    official: Mapping[str, Tensor], shapes: Mapping[str, torch.Size], *, source: str = "weights"
) -> dict[str, Tensor]:
    """Renames an official state dict, strictly.

    Args:
        official: Keys as published.
        shapes: Our keys and shapes, of the architecture to fill.
        source: Names the file in messages.

    Returns:
        Our keys, float32 tensors.

    Raises:
        WeightsMismatchError: Naming the first missing, unknown or misshaped key.
    """
    table = key_table(num_blocks(shapes))
    assert set(table.values()) == set(shapes), "the key table and the architecture disagree"
    missing = sorted(set(table) - set(official))
    unknown = sorted(set(official) - set(table))
    if missing or unknown:
        raise WeightsMismatchError(
            f"{source}: {_name_keys('missing', missing)}{'; ' if missing and unknown else ''}"
            f"{_name_keys('unknown', unknown, missing or list(table))}",
            expected=f"the {len(table)} keys of this slide encoder",
            remedy="use the weights of the same architecture, or choose the matching one",
        )
    for theirs, ours in table.items():
        if official[theirs].shape != shapes[ours]:
            raise WeightsMismatchError(
                f"{source}: {theirs!r} has shape {tuple(official[theirs].shape)}",
                expected=f"{tuple(shapes[ours])}",
                remedy="use the weights of the same architecture, or choose the matching one",
            )
    return {ours: official[theirs].float() for theirs, ours in table.items()}


def _name_keys(kind: str, keys: list[str], candidates: Iterable[str] = ()) -> str:
    if not keys:
        return ""
    near = get_close_matches(keys[0], list(candidates), n=1) if candidates else []
    hint = f" (perhaps {near[0]!r} renamed)" if near else ""
    more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
    return f"{kind} key {keys[0]!r}{hint}{more}"


def save_checkpoint(path: str | Path, state: Mapping[str, Tensor]) -> None:
    """Writes our state dict as an official `slide_encoder.pth`, atomically.

    Args:
        path: Where to.
        state: `LongNetViT(...).state_dict()`.

    Raises:
        OutputError: If the folder is read-only or full.
    """
    table = key_table(num_blocks(state))
    official = {theirs: state[ours].detach().cpu().contiguous() for theirs, ours in table.items()}
    with atomic_path(Path(path)) as temporary:
        torch.save({TOP_KEY: official}, temporary)


def weights_digest(state: Mapping[str, Tensor]) -> str:
    """First 16 hex digits of the SHA-256 over names, shapes and values, in key order."""
    return digest_of_state(state, separator=";")[:IDENTITY_HASH_LENGTH]

"""Conversions are checked against forwards written from the published layouts, key by key.

The forwards below were compared with transformers 4.57 (Dinov2Model, Dinov2WithRegistersModel,
ViTModel) on random weights; transformers itself is no dependency.
"""

import math

import pytest
import timm
import torch
from timm.layers import SwiGLUPacked
from torch.nn import functional

from slidenet.core.errors import WeightsMismatchError
from slidenet.tile_encoders.layouts import to_timm_layout

WIDTH, DEPTH, HEADS, PATCH, GRID = 24, 3, 4, 8, 4
HIDDEN = 40


def linear_weights(state, name, width_in, width_out):
    state[f"{name}.weight"] = torch.randn(width_out, width_in) * 0.2
    state[f"{name}.bias"] = torch.randn(width_out) * 0.2


def norm_weights(state, name):
    state[f"{name}.weight"] = 1 + torch.randn(WIDTH) * 0.2
    state[f"{name}.bias"] = torch.randn(WIDTH) * 0.2


def transformers_state(kind, *, swiglu=False, registers=0, grid=GRID):
    torch.manual_seed(3)
    state = {
        "embeddings.cls_token": torch.randn(1, 1, WIDTH),
        "embeddings.mask_token": torch.randn(1, WIDTH),
        "embeddings.position_embeddings": torch.randn(1, 1 + grid * grid, WIDTH),
        "embeddings.patch_embeddings.projection.weight": torch.randn(WIDTH, 3, PATCH, PATCH) * 0.1,
        "embeddings.patch_embeddings.projection.bias": torch.randn(WIDTH),
    }
    if registers:
        state["embeddings.register_tokens"] = torch.randn(1, registers, WIDTH)
    for i in range(DEPTH):
        block = f"encoder.layer.{i}"
        for part in ("query", "key", "value"):
            linear_weights(state, f"{block}.attention.attention.{part}", WIDTH, WIDTH)
        linear_weights(state, f"{block}.attention.output.dense", WIDTH, WIDTH)
        if kind == "vit":
            norm_weights(state, f"{block}.layernorm_before")
            norm_weights(state, f"{block}.layernorm_after")
            linear_weights(state, f"{block}.intermediate.dense", WIDTH, HIDDEN)
            linear_weights(state, f"{block}.output.dense", HIDDEN, WIDTH)
            continue
        norm_weights(state, f"{block}.norm1")
        norm_weights(state, f"{block}.norm2")
        state[f"{block}.layer_scale1.lambda1"] = torch.randn(WIDTH)
        state[f"{block}.layer_scale2.lambda1"] = torch.randn(WIDTH)
        if swiglu:
            linear_weights(state, f"{block}.mlp.weights_in", WIDTH, 2 * HIDDEN)
            linear_weights(state, f"{block}.mlp.weights_out", HIDDEN, WIDTH)
        else:
            linear_weights(state, f"{block}.mlp.fc1", WIDTH, HIDDEN)
            linear_weights(state, f"{block}.mlp.fc2", HIDDEN, WIDTH)
    norm_weights(state, "layernorm")
    if kind == "vit":
        linear_weights(state, "pooler.dense", WIDTH, WIDTH)
    return state


def transformers_forward(state, images):
    """Last hidden state, read straight off the published names."""

    def linear(name, x):
        return functional.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    def norm(name, x):
        return functional.layer_norm(
            x, (WIDTH,), state[f"{name}.weight"], state[f"{name}.bias"], eps=1e-6
        )

    def heads(x):
        return x.unflatten(-1, (HEADS, -1)).transpose(1, 2)

    def mlp(block, x):
        if f"{block}.mlp.weights_in.weight" in state:
            gate, value = linear(f"{block}.mlp.weights_in", x).chunk(2, dim=-1)
            return linear(f"{block}.mlp.weights_out", functional.silu(gate) * value)
        first, second = (
            ("intermediate.dense", "output.dense")
            if f"{block}.intermediate.dense.weight" in state
            else ("mlp.fc1", "mlp.fc2")
        )
        return linear(f"{block}.{second}", functional.gelu(linear(f"{block}.{first}", x)))

    patches = functional.conv2d(
        images,
        state["embeddings.patch_embeddings.projection.weight"],
        state["embeddings.patch_embeddings.projection.bias"],
        stride=PATCH,
    )
    x = patches.flatten(2).transpose(1, 2)
    x = torch.cat([state["embeddings.cls_token"].expand(len(x), -1, -1), x], dim=1)
    x = x + positions_for(state["embeddings.position_embeddings"], x.shape[1])
    if "embeddings.register_tokens" in state:
        registers = state["embeddings.register_tokens"].expand(len(x), -1, -1)
        x = torch.cat([x[:, :1], registers, x[:, 1:]], dim=1)
    for i in range(DEPTH):
        block = f"encoder.layer.{i}"
        before, after = (
            ("layernorm_before", "layernorm_after")
            if f"{block}.layernorm_before.weight" in state
            else ("norm1", "norm2")
        )
        scales = [state.get(f"{block}.layer_scale{n}.lambda1", 1.0) for n in (1, 2)]
        normed = norm(f"{block}.{before}", x)
        q, k, v = (
            heads(linear(f"{block}.attention.attention.{part}", normed))
            for part in ("query", "key", "value")
        )
        weights = (q @ k.transpose(-1, -2) / math.sqrt(WIDTH // HEADS)).softmax(dim=-1)
        mixed = (weights @ v).transpose(1, 2).flatten(2)
        x = x + scales[0] * linear(f"{block}.attention.output.dense", mixed)
        x = x + scales[1] * mlp(block, norm(f"{block}.{after}", x))
    return norm("layernorm", x)


def positions_for(table, num_tokens):
    if table.shape[1] == num_tokens:
        return table
    old, new = math.isqrt(table.shape[1] - 1), math.isqrt(num_tokens - 1)
    grid = table[:, 1:].reshape(1, old, old, WIDTH).permute(0, 3, 1, 2)
    grid = functional.interpolate(grid, size=(new, new), mode="bicubic", align_corners=False)
    return torch.cat([table[:, :1], grid.permute(0, 2, 3, 1).reshape(1, -1, WIDTH)], dim=1)


def timm_module(architecture, *, swiglu=False):
    extra = {"mlp_layer": SwiGLUPacked, "act_layer": "silu"} if swiglu else {}
    return timm.create_model(
        architecture,
        img_size=PATCH * GRID,
        patch_size=PATCH,
        embed_dim=WIDTH,
        depth=DEPTH,
        num_heads=HEADS,
        mlp_ratio=(2 * HIDDEN if swiglu else HIDDEN) / WIDTH,
        num_classes=0,
        **extra,
    ).eval()


def assert_same_features(state, module):
    images = torch.randn(2, 3, PATCH * GRID, PATCH * GRID)
    converted, layout = to_timm_layout(dict(state), module)
    assert layout == "transformers"
    module.load_state_dict(converted, strict=True)
    with torch.inference_mode():
        torch.testing.assert_close(
            module.forward_features(images), transformers_forward(state, images)
        )


@pytest.mark.parametrize("swiglu", [False, True], ids=["mlp", "swiglu"])
def test_dinov2_of_transformers(swiglu):
    module = timm_module("vit_small_patch14_dinov2", swiglu=swiglu)
    assert_same_features(transformers_state("dinov2", swiglu=swiglu), module)


@pytest.mark.parametrize("swiglu", [False, True], ids=["mlp", "swiglu"])
def test_dinov2_with_registers_of_transformers(swiglu):
    module = timm_module("vit_small_patch14_reg4_dinov2", swiglu=swiglu)
    assert_same_features(transformers_state("dinov2", swiglu=swiglu, registers=4), module)


def test_dinov2_of_transformers_with_positions_of_another_grid():
    module = timm_module("vit_small_patch14_dinov2")
    assert_same_features(transformers_state("dinov2", grid=7), module)


def test_vit_of_transformers():
    assert_same_features(transformers_state("vit"), timm_module("vit_small_patch16_224"))


def dinov2_state(module, *, registers, swiglu, chunk):
    """A timm state written under the names of facebookresearch/dinov2."""
    state = {}
    for name, tensor in module.state_dict().items():
        parts = name.split(".")
        if chunk and parts[0] == "blocks":
            parts.insert(1, str(int(parts[1]) // chunk))
        name = ".".join(parts)
        if swiglu:
            name = name.replace("mlp.fc1", "mlp.w12").replace("mlp.fc2", "mlp.w3")
        state[name] = tensor.clone()
    state["mask_token"] = torch.zeros(1, WIDTH)
    if registers:
        state["register_tokens"] = state.pop("reg_token")
        class_row = torch.randn(1, 1, WIDTH)
        state["pos_embed"] = torch.cat([class_row, state["pos_embed"]], dim=1)
        state["cls_token"] = state["cls_token"] - class_row
    return state


@pytest.mark.parametrize("chunk", [0, 2])
@pytest.mark.parametrize("swiglu", [False, True], ids=["mlp", "swiglu"])
@pytest.mark.parametrize("registers", [False, True], ids=["plain", "registers"])
def test_dinov2_of_its_authors(registers, swiglu, chunk):
    name = "vit_small_patch14_reg4_dinov2" if registers else "vit_small_patch14_dinov2"
    module = timm_module(name, swiglu=swiglu)
    theirs = dinov2_state(module, registers=registers, swiglu=swiglu, chunk=chunk)
    converted, layout = to_timm_layout(theirs, module)
    assert layout == "dinov2"
    ours = module.state_dict()
    assert converted.keys() == ours.keys()
    for name, tensor in ours.items():
        torch.testing.assert_close(converted[name], tensor)


def test_timm_names_pass_unchanged():
    module = timm_module("vit_small_patch16_224")
    state = module.state_dict()
    converted, layout = to_timm_layout(state, module)
    assert layout == "timm"
    assert converted is state


@pytest.mark.parametrize("change", ["swap", "shape", "short"])
def test_pairing_by_order_refuses_what_does_not_line_up(change):
    module = timm.create_model("tf_efficientnet_lite0", num_classes=0)
    names = ["_conv_stem.weight", *(f"x{i}.y" for i in range(len(module.state_dict()) - 1))]
    ours = module.state_dict().items()
    state = {
        name if i == 0 else f"{name}.{k.rsplit('.', 1)[-1]}": v
        for i, (name, (k, v)) in enumerate(zip(names, ours, strict=True))
    }
    assert to_timm_layout(state, module)[1] == "efficientnet-pytorch"
    keys = list(state)
    if change == "swap":  # weight and bias of the first norm change places
        keys[1], keys[2] = keys[2], keys[1]
        state = {k: state[k] for k in keys}
    elif change == "shape":
        state[keys[1]] = torch.zeros(7)
    else:
        del state[keys[-1]]
    with pytest.raises(WeightsMismatchError):
        to_timm_layout(state, module)

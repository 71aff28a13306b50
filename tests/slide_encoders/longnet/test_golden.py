"""The released model's own numbers: tiny encoder to 1e-6, full encoder to 2e-5 in float32."""

import json

import numpy as np
import pytest
import torch

from slidenet.slide_encoders import LONGNET_CONFIGS, LongNetConfig
from slidenet.slide_encoders.longnet.checkpoint import key_table

TINY_LENGTHS = [1, 7, 31, 32, 50, 100, 300, 1000]


@pytest.fixture(scope="module")
def tiny_golden(golden):
    return torch.load(golden / "tiny_a.pt", weights_only=True)


@pytest.fixture(scope="module")
def golden_config(tiny_golden):
    c = tiny_golden["config"]
    return LongNetConfig(
        feature_dim=c["in_chans"],
        embed_dim=c["embed_dim"],
        depth=c["depth"],
        num_heads=c["heads"],
        ffn_dim=c["ffn"],
        segment_lengths=c["segment_length"],
        dilation_rates=c["dilated_ratio"],
        grid_size=c["slide_ngrids"],
    )


def case_of(tiny_golden, length):
    case = next(c for c in tiny_golden["cases"] if c["N"] == length)
    return case, torch.floor(case["coords"] / 256).long()


@pytest.mark.parametrize("length", TINY_LENGTHS)
@pytest.mark.parametrize(
    ("dtype", "key", "tolerance"), [("float64", "out64", 1e-6), ("float32", "out32", 5e-6)]
)
def test_tiny_outputs(tiny_golden, golden_config, build, length, dtype, key, tolerance):
    case, grid_xy = case_of(tiny_golden, length)
    net = build(golden_config, tiny_golden["state_dict"]).to(getattr(torch, dtype))
    x = case["x"].to(getattr(torch, dtype))
    found = {
        "all_layers_cls": net.pooled_states(x, grid_xy, pooling="class_token"),
        "all_layers_pool": net.pooled_states(x, grid_xy, pooling="mean"),
        "final_cls": net(x, grid_xy, pooling="class_token"),
        "final_pool": net(x, grid_xy, pooling="mean"),
    }
    for name, value in found.items():
        torch.testing.assert_close(value, case[key][name], rtol=0, atol=tolerance, msg=name)


@pytest.mark.parametrize("length", TINY_LENGTHS)
def test_tiny_input_gradient(tiny_golden, golden_config, build, length):
    case, grid_xy = case_of(tiny_golden, length)
    net = build(golden_config, tiny_golden["state_dict"]).double()
    x = case["x"].double().requires_grad_()
    golden_loss(net, x, grid_xy).backward()
    torch.testing.assert_close(x.grad, case["grad_x"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("length", [31, 100])
@pytest.mark.parametrize("chunk_tokens", [7, 10_000])
@pytest.mark.parametrize("checkpoint", [False, True])
def test_tiny_parameter_gradients(
    tiny_golden, golden_config, build, length, chunk_tokens, checkpoint
):
    case, grid_xy = case_of(tiny_golden, length)
    net = build(
        golden_config,
        tiny_golden["state_dict"],
        chunk_tokens=chunk_tokens,
        checkpoint_activations=checkpoint,
    ).double()
    golden_loss(net, case["x"].double(), grid_xy).backward()
    parameters = dict(net.named_parameters())
    table = key_table(golden_config.depth)
    assert set(table) - set(case["grads"]) == {
        "encoder.layer_norm.weight",
        "encoder.layer_norm.bias",
    }
    for official, expected in case["grads"].items():
        found = parameters[table[official]].grad
        scale = expected.abs().max().clamp(min=1)
        torch.testing.assert_close(found / scale, expected / scale, rtol=0, atol=1e-6, msg=official)


def golden_loss(net, x, grid_xy):
    """Class tokens of all states against a ramp: the scalar whose gradients the file holds."""
    pooled = net.pooled_states(x, grid_xy, pooling="class_token")
    ramp = torch.arange(1, pooled.shape[-1] + 1, dtype=pooled.dtype) / pooled.shape[-1]
    return (pooled * ramp).sum()


@pytest.fixture(scope="module")
def full(golden):
    with np.load(golden / "reference_values.npz") as file:
        values = {k: file[k] for k in file.files if k.startswith(("full_", "meta"))}
    return json.loads(values.pop("meta").tobytes())["full"], values


@pytest.fixture(scope="module")
def full_net(full, build, make_official):
    config = LONGNET_CONFIGS["gigapath"]
    return build(config, make_official(config, full[0]["weight_seed"]))


@pytest.mark.parametrize("length", [50, pytest.param(1500, marks=pytest.mark.slow)])
def test_full_encoder(full, full_net, length):
    meta, values = full
    grid_xy = torch.floor(torch.from_numpy(values[f"full_{length}_coords"]) / 256).long()
    draw = np.random.default_rng([meta["input_seed"], length, 1536, 7])
    side = max(2, int(np.ceil((1.5 * length) ** 0.5)))
    draw.choice(side * side, size=length, replace=False)
    draw.integers(0, 256, size=(length, 2))
    x = torch.from_numpy(draw.standard_normal((length, 1536)).astype(np.float32))[None]
    with torch.inference_mode():
        states = full_net.states(x, grid_xy)
        found = {
            "all_layers_cls": torch.stack([full_net.norm(s[:, 0]) for s in states]),
            "all_layers_pool": torch.stack([full_net.norm(s[:, 1:].mean(1)) for s in states]),
            "final_cls": full_net(x, grid_xy, pooling="class_token"),
            "final_pool": full_net(x, grid_xy, pooling="mean"),
        }
    assert len(states) == 13
    for name, value in found.items():
        expected = torch.from_numpy(values[f"full_{length}_{name}"])
        torch.testing.assert_close(value, expected, rtol=0, atol=2e-5, msg=name)

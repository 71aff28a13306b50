"""Dilated attention layers of the released model, to 1e-10 in float64."""

import importlib.util
import json

import numpy as np
import pytest
import torch

from slidenet.attention import DilatedConfig, dilated_attention, reference_dilated_attention

pytestmark = pytest.mark.shared_data


@pytest.fixture(scope="module")
def values(golden):
    with np.load(golden / "reference_values.npz") as archive:
        return {key: archive[key] for key in archive.files}


@pytest.fixture(scope="module")
def weight(golden):
    spec = importlib.util.spec_from_file_location("rebuild", golden / "rebuild_inputs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return lambda name, *shape: torch.from_numpy(module.weight(name, shape, 1)).double()


def layer(x, case, weight, attention):
    """Projections, dilated attention, inner LayerNorm, output projection."""
    dim, heads = case["D"], case["H"]

    def linear(name, y):
        matrix = weight(f"{name}.weight", dim, dim)
        return torch.nn.functional.linear(y, matrix, weight(f"{name}.bias", dim))

    q, k, v = (linear(n, x).unflatten(-1, (heads, -1)) for n in ("q_proj", "k_proj", "v_proj"))
    inner = attention(q, k, v).flatten(2)
    scale, shift = weight("inner_attn_ln.weight", dim), weight("inner_attn_ln.bias", dim)
    return linear("out_proj", torch.nn.functional.layer_norm(inner, (dim,), scale, shift, eps=1e-5))


def fast(case, padding):
    return lambda q, k, v: dilated_attention(
        q, k, v, segment_lengths=case["segs"], dilation_rates=case["rats"], padding=padding
    )


def oracle(case, padding):
    config = DilatedConfig(case["segs"], case["rats"], padding=padding)
    return lambda q, k, v: reference_dilated_attention(q, k, v, config)[0]


@pytest.mark.parametrize("make", [fast, oracle])
def test_released_layers(values, weight, make):
    cases = json.loads(bytes(values["meta"]))["layer"]
    assert len(cases) == 25
    gradients = 0
    for i, case in enumerate(cases):
        x = torch.from_numpy(values[f"layer{i}_x"]).double().requires_grad_()
        for key, padding in [("y", "released"), ("y_masked", "masked")]:
            y = layer(x, case, weight, make(case, padding))
            error = (y - torch.from_numpy(values[f"layer{i}_{key}"])).abs().max()
            assert error < 1e-10, (i, case, key, error)
            if key == "y" and f"layer{i}_grad_x" in values:
                cotangent = torch.from_numpy(values[f"layer{i}_w"]).double()
                (grad,) = torch.autograd.grad((y * cotangent).sum(), x)
                error = (grad - torch.from_numpy(values[f"layer{i}_grad_x"])).abs().max()
                assert error < 1e-10, (i, case, "grad_x", error)
                gradients += 1
    assert gradients == 21

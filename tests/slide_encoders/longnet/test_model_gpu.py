"""The slide encoder on a CUDA device: the numbers of the CPU, in every precision, and compiled."""

import copy
from dataclasses import replace

import pytest
import torch

from slidenet.attention import ATTENTION_PATTERNS
from slidenet.slide_encoders.encoder import LongNetEncoder
from slidenet.slide_encoders.recipes import RECIPES

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
DEVICE = "cuda"
LENGTHS = [33, 1, 64, 7]


@pytest.fixture(params=["one_length", "mask"])
def inputs(request, make_inputs):
    if request.param == "mask":
        return make_inputs(LENGTHS)
    return *make_inputs([50, 50])[:2], None


def on(device, inputs):
    return [None if x is None else x.to(device) for x in inputs]


@pytest.mark.parametrize("attention", list(ATTENTION_PATTERNS))
@pytest.mark.parametrize("pooling", ["class_token", "mean"])
def test_values_and_gradients_are_those_of_the_cpu(
    tiny_config, tiny_official, build, inputs, attention, pooling
):
    config = tiny_config.with_overrides(attention=attention)
    here = build(config, tiny_official)
    there = copy.deepcopy(here).to(DEVICE)
    want, got = here(*inputs, pooling=pooling), there(*on(DEVICE, inputs), pooling=pooling)
    torch.testing.assert_close(got.cpu(), want, atol=2e-5, rtol=2e-5)
    want.square().sum().backward()
    got.square().sum().backward()
    largest = max(p.grad.norm().item() for p in here.parameters() if p.grad is not None)
    for (name, a), b in zip(here.named_parameters(), there.parameters(), strict=True):
        assert (a.grad is None) == (b.grad is None), name
        if a.grad is not None:  # that of the keys' bias is zero but for rounding
            error = (b.grad.cpu() - a.grad).norm()
            assert error <= 1e-4 * max(1e-3 * largest, a.grad.norm().item()), name


@pytest.mark.parametrize(
    "precision", ["float32", "float16", "autocast-float16", "autocast-bfloat16"]
)
def test_every_precision_stays_close(tiny, inputs, precision):
    want = tiny(*inputs, pooling="mean")
    recipe = replace(next(iter(RECIPES.values())), pooling="mean", state="final")
    encoder = LongNetEncoder("tiny", copy.deepcopy(tiny), recipe, precision=precision).to(DEVICE)
    with torch.no_grad():
        got = encoder(*on(DEVICE, inputs)).cpu()
    assert got.dtype == torch.float32
    similarity = torch.nn.functional.cosine_similarity(got, want)
    assert (similarity > (0.99999 if precision == "float32" else 0.99)).all()


@pytest.mark.parametrize("dtype", [None, torch.bfloat16], ids=["fp32", "bf16"])
def test_compiled_by_inductor_it_gives_the_same(tiny, inputs, dtype):
    net = copy.deepcopy(tiny).to(DEVICE)
    given = on(DEVICE, inputs)
    compiled = torch.compile(net)
    outs = []
    for run in (net, compiled):
        net.zero_grad()
        with torch.autocast(DEVICE, dtype=dtype, enabled=dtype is not None):
            out = run(*given)
        out.float().square().sum().backward()
        outs.append((out.detach().float(), net.blocks[0].attention.q_proj.weight.grad.clone()))
    torch._dynamo.reset()
    for got, want in zip(*outs, strict=True):
        assert (got - want).norm() <= (1e-4 if dtype is None else 5e-2) * want.norm()


def test_checkpointed_activations_change_nothing(tiny_config, tiny_official, build, inputs):
    grads = []
    for settings in ({}, {"checkpoint_activations": True, "chunk_tokens": 16}):
        net = build(tiny_config, tiny_official, **settings).train().to(DEVICE)
        for part in net.modules():  # dropout draws by chunks
            if isinstance(part, torch.nn.Dropout):
                part.p = 0.0
        for block in net.blocks:
            block.drop_path = 0.0
        net(*on(DEVICE, inputs)).square().sum().backward()
        grads.append(torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None]))
    assert (grads[0] - grads[1]).norm() <= 1e-4 * grads[0].norm()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_gelu_in_half_precision_is_that_of_float32_rounded(dtype):
    every = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(dtype)
    every = every[every.isfinite()].to(DEVICE)
    weight = torch.randn(every.shape, device=DEVICE).to(dtype)
    found = []
    for widen in (False, True):
        x = every.clone().requires_grad_()
        out = torch.nn.functional.gelu(x.float() if widen else x).to(dtype)
        found.append((out, *torch.autograd.grad(out, x, weight)))
    for got, want in zip(*found, strict=True):
        assert torch.equal(got, want)


def test_longer_chunks_than_on_the_cpu(tiny, inputs, monkeypatch):
    sizes = []
    block = type(tiny.blocks[0])
    forward = block.forward
    monkeypatch.setattr(
        block, "forward", lambda self, x, tokens, n: sizes.append(n) or forward(self, x, tokens, n)
    )
    tiny(*inputs, pooling="mean")
    copy.deepcopy(tiny).to(DEVICE)(*on(DEVICE, inputs), pooling="mean")
    assert sizes == [4096, 4096, 16_384, 16_384]

"""Compiled and exported encoders: equal to eager ones, whole, and as strict with their inputs."""

import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend

from slidenet.attention import force_backend
from slidenet.core.errors import CoordinateError, EncoderError
from slidenet.slide_encoders import LongNetViT
from slidenet.slide_encoders.longnet.padded import real_tiles_first
from slidenet.slide_encoders.longnet.pruning import class_token_output
from slidenet.slide_encoders.longnet.request import ForwardRequest
from slidenet.slide_encoders.longnet.tokens import OneDevice

SETTINGS = {
    "bigbird": {"block_size": 4},
    "dense": {},
    "dilated": {},
    "fixed": {"stride": 5},
    "longformer": {"window": 6},
    "sliding_window": {"window": 5},
    "strided": {"stride": 5, "window": 3},
    "topk_blocks": {"block_size": 4, "top_k": 2},
}
POOLINGS = ["class_token", "mean"]


@pytest.fixture(autouse=True)
def fresh_compiler():
    yield
    torch._dynamo.reset()


def small(attention="dilated", depth=1, **overrides):
    torch.manual_seed(0)
    return LongNetViT(
        feature_dim=6,
        embed_dim=16,
        depth=depth,
        num_heads=4,
        ffn_dim=16,
        segment_lengths=(8, 16),
        dilation_rates=(1, 2),
        grid_size=64,
        attention=attention,
        attention_settings=SETTINGS[attention],
        **{"dropout": 0.0, "drop_path": 0.0, **overrides},
    )


def slides(make_inputs, *, gaps=True):
    """Two slides of other lengths, one with gaps, NaN features and cells of -1 where masked."""
    features, grid_xy, mask = make_inputs([20, 13], feature_dim=6)
    if gaps:
        features[0, 3], grid_xy[0, 3], mask[0, 3] = torch.nan, -1, False
    return features, grid_xy, mask


def whole(make_inputs, length=20):
    return make_inputs([length, length], feature_dim=6)[:2]


def close(found, want, atol=2e-6):
    torch.testing.assert_close(found, want, atol=atol, rtol=0)


def test_a_mask_needs_no_graph_break(make_inputs):
    net = small().eval()
    compiled = torch.compile(net, backend="eager", fullgraph=True)
    inputs = slides(make_inputs)
    close(compiled(*inputs), net(*inputs))
    for change, error, message in (
        (lambda f, g, m: (f.clone().fill_(torch.inf), g, m), EncoderError, "32 tiles have NaN"),
        (lambda f, g, m: (f, g + 60, m), CoordinateError, "expected 0 to 63.*silently"),
        (lambda f, g, m: (f, g - 60, m), CoordinateError, "expected 0 to 63.*silently"),
        (lambda f, g, m: (f, g, m & (torch.arange(2) > 0)[:, None]), EncoderError, "slide 0 .* no"),
    ):
        bad = change(*inputs)
        for call in (net, compiled):
            with pytest.raises(error, match=message):
                call(*bad)


def test_padded_slides_are_as_packed_ones(make_inputs):
    features, grid_xy, mask = slides(make_inputs)
    request = ForwardRequest("states", 1)
    packed, _, tokens = OneDevice().place(
        features, grid_xy, mask, encoder=nn.Identity(), request=request, check=lambda f, g, m: g
    )
    padded, cells, places = real_tiles_first(features, grid_xy.clamp_min(0), mask)
    assert torch.equal(padded[places.real], packed)
    assert torch.equal(cells[places.real], grid_xy[mask])
    assert not padded[~places.real].any()
    token = torch.full((1, 1, 6), 7.0)
    want, found = tokens.prepend(packed, token), places.prepend(padded, token)
    assert torch.equal(places.unpack(found), tokens.unpack(want))
    for pooling in POOLINGS:
        close(places.pool(found, pooling), tokens.pool(want, pooling))


def test_the_class_token_goes_by_the_layout_of_the_tokens(make_inputs, monkeypatch):
    # Past its limit of recompilations PyTorch runs the forward as it is, and compiles parts of it.
    net = small(depth=2).eval()
    features, grid_xy, mask = slides(make_inputs)
    want = net(features, grid_xy, mask)
    request = ForwardRequest("forward", 2, pooling="class_token")

    def after_first_block():
        x, tokens = net._embed(features, grid_xy, mask, request)
        return net.blocks[0](x, tokens, 4096), tokens

    x, packed = after_first_block()
    with monkeypatch.context() as patch:
        patch.setattr(torch.compiler, "is_compiling", lambda: True)
        filled_up, padded = after_first_block()
        here = class_token_output(net.blocks[1], x, packed)
    there = class_token_output(net.blocks[1], filled_up, padded)
    for token in (here, there):
        close(net.norm(net.encoder_norm(token[:, 0])), want)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("attention", "pooling", "masked", "train"),
    [
        *(("dilated", *case) for case in product(POOLINGS, (False, True), (False, True))),
        *((name, "class_token", True, True) for name in sorted(set(SETTINGS) - {"dilated"})),
    ],
)
def test_compiled_is_as_eager(make_inputs, attention, pooling, masked, train):
    net = small(attention, depth=1 + (attention == "dilated")).train(train)
    inputs = slides(make_inputs) if masked else whole(make_inputs)
    results = []
    for call in (net, torch.compile(net, backend="aot_eager", fullgraph=True)):
        net.zero_grad()
        out = call(*inputs, pooling=pooling)
        out.square().sum().backward()
        results.append([out, *(p.grad for p in net.parameters() if p.grad is not None)])
    close(*results, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("fullgraph", [False, True])
def test_every_refusal_is_that_of_eager(make_inputs, fullgraph):
    net = small().eval()
    compiled = torch.compile(net, backend="aot_eager", fullgraph=fullgraph)
    features, grid_xy, mask = slides(make_inputs)
    clean, cells = whole(make_inputs)
    bad = [(features, grid_xy, None), (clean, cells + 60, None), (features, grid_xy, mask & False)]
    if not fullgraph:  # what shapes and types tell, PyTorch itself reports while it traces
        bad += [
            (clean[..., :5], cells, None),
            (clean[0], cells, None),
            (clean.long(), cells, None),
            (clean, cells.int(), None),
            (clean, cells[:, :3], None),
            (clean, cells, mask[:, :3]),
            (clean, cells, mask.float()),
            (clean[:, :0], cells[:, :0], None),
        ]
    for grad in (False, True):
        for inputs in bad:
            said = []
            for call in (net, compiled):
                with torch.set_grad_enabled(grad), pytest.raises(Exception) as caught:  # noqa: PT011
                    call(*inputs)
                said.append((type(caught.value), str(caught.value)))
            assert said[0] == said[1]
        close(compiled(clean, cells), net(clean, cells))


@pytest.mark.slow
@pytest.mark.parametrize("masked", [False, True])
def test_lengths_are_compiled_twice_at_most(make_inputs, masked):
    net = small().eval()
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(net, backend=counter, fullgraph=True)
    for length in (10, 23, 57, 31, 5):
        inputs = make_inputs([length, length - 2 * masked], feature_dim=6)
        inputs = inputs if masked else inputs[:2]
        close(compiled(*inputs), net(*inputs))
    assert counter.frame_count <= 2


@pytest.mark.slow
def test_other_ways_to_run_it(make_inputs):
    net = small(depth=2)
    inputs = slides(make_inputs)
    compiled = torch.compile(net, backend="aot_eager", fullgraph=True)
    with torch.inference_mode():
        close(compiled(*inputs), net(*inputs))
    with force_backend("math"):
        forced = compiled(*inputs)
        close(forced, net(*inputs))
    assert not torch.equal(forced, compiled(*inputs))  # chosen anew at every call
    for states in (net.states, net.pooled_states):
        for some in (inputs, whole(make_inputs)):
            found = torch.compile(states, backend="aot_eager", fullgraph=True)(*some)
            close(list(found), list(states(*some)))
    net.checkpoint_activations = True
    grads = []
    for call in (net, torch.compile(net, backend="aot_eager", fullgraph=True)):
        net.zero_grad()
        call(*inputs).square().sum().backward()
        grads.append([p.grad for p in net.parameters()])
    close(*grads, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("attention", ["dilated", "topk_blocks"])
def test_half_precision_is_that_of_eager(make_inputs, attention):
    net = small(attention, depth=2, pooling="mean").eval()
    compiled = torch.compile(net, backend="aot_eager", fullgraph=True)
    for inputs in (whole(make_inputs), slides(make_inputs)):
        exact = net(*inputs)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            want, found = net(*inputs), compiled(*inputs)
        assert found.dtype == want.dtype == torch.float32
        close(found, want, atol=2e-2)
        if len(inputs) == 2:  # the same kernels on the same tokens
            assert torch.equal(found, want)
        assert (want - exact).abs().max() > 1e-3  # it was half precision


@pytest.mark.slow
def test_inductor(make_inputs):
    net, inputs = small(), slides(make_inputs)
    compiled = torch.compile(net, fullgraph=True)
    results = []
    for call in (net, compiled):
        net.zero_grad()
        out = call(*inputs)
        out.square().sum().backward()
        results.append([out, *(p.grad for p in net.parameters())])
    close(*results, atol=1e-4)
    with pytest.raises(EncoderError, match="NaN"):
        compiled(torch.full_like(inputs[0], torch.nan), *inputs[1:])


def exported(net, inputs, *, dynamic):
    """The program of a forward, for one number of slides and tiles or for any."""
    dims = {0: torch.export.Dim.AUTO, 1: torch.export.Dim("tiles", min=2, max=100_000)}
    return torch.export.export(
        net, inputs, dynamic_shapes=[dims] * len(inputs) if dynamic else None
    )


@pytest.mark.slow
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("masked", [False, True])
def test_exported_is_as_eager(make_inputs, pooling, masked):
    net = small(depth=2, pooling=pooling, dropout=0.25).eval()
    inputs = slides(make_inputs) if masked else whole(make_inputs)
    close(exported(net, inputs, dynamic=False).module()(*inputs), net(*inputs))
    program = exported(net, inputs, dynamic=True).module()
    longer = make_inputs([91, 91 - masked, 91], feature_dim=6)[: 2 + masked]
    for some in (inputs, longer):
        close(program(*some), net(*some))
    features, grid_xy, mask = *inputs[:2], inputs[2] if masked else None
    rest = (mask,) if masked else ()
    with pytest.raises(EncoderError, match="NaN or infinite"):
        program(features.clone().fill_(torch.nan), grid_xy, *rest)
    with pytest.raises(CoordinateError, match="0 to 63"):
        program(features, grid_xy + 60, *rest)


@pytest.mark.slow
def test_an_exported_file_in_another_process(make_inputs, tmp_path):
    net, inputs = small("longformer").eval(), whole(make_inputs)
    torch.export.save(exported(net, inputs, dynamic=True), tmp_path / "net.pt2")
    longer = make_inputs([33], feature_dim=6)[:2]
    torch.save((longer, net(*longer).detach()), tmp_path / "case.pt")
    code = (
        "import torch, slidenet.slide_encoders\n"
        "program = torch.export.load('net.pt2').module()\n"
        "inputs, want = torch.load('case.pt')\n"
        "torch.testing.assert_close(program(*inputs), want, atol=2e-6, rtol=0)\n"
        "try:\n"
        "    program(inputs[0] * torch.nan, inputs[1])\n"
        "except Exception as error:\n"
        "    print(type(error).__name__, error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("EncoderError 33 tiles have NaN"), done.stdout


@pytest.mark.slow
def test_the_docs_export_a_program_for_any_slide(tmp_path, monkeypatch):
    page = (Path(__file__).parents[3] / "docs" / "performance.md").read_text()
    section = page.split("## Compile and export")[1]
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(section.split("```python\n")[1].split("```")[0], names)
    program = torch.export.load("encoder.pt2").module()
    inputs = torch.randn(3, 77, 32), torch.randint(0, 1000, (3, 77, 2))
    close(program(*inputs), names["net"](*inputs))

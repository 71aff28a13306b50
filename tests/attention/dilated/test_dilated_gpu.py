"""Dilated attention on a CUDA device, as users call it, against the oracle on the CPU."""

from contextlib import nullcontext

import pytest
import torch

from slidenet.attention import (
    DilatedAttention,
    DilatedConfig,
    attend_dilated,
    attend_packed,
    force_backend,
    reference_dilated_attention,
)

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
DEVICE = "cuda"
TOLERANCE = {torch.float64: 1e-11, torch.float32: 5e-5, torch.float16: 3e-3, torch.bfloat16: 2e-2}
BRANCHES = {"segment_lengths": (64, 100, 512), "dilation_rates": (1, 2, 4)}
BACKENDS = ["default", "views", "math"]
"""`views` are PyTorch's own kernels on strided views."""


def forced(backend, dtype):
    if backend == "views":
        backend = "math" if dtype == torch.float64 else "cuda_efficient"
    return force_backend(backend)


def draw(*shape, dtype):
    generator = torch.Generator().manual_seed(sum(shape))
    return [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for _ in "qkvw"]


def close(got, want, dtype):
    assert torch.isfinite(got).all()
    error = (got.detach().cpu().double() - want.detach().double()).norm()
    assert error <= TOLERANCE[dtype] * max(1e-3, want.detach().double().norm().item())


def compare(attend, reference, q, k, v, w, dtype):
    """Values and gradients of q, k, v; w is the gradient of the output."""
    ours = [x.to(DEVICE).requires_grad_() for x in (q, k, v)]
    exact = [x.double().requires_grad_() for x in (q, k, v)]
    out, want = attend(*ours), reference(*exact)
    assert out.dtype == dtype
    assert out.device.type == DEVICE
    close(out, want, dtype)
    got = torch.autograd.grad(out, ours, w.to(DEVICE))
    for a, b in zip(got, torch.autograd.grad(want, exact, w.double()), strict=True):
        close(a, b, dtype)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)
@pytest.mark.parametrize("masking", ["none", "padding", "gaps", "causal"])
def test_equals_the_oracle(backend, dtype, masking):
    q, k, v, w = draw(2, 260, 8, 48, dtype=dtype)
    mask = None
    if masking == "padding":
        mask = torch.arange(260) < torch.tensor([[260], [77]])
    if masking == "gaps":
        mask = torch.rand(2, 260, generator=torch.Generator().manual_seed(3)) > 0.3
    there = None if mask is None else mask.to(DEVICE)
    config, causal = DilatedConfig(**BRANCHES), masking == "causal"

    def attend(*inputs):
        if backend == "default":
            return attend_dilated(*inputs, config, mask=there, causal=causal)[0]
        with forced(backend, dtype):
            return attend_dilated(*inputs, config, mask=there, causal=causal)[0]

    def reference(*inputs):
        return reference_dilated_attention(*inputs, config, mask=mask, causal=causal)[0]

    compare(attend, reference, q, k, v, w, dtype)


@pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)
def test_packed_slides_equal_each_alone(dtype):
    lengths, pattern = [150, 1, 0, 333], DilatedAttention(*BRANCHES.values())
    q, k, v, w = draw(sum(lengths), 8, 48, dtype=dtype)

    def reference(*inputs):
        slides = zip(*(torch.split(x, lengths) for x in inputs), strict=True)
        outs = [
            reference_dilated_attention(*(x[None] for x in slide), pattern.config)[0][0]
            for slide in slides
        ]
        return torch.cat(outs)

    compare(lambda *x: attend_packed(pattern, *x, lengths)[0], reference, q, k, v, w, dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("mixing", ["released", "true"])
@pytest.mark.parametrize("forced_in", ["nothing", "forward", "backward"])
def test_compiled_it_gives_the_same(dtype, mixing, forced_in):
    """Also where a backend is forced in one pass only: what it kept says nothing to another."""
    q, k, v, w = draw(2, 260, 8, 48, dtype=dtype)
    mask = torch.arange(260) < torch.tensor([[260], [77]])
    pattern = DilatedAttention(*BRANCHES.values(), mixing_gradient=mixing)

    def attend(q, k, v, mask):
        return pattern(q, k, v, mask=mask)[0] * 2.0

    compiled = torch.compile(attend, fullgraph=True, backend="aot_eager")
    ours = [x.to(DEVICE).requires_grad_() for x in (q, k, v)]
    with forced("views", dtype) if forced_in == "forward" else nullcontext():
        out = compiled(*ours, mask.to(DEVICE))
    with forced("views", dtype) if forced_in == "backward" else nullcontext():
        got = torch.autograd.grad(out, ours, w.to(DEVICE))
    exact = [x.double().requires_grad_() for x in (q, k, v)]
    want = reference_dilated_attention(*exact, pattern.config, mask=mask)[0] * 2.0
    close(out, want, dtype)
    for a, b in zip(got, torch.autograd.grad(want, exact, w.double()), strict=True):
        close(a, b, dtype)
    torch._dynamo.reset()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("length", [20_001, 70_000])
def test_long_slides_agree_with_float32_views(dtype, length):
    """GigaPath's branches, where a segment has many blocks of queries and keys; eight heads."""
    config = DilatedConfig((1024, 5792, 32768, 185363), (1, 2, 4, 8))
    q, k, v, w = (x.to(DEVICE) for x in draw(1, length, 8, 48, dtype=dtype))
    results = []
    for backend in ("default", "views"):
        inputs = [x.clone().requires_grad_() for x in (q, k, v)]
        if backend == "default":
            out, lse = attend_dilated(*inputs, config)
        else:
            inputs = [x.float().detach().requires_grad_() for x in inputs]
            with forced(backend, torch.float32):
                out, lse = attend_dilated(*inputs, config)
        results.append((out, lse, *torch.autograd.grad(out, inputs, w.to(out.dtype))))
    for got, want in zip(*results, strict=True):
        close(got, want.cpu(), dtype)

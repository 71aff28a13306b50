"""Dilated attention against its oracle, in value and gradient."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from slidenet.attention import (
    DilatedAttention,
    DilatedConfig,
    attend_dilated,
    dilated_attention,
    force_backend,
    make_attention,
    reference_attention,
    reference_dilated_attention,
)
from slidenet.core.errors import AttentionError

BRANCHES = {"segment_lengths": (4, 9, 16), "dilation_rates": (1, 2, 4)}


def qkv(batch, length, heads, width=4, dtype=torch.float64, seed=0):
    g = torch.Generator().manual_seed(seed)
    shape = (3, batch, length, heads, width)
    return list(torch.randn(shape, generator=g, dtype=torch.float64).to(dtype).unbind(0))


def check(config, q, k, v, *, mask=None, causal=False, with_lse=True):
    """Values and gradients of the fast path against the oracle, float64."""
    got_in = [x.detach().clone().requires_grad_() for x in (q, k, v)]
    want_in = [x.detach().clone().requires_grad_() for x in (q, k, v)]
    out, lse = attend_dilated(*got_in, config, mask=mask, causal=causal)
    want, want_lse = reference_dilated_attention(*want_in, config, mask=mask, causal=causal)
    torch.testing.assert_close(out, want, atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(lse, want_lse, atol=1e-12, rtol=1e-12)
    g = torch.Generator().manual_seed(9)
    w_out = torch.randn(out.shape, generator=g, dtype=out.dtype)
    w_lse = torch.randn(lse.shape, generator=g, dtype=out.dtype) * with_lse
    seen = want_lse.detach() > -torch.inf
    grads = []
    for o, s, inputs in ((out, lse, got_in), (want, want_lse, want_in)):
        loss = (o * w_out).sum()
        if with_lse:
            loss = loss + (torch.where(seen, s, 0.0) * w_lse).sum()
        loss.backward()
        grads.append([x.grad for x in inputs])
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, atol=1e-11, rtol=1e-11)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(data=st.data())
def test_equals_the_oracle(data):
    draw = data.draw
    rates = draw(st.lists(st.integers(1, 6), min_size=1, max_size=3))
    segments = [draw(st.integers(r, 40)) for r in rates]
    config = DilatedConfig(
        tuple(segments),
        tuple(rates),
        draw(st.sampled_from(["released", "paper"])),
        draw(st.sampled_from(["released", "masked"])),
        draw(st.sampled_from(["released", "true"])),
    )
    batch, length, heads = (draw(st.integers(*b)) for b in ((1, 3), (0, 50), (1, 9)))
    causal = draw(st.booleans())
    masking = draw(st.sampled_from(["none", "padding", "gaps"]))
    mask = None
    if masking != "none":
        lengths = torch.tensor([draw(st.integers(0, length)) for _ in range(batch)])
        mask = torch.arange(length) < lengths[:, None]
    if masking == "gaps":
        g = torch.Generator().manual_seed(draw(st.integers(0, 99)))
        mask = mask & (torch.rand(mask.shape, generator=g) < 0.7)
    check(
        config, *qkv(batch, length, heads), mask=mask, causal=causal, with_lse=draw(st.booleans())
    )


@pytest.mark.parametrize("backend", ["cpu_flash", "math"])
@pytest.mark.parametrize("mixing", ["released", "true"])
def test_every_backend_gives_the_same(backend, mixing):
    config = DilatedConfig(**BRANCHES, mixing_gradient=mixing)
    gaps = torch.rand(2, 37, generator=torch.Generator().manual_seed(4)) < 0.7
    with force_backend(backend):
        for mask, causal in [(None, False), (gaps, False), (gaps, True)]:
            check(config, *qkv(2, 37, 6), mask=mask, causal=causal)


def test_gradcheck_of_the_true_gradient():
    q, k, v = (x.requires_grad_() for x in qkv(1, 11, 3, 2))
    mask = torch.tensor([[True] * 8 + [False, True, False]])

    def run(*inputs):
        return dilated_attention(
            *inputs, segment_lengths=[3, 8], dilation_rates=[1, 3], mixing_gradient="true",
            mask=mask,
        )  # fmt: skip

    assert torch.autograd.gradcheck(run, (q, k, v))


def test_the_two_gradients_differ_and_the_values_do_not():
    q, k, v = qkv(1, 40, 4)
    results = {}
    for mixing in ("released", "true"):
        query = q.clone().requires_grad_()
        out = dilated_attention(query, k, v, **BRANCHES, mixing_gradient=mixing)
        out.square().sum().backward()
        results[mixing] = (out.detach(), query.grad)
    assert torch.equal(results["released"][0], results["true"][0])
    difference = (results["released"][1] - results["true"][1]).norm()
    assert difference > 0.05 * results["true"][1].norm()


def test_a_single_undilated_branch_is_dense_attention():
    q, k, v = qkv(2, 13, 3)
    out, lse = dilated_attention(q, k, v, segment_lengths=[13], dilation_rates=[1], return_lse=True)
    want = reference_attention(q, k, v, torch.ones(13, 13, dtype=torch.bool))
    torch.testing.assert_close((out, lse), want, atol=1e-12, rtol=0)


@pytest.mark.parametrize("padding", ["released", "masked"])
def test_padded_entries_equal_themselves_alone(padding):
    q, k, v = qkv(3, 50, 4)
    lengths = [50, 23, 0]
    mask = torch.arange(50) < torch.tensor(lengths)[:, None]
    poisoned = [torch.where(mask[:, :, None, None], x, torch.nan) for x in (q, k, v)]
    for x in poisoned:
        x.requires_grad_()
    out = dilated_attention(*poisoned, **BRANCHES, padding=padding, mask=mask)
    for b, n in enumerate(lengths):
        alone = dilated_attention(
            *[x[b : b + 1, :n] for x in (q, k, v)], **BRANCHES, padding=padding
        )
        torch.testing.assert_close(out[b : b + 1, :n], alone, atol=1e-13, rtol=0)
        assert not out[b, n:].any()
    out.square().sum().backward()
    for x in poisoned:
        assert torch.isfinite(x.grad).all()
        assert not x.grad[~mask].any()


def test_gaps_full_of_nan_do_not_leak():
    q, k, v = qkv(1, 30, 4)
    mask = torch.rand(1, 30, generator=torch.Generator().manual_seed(3)) < 0.6
    clean = dilated_attention(q, k, v, **BRANCHES, mask=mask)
    poisoned = [
        torch.where(mask[:, :, None, None], x, torch.nan).requires_grad_() for x in (q, k, v)
    ]
    out = dilated_attention(*poisoned, **BRANCHES, mask=mask)
    torch.testing.assert_close(out, clean, atol=0, rtol=0)
    out.sum().backward()
    assert all(torch.isfinite(x.grad).all() for x in poisoned)


def test_views_of_one_projection_in_poisoned_storage():
    storage = torch.full((1, 70, 3 * 4 * 8 + 5), torch.nan, dtype=torch.float64)
    fused = torch.randn(1, 35, 3, 4, 8, dtype=torch.float64)
    storage[:, ::2, :96] = fused.flatten(2)
    views = [x.unflatten(-1, (4, 8)) for x in storage[:, ::2, :96].split(32, dim=-1)]
    out = dilated_attention(*views, **BRANCHES)
    want = dilated_attention(*fused.unbind(2), **BRANCHES)
    torch.testing.assert_close(out, want, atol=0, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_lower_precision_stays_close_to_the_oracle(dtype):
    config = DilatedConfig(**BRANCHES)
    inputs = [x.requires_grad_() for x in qkv(1, 61, 6, 16, dtype)]
    out, lse = attend_dilated(*inputs, config)
    want, _ = reference_dilated_attention(*inputs, config)
    assert out.dtype == dtype
    assert lse.dtype == torch.float32
    tolerance = {torch.float32: 2e-6, torch.bfloat16: 2e-2, torch.float16: 3e-3}[dtype]
    assert (out - want).abs().max() < tolerance * want.abs().max()
    grads = torch.autograd.grad(out.sum(), inputs)
    expected = torch.autograd.grad(want.sum(), inputs)
    for a, b in zip(grads, expected, strict=True):
        assert a.dtype == dtype
        assert (a - b).abs().max() < 2 * tolerance * b.abs().max()


@pytest.mark.parametrize("length", [0, 1])
@pytest.mark.parametrize("batch", [0, 1, 2])
def test_tiny_lengths_are_defined(length, batch):
    q, k, v = (x.requires_grad_() for x in qkv(batch, length, 4))
    out, lse = dilated_attention(q, k, v, **BRANCHES, padding="masked", return_lse=True)
    assert out.shape == (batch, length, 4, 4)
    assert lse.shape == (batch, 4, length)
    torch.testing.assert_close(out[:, :, 0], v[:, :, 0])  # its only key is itself
    out.sum().backward()


def test_uncovered_positions_are_zero():
    q, k, v = qkv(1, 8, 2)
    out, lse = dilated_attention(q, k, v, segment_lengths=[8], dilation_rates=[4], return_lse=True)
    covered = torch.zeros(8, 2, dtype=torch.bool)
    covered[0::4, 0] = covered[1::4, 1] = True
    assert torch.equal((lse[0] > -torch.inf).T, covered)
    assert not out[0][~covered].any()


def test_the_pattern_object():
    pattern = make_attention("dilated", segment_lengths=[4, 9], dilation_rates=[1, 2])
    assert pattern == DilatedAttention((4, 9), (1, 2))
    q, k, v = qkv(1, 10, 4)
    out, lse = pattern(q, k, v)
    want = dilated_attention(
        q, k, v, segment_lengths=[4, 9], dilation_rates=[1, 2], return_lse=True
    )
    torch.testing.assert_close((out, lse), want, atol=0, rtol=0)
    seen = pattern.mask(10, 4)
    assert seen.shape == (4, 10, 10)
    assert seen.diagonal(dim1=-2, dim2=-1).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"segment_lengths": [], "dilation_rates": []}, "0 segment_lengths"),
        ({"segment_lengths": [8], "dilation_rates": [1, 2]}, "1 segment_lengths and 2"),
        ({"segment_lengths": [8, 8], "dilation_rates": [1, 0]}, "dilation_rates is"),
        ({"segment_lengths": [0], "dilation_rates": [1]}, "segment_lengths is"),
        ({"segment_lengths": [8.0], "dilation_rates": [1]}, "segment_lengths is"),
        ({"segment_lengths": [True], "dilation_rates": [1]}, "segment_lengths is"),
        ({"segment_lengths": [3], "dilation_rates": [4]}, "shorter than its dilation rate 4"),
        ({**BRANCHES, "head_order": "reversed"}, "head_order is 'reversed'"),
        ({**BRANCHES, "padding": "zeros"}, "padding is 'zeros'"),
        ({**BRANCHES, "mixing_gradient": "none"}, "mixing_gradient is 'none'"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    q, k, v = qkv(1, 5, 2)
    with pytest.raises(AttentionError, match=message):
        dilated_attention(q, k, v, **settings)


def test_bad_tensors_are_refused():
    q, k, v = qkv(1, 5, 2)
    with pytest.raises(AttentionError, match="shapes"):
        dilated_attention(q, k[:, :4], v, **BRANCHES)
    with pytest.raises(AttentionError, match="key mask"):
        dilated_attention(q, k, v, **BRANCHES, mask=torch.ones(1, 5))


@pytest.mark.parametrize("order", ["released", "paper"])
def test_heads_may_be_computed_a_few_at_a_time(order):
    config = DilatedConfig(**BRANCHES, head_order=order)
    q, k, v = qkv(1, 45, 6)
    want, want_lse = attend_dilated(q, k, v, config)
    for first, count in [(0, 1), (1, 3), (4, 2)]:
        part = [x[:, :, first : first + count] for x in (q, k, v)]
        out, lse = attend_dilated(*part, config, first_head=first, num_heads=6)
        torch.testing.assert_close(out, want[:, :, first : first + count], atol=1e-14, rtol=0)
        torch.testing.assert_close(lse, want_lse[:, first : first + count], atol=1e-14, rtol=0)
    with pytest.raises(AttentionError, match="2 heads from head 5"):
        attend_dilated(q[:, :, :2], k[:, :, :2], v[:, :, :2], config, first_head=5, num_heads=6)


def test_inside_torch_compile():
    def run(q, k, v):
        return dilated_attention(q * 2, k, v, **BRANCHES).sin()

    inputs = [x.requires_grad_() for x in qkv(1, 21, 4)]
    want = run(*inputs)
    got = torch.compile(run, backend="eager")(*inputs)
    torch.testing.assert_close(got, want, atol=0, rtol=0)
    grads = [torch.autograd.grad(x.sum(), inputs) for x in (got, want)]
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, atol=0, rtol=0)


@pytest.mark.parametrize(
    ("mixing", "rates", "units"),
    [
        ("true", (1, 2, 4), 4.0),  # q, k, v, out
        ("released", (1, 2, 4), 3 + 1.75),  # q, k, v and what each branch keeps
        ("released", (1, 1, 1), 3.0),  # three outputs would be too much: recomputed
    ],
)
def test_what_the_backward_keeps(mixing, rates, units):
    inputs = [x.requires_grad_() for x in qkv(1, 64, 4, 16)]
    kept = []

    def pack(x):
        kept.append(x.numel())
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        attend_dilated(*inputs, DilatedConfig((16, 32, 64), rates, mixing_gradient=mixing))
    lse = 64 * 4
    assert sum(kept) == units * inputs[0].numel() + lse

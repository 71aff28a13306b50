"""A packed batch gives what each slide gives alone, whatever calls serve it."""

import numpy as np
import pytest
import torch

from slidenet.attention import DilatedAttention, attend_packed
from slidenet.attention.dilated import packed_plan
from slidenet.attention.dilated.packed_plan import PackedCall, group_bounds, plan_packed

LENGTHS = (1, 37, 23, 0, 16, 16)
BRANCHES = {"segment_lengths": (4, 9, 16), "dilation_rates": (1, 2, 4)}
SETTINGS = [
    ("released", "released", "released", 4),
    ("released", "masked", "true", 6),  # an offset with fewer heads
    ("paper", "released", "released", 2),  # offsets that no head keeps
]


def packed_qkv(heads, dtype=torch.float64, width=4):
    generator = torch.Generator().manual_seed(0)
    shape = (3, sum(LENGTHS), heads, width)
    x = torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
    return [y.requires_grad_() for y in x.unbind(0)]


def one_after_another(pattern, q, k, v, *, causal):
    parts = [
        pattern(*(x[None] for x in slide), causal=causal)
        for slide in zip(*(x.split(LENGTHS) for x in (q, k, v)), strict=True)
    ]
    return torch.cat([out[0] for out, _ in parts]), torch.cat([lse[0].T for _, lse in parts])


def gradients(out, lse, inputs):
    generator = torch.Generator().manual_seed(1)
    finite = lse.masked_fill(lse == -torch.inf, 0.0)
    weighted = [
        (x * torch.randn(x.shape, generator=generator, dtype=torch.float64)).sum()
        for x in (out, finite)
    ]
    return torch.autograd.grad(sum(weighted), inputs)


@pytest.mark.filterwarnings("ignore::slidenet.attention.protocol.AttentionWarning")
@pytest.mark.parametrize("calls", ["few", "usual", "many"])
@pytest.mark.parametrize("causal", [False, True])
def test_a_packed_batch_equals_its_slides(monkeypatch, calls, causal):
    if calls != "usual":
        monkeypatch.setitem(packed_plan.PAIRS_PER_CALL, "cpu", 10**9 if calls == "few" else 0)
        monkeypatch.setitem(packed_plan.ROWS_PER_CALL, "cpu", 10**9 if calls == "few" else 20)
    packed_plan.kept_plan.cache_clear()
    for order, padding, mixing, heads in SETTINGS:
        pattern = DilatedAttention(
            **BRANCHES, head_order=order, padding=padding, mixing_gradient=mixing
        )
        inputs = packed_qkv(heads)
        found = attend_packed(pattern, *inputs, LENGTHS, causal=causal)
        wanted = one_after_another(pattern, *inputs, causal=causal)
        torch.testing.assert_close(found, wanted, atol=1e-13, rtol=0)
        for one, other in zip(gradients(*found, inputs), gradients(*wanted, inputs), strict=True):
            torch.testing.assert_close(one, other, atol=1e-13, rtol=0)
    packed_plan.kept_plan.cache_clear()


@pytest.mark.parametrize(("rates", "kept"), [((1, 2, 4), 3 + 1.75), ((1, 1, 1), 3.0)])
def test_what_is_kept_and_what_is_recomputed(rates, kept):
    found = []
    inputs = packed_qkv(4)
    pattern = DilatedAttention((8, 16, 32), rates)
    with torch.autograd.graph.saved_tensors_hooks(lambda x: found.append(x) or x, lambda x: x):
        out, lse = attend_packed(pattern, *inputs, LENGTHS)
    extra = sum(x.numel() for x in found) - lse.numel()
    assert extra <= (kept + 0.1) * out.numel(), "an odd length has a slot more than its half"
    wanted = one_after_another(pattern, *inputs, causal=False)
    for one, other in zip(gradients(out, lse, inputs), gradients(*wanted, inputs), strict=True):
        torch.testing.assert_close(one, other, atol=1e-13, rtol=0)


def test_half_precision():
    inputs = packed_qkv(4, torch.bfloat16, width=8)
    out, lse = attend_packed(DilatedAttention(**BRANCHES), *inputs, LENGTHS)
    wanted, _ = one_after_another(DilatedAttention(**BRANCHES), *inputs, causal=False)
    assert (out.dtype, lse.dtype) == (torch.bfloat16, torch.float32)
    torch.testing.assert_close(out, wanted, atol=0.02, rtol=0)


def test_positions_that_are_not_real_are_in_no_call():
    real = np.ones(sum(LENGTHS), dtype=bool)
    real[[0, 3, 30, 51]] = False
    call = PackedCall(DilatedAttention(**BRANCHES).config, LENGTHS, 4, False, 0, 4)
    for branch in plan_packed(call, torch.device("cpu"), real):
        assert real[branch.rows // 4].all()
        assert len(branch.rows.unique()) == len(branch.rows)
        for group in branch.groups:
            rows = torch.arange(len(real) * 4)[group.read]
            assert real[rows // 4].all()


def test_groups_fill_up_no_more_than_a_call_costs():
    sizes = np.array([9, 8, 8, 3, 3, 1])
    assert group_bounds(sizes, 0, 100) == [(0, 1), (1, 3), (3, 5), (5, 6)]
    assert group_bounds(sizes, 2 * (81 - 64), 100) == [(0, 3), (3, 6)]
    assert group_bounds(sizes, 1000, 100) == [(0, 6)]
    assert group_bounds(sizes, 1000, 20) == [(0, 2), (2, 4), (4, 6)]
    assert group_bounds(sizes[:0], 1000, 20) == []

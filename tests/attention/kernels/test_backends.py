"""Every kernel against the oracle, through output and log-sum-exp."""

import pytest
import torch

from slidenet.attention import (
    attend,
    choose_kernel,
    explain_backends,
    force_backend,
    merge_attention,
    reference_attention,
)
from slidenet.attention.kernels.backends import KERNELS
from slidenet.attention.kernels.cuda import aligned_rows
from slidenet.attention.merge import add_zero_keys_, merge_into_
from slidenet.core.errors import AttentionError, UnknownNameError

CPU_KERNELS = [k.name for k in KERNELS.values() if not k.refuses(torch.zeros(1), False)]


def qkv(*shape, dtype=torch.float64, seed=0):
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=g, dtype=torch.float64).to(dtype) for _ in range(3)]


def heads_first(tensors):
    return [x.transpose(1, 2) for x in tensors]


@pytest.mark.parametrize("name", CPU_KERNELS)
@pytest.mark.parametrize("length", [1, 2, 7, 65])
@pytest.mark.parametrize("masking", ["none", "causal", "allowed", "both", "keys"])
def test_value_and_gradient_equal_the_oracle(name, length, masking):
    q, k, v = (x.requires_grad_() for x in qkv(2, length, 3, 5))
    allowed = torch.ones(length, length, dtype=torch.bool)
    causal = masking in ("causal", "both")
    given = None
    if masking in ("allowed", "both", "keys"):
        rows = 1 if masking == "keys" else length
        given = torch.rand(2, 3, rows, length, generator=torch.Generator().manual_seed(1)) < 0.4
        given[:, :, 0, : length // 2 + 1] = False
        allowed = given
    if causal:
        allowed = allowed & torch.ones(length, length, dtype=torch.bool).tril()
    want_out, want_lse = reference_attention(q, k, v, allowed)
    with force_backend(name):
        out, lse = attend(*heads_first([q, k, v]), allowed=given, causal=causal)
    out = out.transpose(1, 2)
    torch.testing.assert_close(out, want_out, atol=1e-12, rtol=0)
    torch.testing.assert_close(lse, want_lse, atol=1e-12, rtol=0)
    w_out, _, _ = qkv(*out.shape, seed=5)
    w_lse = torch.randn(lse.shape, generator=torch.Generator().manual_seed(6), dtype=lse.dtype)
    finite = lse.detach() > -torch.inf

    def loss(o, s):
        return (o * w_out).sum() + (s[finite] * w_lse[finite]).sum()

    got = torch.autograd.grad(loss(out, lse), (q, k, v))
    want = torch.autograd.grad(loss(want_out, want_lse), (q, k, v))
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, atol=1e-11, rtol=0)


@pytest.mark.parametrize("name", CPU_KERNELS)
@pytest.mark.parametrize(("num_queries", "num_keys"), [(0, 4), (4, 0), (0, 0)])
def test_empty_sides_are_defined(name, num_queries, num_keys):
    q = torch.randn(2, 3, num_queries, 8, requires_grad=True)
    k = torch.randn(2, 3, num_keys, 8, requires_grad=True)
    with force_backend(name):
        out, lse = attend(q, k, k)
    assert out.shape == q.shape
    assert not out.any()
    assert (lse == -torch.inf).all()
    out.sum().backward()
    assert q.grad is None or not q.grad.any()


@pytest.mark.parametrize("name", CPU_KERNELS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_lower_precision_stays_close(name, dtype):
    q, k, v = qkv(1, 33, 2, 16, dtype=dtype)
    want, want_lse = reference_attention(q, k, v, torch.ones(33, 33, dtype=torch.bool))
    with force_backend(name):
        out, lse = attend(*heads_first([q, k, v]))
    assert out.dtype == dtype
    assert lse.dtype == torch.float32
    tolerance = 1e-5 if dtype == torch.float32 else 2e-2
    torch.testing.assert_close(out.transpose(1, 2).double(), want, atol=tolerance, rtol=0)
    torch.testing.assert_close(lse.double(), want_lse, atol=tolerance, rtol=0)


def test_strided_views_into_poisoned_storage():
    storage = torch.full((2, 40, 3, 4, 16), torch.nan, dtype=torch.float64)
    storage[:, 1::2, :, ::2, :8] = torch.randn(2, 20, 3, 2, 8, dtype=torch.float64)
    q, k, v = storage[:, 1::2, :, ::2, :8].unbind(2)
    want, _ = reference_attention(q, k, v, torch.ones(20, 20, dtype=torch.bool))
    out, _ = attend(*heads_first([q, k, v]))
    torch.testing.assert_close(out.transpose(1, 2), want, atol=1e-12, rtol=0)


def test_merging_parts_of_the_keys_is_attention_over_all_of_them():
    q, k, v = (x.requires_grad_() for x in qkv(1, 12, 2, 4))
    want, want_lse = reference_attention(q, k, v, torch.ones(12, 12, dtype=torch.bool))
    qh, kh, vh = heads_first([q, k, v])
    cuts = [(0, 5), (5, 5), (5, 12)]  # one part without any key
    parts = [attend(qh, kh[:, :, a:b], vh[:, :, a:b]) for a, b in cuts]
    out, lse = merge_attention([(o.transpose(1, 2), s) for o, s in parts])
    torch.testing.assert_close(out, want, atol=1e-12, rtol=0)
    torch.testing.assert_close(lse, want_lse, atol=1e-12, rtol=0)
    weight = qkv(*out.shape, seed=3)[0]
    got = torch.autograd.grad((out * weight).sum() + lse.sin().sum(), (q, k, v))
    expected = torch.autograd.grad((want * weight).sum() + want_lse.sin().sum(), (q, k, v))
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-11, rtol=0)


def test_merging_in_place_starts_from_nothing():
    q, k, v = qkv(2, 9, 2, 4)
    qh, kh, vh = heads_first([q, k, v])
    total, total_lse = torch.zeros_like(qh), torch.full((2, 2, 9), -torch.inf, dtype=q.dtype)
    for a, b in [(0, 0), (0, 2), (2, 2), (2, 9)]:
        merge_into_(total, total_lse, *attend(qh, kh[:, :, a:b], vh[:, :, a:b]))
    want, want_lse = reference_attention(q, k, v, torch.ones(9, 9, dtype=torch.bool))
    torch.testing.assert_close(total.transpose(1, 2), want, atol=1e-12, rtol=0)
    torch.testing.assert_close(total_lse, want_lse, atol=1e-12, rtol=0)


def test_zero_keys_in_closed_form():
    q, k, v = qkv(2, 6, 2, 4)
    allowed = torch.ones(6, 6, dtype=torch.bool)
    allowed[0] = False
    want, want_lse = reference_attention(q, k, v, allowed, zero_keys=torch.tensor(3.0))
    out, lse = reference_attention(q, k, v, allowed)
    out = out.transpose(1, 2)
    add_zero_keys_(out, lse, 3)
    torch.testing.assert_close(out.transpose(1, 2), want, atol=1e-12, rtol=0)
    torch.testing.assert_close(lse, want_lse, atol=1e-12, rtol=0)
    assert lse[0, 0, 0] == torch.log(torch.tensor(3.0, dtype=torch.float64))


def test_masked_positions_neither_attend_nor_leak():
    q, k, v = (x.requires_grad_() for x in qkv(2, 6, 2, 4))
    mask = torch.tensor([[True] * 6, [True, False, True, True, False, False]])
    poisoned = [torch.where(mask[:, :, None, None], x, torch.nan) for x in (q, k, v)]
    out, lse = reference_attention(*poisoned, torch.ones(6, 6, dtype=torch.bool), mask=mask)
    assert (out[~mask] == 0).all()
    assert (lse[1, :, ~mask[1]] == -torch.inf).all()
    alone, _ = reference_attention(
        *[x[1:, mask[1]] for x in (q, k, v)], torch.ones(3, 3, dtype=torch.bool)
    )
    torch.testing.assert_close(out[1:, mask[1]], alone, atol=1e-13, rtol=0)
    for grad in torch.autograd.grad(out.square().sum(), (q, k, v)):
        assert torch.isfinite(grad).all()


def test_the_choice_can_be_inspected_and_forced():
    q = torch.zeros(1, 1, 2, 4)
    assert choose_kernel(q).name == "cpu_flash"
    assert explain_backends(q)["cpu_flash"] == ""
    with force_backend("math"):
        assert choose_kernel(q).name == "math"
    assert choose_kernel(q).name == "cpu_flash"
    assert "meta" in explain_backends(q.to("meta"))["cpu_flash"]


def test_impossible_forcing_is_refused():
    with pytest.raises(UnknownNameError, match="did you mean cpu_flash"), force_backend("cpu_flsh"):
        pass
    with (
        force_backend("cpu_flash"),
        pytest.raises(AttentionError, match="forced attention backend 'cpu_flash' needs CPU"),
    ):
        choose_kernel(torch.zeros(1, 1, 2, 4, device="meta"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", ["cuda_flash", "cuda_efficient", "math"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("masking", ["none", "causal", "keys", "both"])
@pytest.mark.parametrize("width", [16, 12, 5, 72])
def test_cuda_kernels_equal_the_oracle(name, dtype, masking, width):
    q, k, v = (x.cuda().requires_grad_() for x in qkv(2, 131, 3, width, dtype=dtype))
    causal = masking in ("causal", "both")
    given = None
    if masking in ("keys", "both"):
        given = torch.rand(2, 1, 1, 131, generator=torch.Generator().manual_seed(1)).cuda() < 0.5
    reason = KERNELS[name].refuses(q.transpose(1, 2), given is not None)
    if reason:
        pytest.skip(f"{name} {reason}")
    allowed = torch.ones(131, 131, dtype=torch.bool, device="cuda") if given is None else given
    if causal:
        allowed = allowed & torch.ones(131, 131, dtype=torch.bool, device="cuda").tril()
    want, want_lse = reference_attention(q, k, v, allowed)
    with force_backend(name):
        out, lse = attend(*heads_first([q, k, v]), allowed=given, causal=causal)
    tolerance = 2e-3 if dtype == torch.float32 else 3e-2
    torch.testing.assert_close(out.transpose(1, 2).double(), want, atol=tolerance, rtol=0)
    torch.testing.assert_close(lse.double(), want_lse, atol=tolerance, rtol=0)
    finite = want_lse > -torch.inf
    losses = [
        o.double().square().sum() + s[finite].double().sin().sum()
        for o, s in ((out.transpose(1, 2), lse), (want, want_lse))
    ]
    for a, b in zip(*(torch.autograd.grad(x, (q, k, v)) for x in losses), strict=True):
        assert (a.double() - b.double()).abs().max() < 3 * tolerance * b.abs().max()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", ["cuda_flash", "cuda_efficient"])
def test_cuda_kernels_take_rows_at_any_address(name):
    storage = torch.randn(1 + 2 * 40 * 3 * 52, device="cuda", dtype=torch.bfloat16)
    q = storage[1:].view(2, 40, 3, 52)[..., 1:49].transpose(1, 2).requires_grad_()
    with force_backend(name):
        out, lse = attend(q, q, q)
        (grad,) = torch.autograd.grad(out.sum() + lse.sum(), q)
    with force_backend("math"):
        want, want_lse = attend(q, q, q)
        (want_grad,) = torch.autograd.grad(want.sum() + want_lse.sum(), q)
    torch.testing.assert_close(out, want, atol=3e-2, rtol=3e-2)
    torch.testing.assert_close(lse, want_lse, atol=3e-2, rtol=3e-2)
    assert (grad - want_grad).norm() < 2e-2 * want_grad.norm()


def test_rows_are_copied_only_where_they_must_be():
    x = torch.randn(2, 7, 3, 48, dtype=torch.bfloat16)
    assert aligned_rows(x) is x
    assert aligned_rows(view := x[:, ::2, 1:].transpose(1, 2)) is view
    for other in (
        x[..., :12],
        x[..., 1:17],
        x.expand(2, 7, 3, 48)[..., ::2],
        x.flatten(2)[..., 4:36],
    ):
        found = aligned_rows(other)
        width = other.shape[-1]
        assert torch.equal(found[..., :width], other)
        assert not found[..., width:].any()
        assert found.shape[-1] % 8 == found.data_ptr() % 16 == 0
        assert all(step % 8 == 0 for step in found.stride()[:-1])

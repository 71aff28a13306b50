"""The Triton backend of dilated attention against the oracle, in value and gradient.

On a CUDA device every case runs on the kernels as compiled. Without one, a few tiny cases run in a
subprocess through Triton's interpreter (TRITON_INTERPRET=1 must be set before Triton is imported).
"""

import importlib.util
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from slidenet.attention import attend, explain_backends, force_backend
from slidenet.attention.dilated.attention import attend_dilated
from slidenet.attention.dilated.config import DilatedCall, DilatedConfig
from slidenet.attention.dilated.reference import reference_dilated_attention
from slidenet.attention.dilated.triton import calls
from slidenet.attention.dilated.triton.calls import (
    Launch,
    TritonPlan,
    attend_dilated_triton,
    triton_refuses,
)
from slidenet.core.errors import AttentionError

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"
GIGAPATH = DilatedConfig((1024, 5792, 32768, 185363, 1048576), (1, 2, 4, 8, 16))

needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="needs the package triton"
)


def padded(batch, length, *ends):
    mask = torch.ones(batch, length, dtype=torch.bool)
    for entry, end in enumerate(ends):
        mask[entry, end:] = False
    return mask


def gaps(batch, length):
    return torch.rand(batch, length, generator=torch.Generator().manual_seed(3)) > 0.3


def config(segment_lengths, dilation_rates, **settings):
    return DilatedConfig(segment_lengths, dilation_rates, **settings)


TINY = {
    "released": ((1, 9, 2, 4), config((4, 16), (1, 2)), None, False),
    "padded_true_paper": (
        (2, 6, 2, 5),
        config((4, 16), (1, 3), head_order="paper", mixing_gradient="true"),
        padded(2, 6, 6, 3),
        False,
    ),
    "gaps_causal_masked": (
        (1, 7, 2, 4),
        config((5, 16), (2, 3), padding="masked"),
        gaps(1, 7),
        True,
    ),
}

SMALL = {
    "released": ((2, 300, 16, 48), config((64, 100, 512), (1, 2, 4)), None, False),
    "heads_not_divisible": ((1, 257, 5, 48), config((100, 512), (3, 4)), None, False),
    "paper_order": ((1, 257, 5, 16), config((100, 512), (3, 4), head_order="paper"), None, False),
    "masked_padding": ((1, 261, 8, 48), config((50, 128), (4, 16), padding="masked"), None, False),
    "true_gradient": (
        (1, 301, 4, 64),
        config((64, 512), (1, 4), mixing_gradient="true"),
        None,
        False,
    ),
    "causal": ((1, 333, 4, 48), config((100, 512), (1, 2)), None, True),
    "causal_true_masked": (
        (2, 333, 4, 24),
        config((100, 512), (2, 4), mixing_gradient="true", padding="masked"),
        None,
        True,
    ),
    "padded_batch": (
        (4, 200, 4, 48),
        config((64, 512), (1, 4)),
        padded(4, 200, 200, 77, 1, 0),
        False,
    ),
    "gaps": ((2, 200, 4, 48), config((64, 512), (1, 4)), gaps(2, 200), False),
    "gaps_causal": ((2, 200, 4, 48), config((64, 512), (1, 4)), gaps(2, 200), True),
    "single_position": ((2, 1, 4, 48), config((64, 512), (1, 4)), None, False),
    "full_head": ((1, 150, 2, 64), config((64, 512), (1, 2)), None, False),
    "narrow_head": ((1, 150, 2, 3), config((64, 512), (1, 2)), None, False),
}


@pytest.fixture
def tiny_blocks(monkeypatch):
    """Blocks so small that tiny inputs have several, whole ones and broken ones."""
    tiny = dict.fromkeys(("forward", "query", "key"), Launch(4, 2, 1, 1))
    for precision in ("single", "half"):
        monkeypatch.setitem(calls.LAUNCHES, (precision, 64), tiny)
    for name in ("merge", "sum"):
        monkeypatch.setitem(calls.MERGES, name, (8, 4))


def check(shape, settings, mask, causal, *, dtype=torch.float32, device=DEVICE, tolerance=5e-5):
    """Value and gradient, through output and log-sum-exp, of fresh inputs; padding holds NaN."""
    generator = torch.Generator().manual_seed(sum(shape))
    q, k, v, w = (torch.randn(shape, generator=generator).to(dtype) for _ in range(4))
    w_lse = torch.randn(shape[0], shape[2], shape[1], generator=generator)
    where = None
    if mask is not None:
        q, k, v = (torch.where(mask[:, :, None, None], x, torch.nan) for x in (q, k, v))
        where = mask.to(device)
    ours = [x.to(device).requires_grad_() for x in (q, k, v)]
    out, lse = attend_dilated_triton(*ours, DilatedCall(settings, where, causal))
    exact = [x.double().requires_grad_() for x in (q, k, v)]
    want, want_lse = reference_dilated_attention(*exact, settings, mask=mask, causal=causal)
    assert out.dtype == dtype
    assert lse.dtype == torch.float32
    covered = want_lse > -torch.inf
    assert torch.equal(lse.cpu() > -torch.inf, covered)
    assert not out.cpu()[~covered.transpose(1, 2)].any()
    close(out, want, tolerance)
    close(lse.cpu()[covered], want_lse[covered], tolerance)
    got = gradients(out, lse, w, w_lse, covered, ours)
    for a, b in zip(got, gradients(want, want_lse, w, w_lse, covered, exact), strict=True):
        close(a, b, tolerance)


def gradients(out, lse, w, w_lse, covered, operands):
    loss = (out * w.to(out)).sum() + (lse * w_lse.to(lse))[covered.to(lse.device)].sum()
    return torch.autograd.grad(loss, operands)


def close(got, want, tolerance):
    error = (got.detach().cpu().double() - want.detach().double()).norm()
    assert error <= tolerance * max(1e-3, want.detach().double().norm().item())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("case", list(SMALL))
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float32, 5e-5), (torch.float16, 3e-3), (torch.bfloat16, 2e-2)],
    ids=["float32", "float16", "bfloat16"],
)
def test_value_and_gradient_equal_the_oracle(case, dtype, tolerance):
    check(*SMALL[case], dtype=dtype, tolerance=tolerance)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_wide_heads_in_half_precision():
    shape, settings = (1, 150, 2, 128), config((64, 512), (1, 2))
    check(shape, settings, None, False, dtype=torch.bfloat16, tolerance=2e-2)


def check_heads_apart(shape, settings, first, count, tolerance=5e-5):
    """Some heads of a layer, given their place in it, give what they give among all."""
    q, k, v = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0)).unbind(0)
    want, want_lse = reference_dilated_attention(q, k, v, settings)
    some = slice(first, first + count)
    ours = [x[:, :, some].to(DEVICE) for x in (q, k, v)]
    out, lse = attend_dilated_triton(
        *ours, DilatedCall(settings, first_head=first, num_heads=shape[2])
    )
    close(out, want[:, :, some], tolerance)
    close(lse, want_lse[:, some], tolerance)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("order", ["released", "paper"])
def test_heads_apart(order):
    check_heads_apart((2, 300, 6, 48), config((64, 512), (1, 4), head_order=order), 2, 3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_equal_inputs_give_equal_bits():
    q, k, v, w = torch.randn(4, 1, 5000, 16, 48, device=DEVICE, dtype=torch.bfloat16).unbind(0)
    runs = []
    for _ in range(2):
        ours = [x.clone().requires_grad_() for x in (q, k, v)]
        out, _ = attend_dilated_triton(*ours, DilatedCall(GIGAPATH))
        runs.append((out, *torch.autograd.grad(out, ours, w)))
    for a, b in zip(*runs, strict=True):
        assert torch.equal(a, b)


@pytest.fixture
def on_a_gpu(monkeypatch):
    """A tensor that says it is on a GPU, and nothing known yet of what Triton lacks."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    calls._cannot_compile.cache_clear()
    yield SimpleNamespace(device=torch.device("cuda"), dtype=torch.bfloat16, shape=(1, 9, 2, 48))
    calls._cannot_compile.cache_clear()


@needs_triton
def test_a_machine_without_a_compiler_is_refused(monkeypatch, on_a_gpu):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(calls.shutil, "which", lambda name: None)
    assert triton_refuses(on_a_gpu).startswith("needs a C compiler (gcc, clang")


@needs_triton
def test_a_machine_without_headers_of_python_is_refused(monkeypatch, tmp_path, on_a_gpu):
    monkeypatch.setenv("CC", "cc")
    monkeypatch.setattr(calls.sysconfig, "get_paths", lambda scheme: {"include": str(tmp_path)})
    assert triton_refuses(on_a_gpu).startswith("needs the headers of Python (Python.h")
    calls._cannot_compile.cache_clear()
    (tmp_path / "Python.h").touch()
    assert triton_refuses(on_a_gpu) == ""


@needs_triton
def test_a_machine_that_keeps_no_compiled_kernels_is_refused(monkeypatch, tmp_path, on_a_gpu):
    monkeypatch.setenv("CC", "cc")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "not" / "there"))
    monkeypatch.setattr(calls.os, "access", lambda path, mode: path != tmp_path)
    assert triton_refuses(on_a_gpu).startswith(f"needs to write into {tmp_path} (or the folder")


def test_refusals_name_the_reason():
    assert triton_refuses(torch.zeros(1, 2, 3, 4)) == "needs CUDA tensors, not cpu"
    assert explain_backends(torch.zeros(1, 2, 3, 4))["triton"] == "needs CUDA tensors, not cpu"


def test_forcing_it_where_it_cannot_run_is_refused():
    q = torch.zeros(1, 8, 2, 4)
    with force_backend("triton"):
        with pytest.raises(AttentionError, match="backend 'triton' needs CUDA tensors, not cpu"):
            attend_dilated(q, q, q, config((4,), (1,)))
        with pytest.raises(AttentionError, match="'triton' serves dilated attention only"):
            attend(q, q, q)


def test_saved_rows_are_counted_exactly():
    # GigaPath, 6,000 positions; the second branch keeps 2896 + 104
    plan = TritonPlan.of(torch.empty(1, 6000, 1, 8), DilatedCall(GIGAPATH))
    assert plan.layout.num_rows == 6000 + 3000 + 1500 + 750 + 375 + 7  # a multiple of 16
    assert plan.grid(128) == (6 * 8 + 2 * 23 + 12 + 6 + 3, 1, 1)
    assert plan.layout.branches.tolist()[0] == [5792, 2]  # 2,896 keys per query, the most


@needs_triton
def test_no_positions_at_all():
    q = torch.empty(2, 0, 4, 8, requires_grad=True)
    out, lse = attend_dilated_triton(q, q, q, DilatedCall(GIGAPATH))
    assert out.shape == (2, 0, 4, 8)
    assert lse.shape == (2, 4, 0)
    out.sum().backward()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_it_is_the_default_unless_another_is_forced():
    q = torch.randn(1, 100, 4, 48, device=DEVICE, dtype=torch.float16)
    settings = config((64,), (2,))
    with force_backend("triton"):
        forced, _ = attend_dilated(q, q, q, settings)
    by_default, _ = attend_dilated(q, q, q, settings)
    assert torch.equal(forced, by_default)
    with force_backend("cuda_flash"):
        views, _ = attend_dilated(q, q, q, settings)
    assert not torch.equal(forced, views)
    close(views, forced.cpu(), 3e-3)


@pytest.mark.skipif(not INTERPRETED, reason="run by test_the_kernels_under_the_interpreter")
@pytest.mark.parametrize("case", list(TINY))
def test_interpreted(case, tiny_blocks):
    check(*TINY[case])


@pytest.mark.skipif(not INTERPRETED, reason="run by test_the_kernels_under_the_interpreter")
def test_interpreted_in_half_precision(tiny_blocks):
    # Not in bfloat16, which the interpreter multiplies as if its bits were integers.
    check(*TINY["released"], dtype=torch.float16, tolerance=3e-3)


@pytest.mark.skipif(not INTERPRETED, reason="run by test_the_kernels_under_the_interpreter")
def test_interpreted_heads_apart(tiny_blocks):
    check_heads_apart((1, 5, 3, 4), config((4, 8), (1, 3)), 1, 2)


@pytest.mark.slow
@needs_triton
@pytest.mark.skipif(INTERPRETED, reason="would start itself")
def test_the_kernels_under_the_interpreter():
    only = [__file__, "-k", "test_interpreted"]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *only],
        env={**os.environ, "TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert f"{len(TINY) + 2} passed" in run.stdout

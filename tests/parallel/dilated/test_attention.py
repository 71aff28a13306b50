"""Dilated attention on 2, 3 and 4 ranks equals that on one, in values and all gradients."""

from itertools import product

import pytest
import torch
from rank_attention import GIGAPATH, Case, chunk_results, joined, single_results
from rank_launch import run_ranks

from slidenet.attention import DilatedConfig, reference_dilated_attention

SMALL = {"segment_lengths": (3, 10, 37, 500), "dilation_rates": (1, 2, 3, 5)}
LOOSE = {"segment_lengths": (16, 64), "dilation_rates": (2, 4)}  # leaves positions uncovered


def _grid(lengths: tuple[int, ...]) -> list[Case]:
    cases = []
    for length in lengths:
        for settings, causal, padding, gradient in product(
            (SMALL, GIGAPATH), (False, True), ("released", "masked"), ("released", "true")
        ):
            config = DilatedConfig(**settings, padding=padding, mixing_gradient=gradient)
            cases.append(Case(length, config, causal))
    return cases


def _large() -> list[Case]:
    """What takes long; one of each kind is among `_cases` too."""
    return _grid((1000,)) + [
        Case(4099, DilatedConfig(**GIGAPATH, head_order=order), causal)
        for order, causal in product(("released", "paper"), (False, True))
    ]


def _cases(num_ranks: int) -> list[Case]:
    cases = [*_grid((7, 127)), *_large()[::6]]
    for order, causal in product(("released", "paper"), (False, True)):
        cases.append(Case(127, DilatedConfig(**SMALL, head_order=order), causal, heads=7))
    cases.append(Case(250, DilatedConfig(**LOOSE), heads=5))
    sizes = {2: (1, 126), 3: (60, 1, 66), 4: (3, 100, 1, 23)}[num_ranks]
    for gradient, mask, causal in product(
        ("released", "true"), ("", "padding", "gaps"), (False, True)
    ):
        config = DilatedConfig(**SMALL, mixing_gradient=gradient)
        cases.append(Case(127, config, causal, mask, sizes, batch=3, lse_gradient=True))
    exact = DilatedConfig(**SMALL)
    cases += [
        Case(127, exact, causal, mask, sizes, torch.float64, batch=2, lse_gradient=True)
        for causal, mask in product((False, True), ("", "gaps"))
    ]
    cases.append(Case(1000, DilatedConfig(**GIGAPATH), dtype=torch.float64, heads=16))
    return cases


@pytest.mark.parametrize(
    "num_ranks",
    [2, pytest.param(3, marks=pytest.mark.slow), pytest.param(4, marks=pytest.mark.slow)],
)
@pytest.mark.parametrize("size", ["small", pytest.param("large", marks=pytest.mark.slow)])
def test_equals_one_device(num_ranks, size):
    cases = _cases(num_ranks) if size == "small" else _large()
    parts = run_ranks(chunk_results, num_ranks, cases)
    for i, case in enumerate(cases):
        tolerance = 1e-10 if case.dtype == torch.float64 else 1e-5
        assert_equal(joined([part[i] for part in parts]), single_results(case), tolerance, case)


@pytest.mark.slow
def test_equals_one_device_at_16384():
    cases = [Case(16384, DilatedConfig(**GIGAPATH), causal) for causal in (False, True)]
    parts = run_ranks(chunk_results, 4, cases)  # 2 and 3 ranks: shorter cases, above
    for i, case in enumerate(cases):
        assert_equal(joined([part[i] for part in parts]), single_results(case), 1e-5, case)


def test_one_device_is_the_oracle_here_too():
    case = Case(127, DilatedConfig(**SMALL), mask="gaps", batch=3, dtype=torch.float64)
    (q, k, v, *_), mask = case.inputs()
    out, lse = reference_dilated_attention(q, k, v, case.config, mask=mask)
    found = single_results(case)
    torch.testing.assert_close(found[0], out, atol=1e-10, rtol=0)
    torch.testing.assert_close(found[1], lse, atol=1e-10, rtol=0)


def assert_equal(found, wanted, tolerance, case):
    names = ("out", "lse", "grad q", "grad k", "grad v")
    for name, x, y in zip(names, found, wanted, strict=True):
        assert x.dtype == y.dtype
        assert x.isnan().sum() == 0, f"{name} of {case}"
        same = (x == y) | (
            (x - y).abs() <= tolerance * max(1.0, float(y[y.isfinite()].abs().max()))
        )
        assert same.all(), f"{name} of {case}: {(x - y).abs().nan_to_num().max()}"

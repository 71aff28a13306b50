"""Every bag model on a CUDA device gives what it gives on the CPU."""

import copy

import pytest
import torch

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
DEVICE = "cuda"
UNTRAINED = ("probe",)
"""It is fitted, and has no parameters."""


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_values_and_gradients_are_those_of_the_cpu(name, small, bags, dtype):
    here = small(name, 3).eval()
    there = copy.deepcopy(here).to(DEVICE, dtype)
    features, grid_xy, mask = bags((5, 1, 11, 7))
    want = here(features, grid_xy, mask)
    got = there(features.to(DEVICE, dtype), grid_xy.to(DEVICE), mask.to(DEVICE))
    tolerance = 1e-9 if dtype == torch.float64 else 1e-4
    for part in ("logits", "tile_attention", "tile_logits"):
        a, b = getattr(want, part), getattr(got, part)
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(b.cpu().double(), a, atol=tolerance, rtol=tolerance)
    if name in UNTRAINED:
        return
    want.logits.square().sum().backward()
    got.logits.square().sum().backward()
    for (key, a), b in zip(here.named_parameters(), there.parameters(), strict=True):
        assert (a.grad is None) == (b.grad is None), key
        if a.grad is not None:
            error = (b.grad.cpu().double() - a.grad).norm()
            assert error <= 10 * tolerance * max(1e-2, a.grad.norm().item()), key


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16], ids=str)
def test_autocast_stays_close(name, small, bags, kind):
    here = small(name, 3).eval()
    there = copy.deepcopy(here).to(DEVICE, torch.float32)
    features, grid_xy, mask = bags((50, 11, 70))
    want = here(features, grid_xy, mask).logits
    with torch.autocast(DEVICE, dtype=kind):
        got = there(features.to(DEVICE).float(), grid_xy.to(DEVICE), mask.to(DEVICE)).logits
    if name not in UNTRAINED:
        got.float().square().sum().backward()
    assert (got.detach().cpu().double() - want).norm() <= 0.05 * want.detach().norm()
    grads = [p.grad for p in there.parameters() if p.grad is not None]
    assert all(torch.isfinite(g).all() for g in grads)

"""Digests: every value, its place and nothing else counts."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from slidenet.parallel import digests
from slidenet.parallel.digests import WeightDigests, digest

DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(digests, "BLOCK_ROWS", 7)


def of(x, mask=None):
    return digest(x, mask).item()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [1, 3, 4, 5])
def test_every_value_counts(dtype, width):
    x = torch.randn(2, 10, width, generator=torch.Generator().manual_seed(0)).to(dtype)
    found = {of(x)}
    for place in range(x.numel()):
        y = x.clone()
        y.view(-1)[place] += 0.5
        found.add(of(y))
    assert len(found) == 1 + x.numel()
    assert of(x.clone().transpose(0, 1).contiguous().transpose(0, 1)) == of(x)


def test_order_counts():
    x = torch.arange(2 * 10 * 10).reshape(2, 10, 10)
    square = torch.cartesian_prod(torch.arange(6), torch.arange(6))[None]
    for one, others in (
        (x, [x.flip(0), x.flip(1), x.flip(2), x.roll(1, 1), x.roll(2, 2), x.transpose(1, 2)]),
        (square, [square.flip(-1)]),  # the cells of a square, row by row and column by column
    ):
        assert len({of(y) for y in (one, *others)}) == 1 + len(others)


def test_what_masked_tiles_hold_does_not_count():
    x = torch.randn(2, 10, 4)
    mask = torch.rand(2, 10) < 0.6
    y = x.clone()
    y[~mask] = torch.nan
    assert of(x, mask) == of(y, mask)
    y[tuple(mask.nonzero()[3])] += 1
    assert of(x, mask) != of(y, mask)
    assert of(x, torch.ones_like(mask)) == of(x)


def test_bytes_count_and_the_mode_does_not():
    x = torch.zeros(1, 4, 4, requires_grad=True)
    with torch.inference_mode():
        assert of(x) == of(x.clone())
    assert of(x) != of(-x.detach())
    assert of(torch.tensor([[True, False, True]])) != of(torch.tensor([[True, True, False]]))
    assert of(torch.empty(1, 0, 4)) == 0


def test_another_device_gives_the_same(monkeypatch):
    """On GPUs products are summed, as they have no integer matrix products."""
    x = torch.randn(2, 10, 5)
    wanted = [of(x), of(x.double())]
    monkeypatch.setattr(torch, "mv", lambda a, b: (a * b).sum(dim=1, dtype=a.dtype))
    assert [of(x), of(x.double())] == wanted


def test_digests_of_weights_are_kept_until_they_change(monkeypatch):
    model, kept = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4)), WeightDigests()
    wanted = kept.of(model)
    with torch.no_grad():
        model[0].weight[1, 2] += 1
    changed = kept.of(model)
    assert changed != wanted
    with monkeypatch.context() as patch:
        patch.setattr(digests, "digest", None)
        assert kept.of(model) == changed
    with torch.no_grad():
        model[0].weight[1, 2] -= 1
    model[1].weight = nn.Parameter(model[1].weight.detach().flip(0))
    assert kept.of(model) == WeightDigests().of(model)


def test_weights_are_to_be_compared_at_first_and_once_loaded():
    model, kept = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4)), WeightDigests()
    assert kept.changes(model) == -1
    kept.compared(model)
    assert kept.changes(model) == 0
    with torch.no_grad():
        model[0].weight += 1
        model[1].bias.zero_()
    assert kept.changes(model) == 2
    kept.loaded(model)
    assert kept.changes(model) == -1


def test_weights_are_odd_and_differ():
    weights = digests._weights(1000, 1, torch.device("cpu")).tolist()
    assert all(w % 2 for w in weights)
    assert len({b - a for a, b in pairwise(weights)}) == 999

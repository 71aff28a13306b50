"""The benchmark's baseline is a fair one: it computes the same thing."""

import pytest
import torch

from slidenet.attention import DilatedConfig, attend_dilated
from slidenet.attention.dilated.naive import naive_dilated_attention
from slidenet.core.errors import AttentionError


@pytest.mark.parametrize("mixing", ["released", "true"])
@pytest.mark.parametrize(
    ("heads", "segments", "rates"),
    [(4, (4, 9, 16), (1, 2, 4)), (6, (5, 11, 23), (1, 2, 4)), (3, (8, 16), (1, 8))],
)
@pytest.mark.parametrize("length", [1, 7, 33, 50])
def test_equals_the_fast_path(heads, segments, rates, length, mixing):
    config = DilatedConfig(segments, rates, mixing_gradient=mixing)
    g = torch.Generator().manual_seed(length)
    inputs = [
        torch.randn(2, length, heads, 4, generator=g, dtype=torch.float64, requires_grad=True)
        for _ in range(3)
    ]
    results = []
    for attention in (attend_dilated, naive_dilated_attention):
        out, lse = attention(*inputs, config)
        results.append([out, lse, *torch.autograd.grad(out.square().sum(), inputs)])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=0)


def test_only_the_published_conventions():
    q = torch.zeros(1, 4, 2, 4)
    with pytest.raises(AttentionError, match="masked"):
        naive_dilated_attention(q, q, q, DilatedConfig((4,), (1,), padding="masked"))

"""Packed slides as padded batches: each slide as alone, and padding is bounded."""

import pytest
import torch

from slidenet.attention import DenseAttention
from slidenet.attention.dilated.packed_batches import attend_in_batches, padded_batches

LENGTHS = (5, 0, 1, 9, 16, 7, 1, 31)


def dense(q, k, v, mask):
    return DenseAttention()(q, k, v, mask=mask)


def test_each_slide_as_alone():
    inputs = [x.requires_grad_() for x in torch.randn(3, sum(LENGTHS), 2, 4).double().unbind(0)]
    out, lse = attend_in_batches(*inputs, LENGTHS, dense)
    slides = zip(*(torch.split(x, LENGTHS) for x in inputs), strict=True)
    alone = [dense(*(x[None] for x in slide), None) for slide in slides]
    want = torch.cat([x[0] for x, _ in alone])
    torch.testing.assert_close(out, want, atol=1e-13, rtol=0)
    torch.testing.assert_close(lse, torch.cat([x[0].T for _, x in alone]), atol=1e-13, rtol=0)
    weight = torch.randn_like(want)
    for a, b in zip(*(torch.autograd.grad(x, inputs, weight) for x in (out, want)), strict=True):
        torch.testing.assert_close(a, b, atol=1e-13, rtol=0)


def test_places_made_for_an_embedding_serve_training():
    q = torch.randn(9, 2, 4)
    with torch.inference_mode():
        attend_in_batches(q, q, q, (4, 5), dense)
    out, _ = attend_in_batches(q.requires_grad_(), q, q, (4, 5), dense)
    out.sum().backward()
    assert q.grad.abs().sum() > 0


def test_no_position_at_all():
    q = torch.zeros(0, 2, 4)
    out, lse = attend_in_batches(q, q, q, (0, 0), dense)
    assert out.shape == (0, 2, 4)
    assert lse.shape == (0, 2)


@pytest.mark.parametrize(
    ("lengths", "num_batches"),
    [
        (LENGTHS, 2),
        ((3, 3, 3), 1),
        (tuple(range(200)), 1),
        ((100_000, 1), 1),
        ((1000, *[1] * 999), 2),
        ((1, 10, 1000, 10, 1, 1000, *[30] * 9, 1), 2),
    ],
    ids=str,
)
def test_padding_is_bounded(lengths, num_batches):
    batches, places = padded_batches(lengths, torch.device("cpu"))
    assert len(batches) == num_batches
    assert sum(batch.read.numel() for batch in batches) <= 3 * sum(lengths)
    read = torch.cat([batch.read.flatten() for batch in batches])
    assert torch.equal(read[places], torch.arange(sum(lengths)))
    assert all(batch.mask is None or not batch.mask.all() for batch in batches)

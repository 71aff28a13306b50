"""Packed batches of patterns that do not know of them, and lengths that do not fit."""

import pytest
import torch

from slidenet.attention import DenseAttention, attend_packed
from slidenet.core.errors import AttentionError


class Outside:
    """A pattern of somebody else."""

    def __call__(self, q, k, v, *, mask=None, causal=False):
        return DenseAttention()(q, k, v, mask=mask, causal=causal)


def test_any_pattern_attends_slide_after_slide():
    q, k, v = torch.randn(3, 9, 2, 4, dtype=torch.float64).unbind(0)
    found = attend_packed(Outside(), q, k, v, [5, 0, 4], causal=True)
    wanted = attend_packed(DenseAttention(), q, k, v, (5, 0, 4), causal=True)
    torch.testing.assert_close(found, wanted, atol=1e-13, rtol=0)
    assert [x.shape for x in found] == [(9, 2, 4), (9, 2)]


@pytest.mark.parametrize("lengths", [[5], [5, 5], [10, -1], []])
def test_lengths_that_do_not_fit(lengths):
    q = torch.randn(9, 2, 4)
    with pytest.raises(AttentionError, match="packed into 9"):
        attend_packed(DenseAttention(), q, q, q, lengths)

"""Inputs that are refused, dense attention, the registry."""

import numpy as np
import pytest
import torch

from slidenet.attention import (
    AttentionPattern,
    DenseAttention,
    check_inputs,
    make_attention,
    reference_attention,
)
from slidenet.core.errors import AttentionError, UnknownNameError


def test_good_inputs_pass():
    x = torch.zeros(2, 3, 4, 5)
    check_inputs(x, x, x, torch.ones(2, 3, dtype=torch.bool))
    check_inputs(x[:, :0], x[:, :0], x[:, :0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": torch.zeros(2, 3, 4, 6)}, "shapes"),
        ({"v": torch.zeros(2, 2, 4, 5)}, "shapes"),
        ({"k": torch.zeros(2, 3, 4, 5).half()}, "float16"),
        ({"k": torch.zeros(2, 3, 4, 5, device="meta")}, "meta"),
        ({"mask": torch.ones(2, 3)}, "float32"),
        ({"mask": torch.ones(2, 4, dtype=torch.bool)}, r"\(2, 4\)"),
        ({"mask": torch.ones(2, 3, dtype=torch.bool, device="meta")}, "meta"),
    ],
)
def test_bad_inputs_are_refused(change, message):
    x = torch.zeros(2, 3, 4, 5)
    arguments = {"q": x, "k": x, "v": x, "mask": None, **change}
    with pytest.raises(AttentionError, match=message):
        check_inputs(**arguments)


def test_integers_and_headless_inputs_are_refused():
    x = torch.zeros(2, 3, 4, 5, dtype=torch.int64)
    with pytest.raises(AttentionError, match="int64"):
        check_inputs(x, x, x)
    x = torch.zeros(2, 3, 0, 5)
    with pytest.raises(AttentionError, match="head"):
        check_inputs(x, x, x)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("length", [0, 1, 9])
def test_dense_equals_the_oracle(causal, padded, length):
    pattern = make_attention("dense")
    assert isinstance(pattern, AttentionPattern)
    q, k, v = (torch.randn(2, length, 3, 4, dtype=torch.float64) for _ in range(3))
    mask = None
    if padded:
        mask = torch.ones(2, length, dtype=torch.bool)
        mask[1, length // 2 :] = False
        q, k, v = (torch.where(mask[:, :, None, None], x, torch.nan) for x in (q, k, v))
    out, lse = pattern(q, k, v, mask=mask, causal=causal)
    want = reference_attention(q, k, v, pattern.mask(length, 3, causal=causal), mask=mask)
    torch.testing.assert_close((out, lse), want, atol=1e-12, rtol=0)


def test_dense_counts_its_pairs():
    for causal in (False, True):
        mask = DenseAttention().mask(7, 3, causal=causal)
        assert DenseAttention().num_pairs(7, 3, causal=causal) == 3 * int(mask.sum())


def test_unknown_names_and_settings_are_refused():
    with pytest.raises(UnknownNameError, match="dense"):
        make_attention("dens")
    with pytest.raises(AttentionError, match="window"):
        make_attention("dense", window=3)


def test_settings_of_numpy_become_plain_numbers():
    """Files and compiled graphs hold settings as text."""
    made = [
        make_attention("sliding_window", window=np.int64(5), dilation=np.int32(2)),
        make_attention("strided", stride=np.int64(4), seed=np.uint8(3)),
        make_attention("fixed", stride=np.int64(4), summary_tokens=np.int64(2)),
        make_attention("longformer", window=np.int64(5), global_tokens=np.array([0, 3])),
        make_attention("bigbird", block_size=np.int64(4)),
        make_attention("topk_blocks", block_size=np.int64(4), top_k=np.int16(2)),
    ]
    plain = [
        make_attention("sliding_window", window=5, dilation=2),
        make_attention("strided", stride=4, seed=3),
        make_attention("fixed", stride=4, summary_tokens=2),
        make_attention("longformer", window=5, global_tokens=(0, 3)),
        make_attention("bigbird", block_size=4),
        make_attention("topk_blocks", block_size=4, top_k=2),
    ]
    assert [repr(pattern) for pattern in made] == [repr(pattern) for pattern in plain]

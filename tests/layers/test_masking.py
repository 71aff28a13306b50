"""Padding of whatever content changes nothing, and what a model cannot take is refused."""

import pytest
import torch
from torch.testing import assert_close

from slidenet.core.errors import EncoderError
from slidenet.layers import check_bags, full_precision, masked_softmax, weighted_sum, zero_masked

MASK = torch.tensor([[True, True, False], [True, False, False]])


@pytest.fixture
def bags():
    """Two bags of 2 and 1 real tiles, with NaN in the padding."""
    torch.manual_seed(0)
    features = torch.randn(2, 3, 4)
    features[~MASK] = torch.nan
    return features


def test_softmax_is_over_the_real_tiles():
    scores = torch.tensor([[[1.0, 2.0, 50.0]], [[3.0, -1.0, 7.0]]], dtype=torch.float16)
    maps = masked_softmax(scores, MASK)
    assert maps.dtype == torch.float32
    assert_close(maps[0, 0, :2], torch.tensor([1.0, 2.0]).softmax(0))
    assert maps[1, 0].tolist() == [1.0, 0.0, 0.0]
    assert maps[0, 0, 2] == 0


def test_padding_enters_neither_sums_nor_gradients(bags):
    features = bags.requires_grad_()
    x = zero_masked(features, MASK)
    assert not x[~MASK].any()
    pooled = weighted_sum(masked_softmax(torch.zeros(2, 1, 3), MASK), x)
    assert_close(pooled[0, 0], features[0, :2].mean(0))
    assert_close(pooled[1, 0], features[1, 0])
    pooled.sum().backward()
    assert features.grad.isfinite().all()
    assert not features.grad[~MASK].any()


def test_weights_take_the_dtype_of_the_values():
    maps = torch.full((1, 2, 3), 1 / 3)
    assert weighted_sum(maps, torch.ones(1, 3, 4, dtype=torch.bfloat16)).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_full_precision(given, wanted):
    assert full_precision(torch.ones(1, dtype=given)).dtype == wanted


def test_bags_that_fit_pass(bags):
    check_bags(bags, MASK, 4)
    check_bags(bags.half(), MASK)
    check_bags(bags[:, :1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: (f[0], MASK), r"\(3, 4\); expected floats .*\(B, L, 4\).*features\[None\]"),
        (lambda f: (f[..., :3], MASK), r"\(B, L, 4\): slides, .* build .* feature_dim=3"),
        (lambda f: (f.long(), MASK), "features are torch.int64 of shape"),
        (lambda f: (f, MASK.float()), r"mask is torch.float32 .*bool of shape \(2, 3\)"),
        (lambda f: (f, MASK[:, :2]), r"mask is torch.bool of shape \(2, 2\)"),
        (lambda f: (f, MASK & torch.tensor([[True], [False]])), "slide 1 of the batch has no real"),
        (lambda f: (f[:, :0], None), "slide 0 of the batch has no real tile"),
        (lambda f: (f, ~MASK), "3 tiles have NaN .*first: tile 2 of slide 0 of the batch"),
        (lambda f: (f, None), "3 tiles have NaN"),
    ],
)
def test_bags_that_do_not_fit(bags, change, message):
    features, mask = change(bags)
    with pytest.raises(EncoderError, match=message):
        check_bags(features, mask, 4, unit="slide")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_large_features_are_finite_and_infinite_ones_are_found(dtype):
    features = torch.ones(2, 3, 8, dtype=dtype)
    features[0, 1] = torch.finfo(dtype).max  # their sum overflows
    check_bags(features)
    features[1, 2, :2] = torch.tensor([torch.inf, -torch.inf], dtype=dtype)
    with pytest.raises(EncoderError, match=r"1 tiles have .* \(first: tile 2 of bag 1"):
        check_bags(features)
    features[1, 0, 5] = torch.nan
    with pytest.raises(EncoderError, match=r"2 tiles have .* \(first: tile 0 of bag 1"):
        check_bags(features, torch.ones(2, 3, dtype=torch.bool))

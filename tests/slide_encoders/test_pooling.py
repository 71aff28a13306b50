import numpy as np
import pytest
import torch

from slidenet.core.errors import EncoderError
from slidenet.slide_encoders import PoolingEncoder, load_slide_encoder, mean, mean_std

FEATURES = torch.tensor(
    [[[1.0, 2.0], [3.0, 6.0], [float("nan"), 0.0]], [[5.0, 1.0], [0.0, 0.0], [1.0, 2.0]]]
)
MASK = torch.tensor([[True, True, False], [True, True, True]])


def test_mean():
    torch.testing.assert_close(mean(FEATURES, MASK), torch.tensor([[2.0, 4.0], [2.0, 1.0]]))


def test_mean_std():
    found = mean_std(FEATURES, MASK)
    expected = torch.tensor([[2.0, 4.0, 1.0, 2.0], [2.0, 1.0, (14 / 3) ** 0.5, (2 / 3) ** 0.5]])
    torch.testing.assert_close(found, expected)


def test_half_precision_features_keep_their_mean():
    features = torch.full((1, 70_000, 1), 3.0, dtype=torch.float16)
    assert mean(features).tolist() == [[3.0]]


def test_as_encoder():
    encoder = load_slide_encoder("mean_std")
    assert isinstance(encoder, PoolingEncoder)
    assert encoder(FEATURES, None, MASK).shape == (2, 4)
    assert encoder.identity() == {"name": "mean_std", "version": 1, "weights": "none"}


def test_weights_for_a_parameter_free_embedding_are_a_mistake():
    with pytest.raises(EncoderError, match="parameter-free"):
        load_slide_encoder("mean", weights="x.pth")


@pytest.mark.parametrize(
    ("features", "mask", "message"),
    [
        (FEATURES, None, r"1 tiles have NaN .*tile 2 of slide 0"),
        (FEATURES[0], None, "batch axis"),
        (torch.zeros(1, 0, 2), None, "no real tile"),
        (FEATURES, torch.zeros(2, 3, dtype=torch.bool), "slide 0 of the batch has no real tile"),
        (FEATURES, MASK[:, :2], r"shape \(2, 2\)"),
        (FEATURES, MASK.float(), "float32"),
        (FEATURES.long(), None, "int64"),
    ],
)
def test_bad_input(features, mask, message):
    with pytest.raises(EncoderError, match=message):
        mean(features, mask)


def embed(name, rows, mask):
    """Coordinates play no part."""
    return PoolingEncoder(name).embed(rows, None, None, mask=mask)


@pytest.mark.parametrize("name", ["mean", "mean_std"])
def test_rows_read_in_blocks_pool_like_a_whole_tensor(name, monkeypatch):
    monkeypatch.setattr("slidenet.core.arrays.BLOCK_ROWS", 7)
    rows = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)
    mask = np.random.default_rng(1).random(40) < 0.6
    encoder = PoolingEncoder(name)
    whole = encoder(torch.from_numpy(rows)[None], mask=torch.from_numpy(mask)[None])[0]
    torch.testing.assert_close(embed(name, rows, mask), whole, rtol=1e-6, atol=1e-7)


def test_pooling_rows_without_a_real_tile_is_refused():
    with pytest.raises(EncoderError, match="no real tile"):
        embed("mean", np.ones((3, 2)), np.zeros(3, bool))


def test_pooling_rows_with_nan_is_refused():
    rows = np.ones((3, 2))
    rows[1, 0] = np.nan
    with pytest.raises(EncoderError, match="NaN or infinite"):
        embed("mean", rows, np.ones(3, bool))
    assert embed("mean", rows, np.array([True, False, True])).tolist() == [1, 1]

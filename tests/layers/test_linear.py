import pytest
import torch

from slidenet.layers import Linear


def test_xavier_uniform_weights_and_zero_biases():
    torch.manual_seed(0)
    layer = Linear(192, 384)
    bound = (6 / (192 + 384)) ** 0.5
    assert layer.weight.abs().max() <= bound
    assert layer.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.02)
    assert not layer.bias.any()


def test_nothing_is_drawn_on_the_meta_device():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    with torch.device("meta"):
        layer = Linear(3, 4)
    assert layer.weight.is_meta
    assert torch.equal(torch.get_rng_state(), before)

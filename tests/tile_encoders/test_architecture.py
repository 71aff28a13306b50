import pytest
import timm
import torch
from torch import nn

from slidenet import load_tile_encoder
from slidenet.tile_encoders.architecture import folded_copy
from slidenet.tile_encoders.transforms import normalise

FAMILIES = ("tf_efficientnet_lite0", "efficientnet_b0", "tf_efficientnetv2_b0", "mobilenetv2_050",
            "resnet18", "resnet26d", "seresnet18", "resnetblur18")  # fmt: skip


def with_statistics(name):
    """Norms whose statistics matter: far from mean 0 and deviation 1."""
    torch.manual_seed(0)
    module = timm.create_model(name, pretrained=False, num_classes=0).eval()
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.uniform_(-0.5, 0.5)
            norm.running_var.uniform_(0.5, 2.0)
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.uniform_(norm.bias, -0.5, 0.5)
    return module


def num_norms(module):
    return sum(isinstance(m, nn.BatchNorm2d) for m in module.modules())


@torch.inference_mode()
@pytest.mark.parametrize("name", FAMILIES)
def test_features_stay_the_same(name):
    module = with_statistics(name).double()
    folded = folded_copy(module)
    assert num_norms(folded) < 0.2 * num_norms(module)
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    wanted = module(images)
    torch.testing.assert_close(
        folded(images), wanted, rtol=0, atol=1e-10 * float(wanted.abs().max())
    )


def test_other_families_are_left_alone():
    module = with_statistics("resnetv2_50")  # norms before convolutions
    assert folded_copy(module) is module


def test_a_subclass_is_left_alone():
    class Other(timm.models.ResNet):
        """May call its layers in any order."""

    module = Other(timm.models.resnet.BasicBlock, [1, 1, 1, 1], num_classes=0).eval()
    assert folded_copy(module) is module


def test_an_encoder_keeps_its_module_and_gives_its_features():
    encoder = load_tile_encoder("efficientnet_lite0")
    assert num_norms(encoder.module) == 49
    tiles = torch.randint(0, 256, (2, 3, 256, 256), dtype=torch.uint8)
    images = normalise(encoder.spec.transform)(encoder.prepare(tiles))
    with torch.inference_mode():
        wanted = encoder.module(images)
    largest = float(wanted.abs().max())
    torch.testing.assert_close(encoder.encode(tiles), wanted, rtol=0, atol=1e-5 * largest)

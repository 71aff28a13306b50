"""A vision transformer small enough to load in milliseconds, as spec, module and weight file."""

from dataclasses import replace

import pytest
import torch

from slidenet.tile_encoders import HubWeights, InputTransform, TileEncoderSpec
from slidenet.tile_encoders.architecture import build_module

TINY = TileEncoderSpec(
    name="tiny",
    architecture="vit_tiny_patch16_224",
    arguments={"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2},
    weights=HubWeights("someone/tiny", revision="abc123", gated=True),
    transform=InputTransform(input_px=32, resize_px=40),
    output_dim=24,
    licence="none",
    citation="none",
)


@pytest.fixture
def tiny() -> TileEncoderSpec:
    return replace(TINY)


@pytest.fixture
def tiny_module():
    torch.manual_seed(0)
    module = build_module(TINY, device="cpu")
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    return module


@pytest.fixture
def tiny_file(tmp_path, tiny_module):
    path = tmp_path / "tiny.pth"
    torch.save(tiny_module.state_dict(), path)
    return path


@pytest.fixture
def tiles():
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (5, 3, 48, 48), dtype=torch.uint8, generator=generator)

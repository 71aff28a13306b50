"""Golden weights rebuilt with numpy, and small encoders every test of this room uses."""

import zlib

import numpy as np
import pytest
import torch

from slidenet.slide_encoders import LongNetConfig, LongNetViT
from slidenet.slide_encoders.longnet.checkpoint import from_official, key_table


def golden_weight(name, shape, seed):
    """The weight `rebuild_inputs.py` of the golden folder makes for an official key."""
    draw = np.random.default_rng([seed, zlib.crc32(name.encode())])
    x = draw.standard_normal(shape).astype(np.float32)
    if name.endswith(("norm.weight", "_ln.weight")) or "layernorm.weight" in name:
        return 1 + 0.1 * x
    if name == "cls_token":
        return 0.5 * x
    if name.endswith("bias"):
        return 0.1 * x
    scale = (2.0 / (shape[0] + shape[1])) ** 0.5
    if "q_proj" in name or "k_proj" in name:
        scale *= 3.0**0.5
    return (scale * x).astype(np.float32)


def official_state(config, seed):
    """Seeded weights under the official key names."""
    with torch.device("meta"):
        shapes = LongNetViT(config).state_dict()
    return {
        official: torch.from_numpy(
            np.ascontiguousarray(golden_weight(official, tuple(shapes[ours].shape), seed))
        )
        for official, ours in key_table(config.depth).items()
    }


def encoder_from(config, official, **settings):
    """A network in eval mode with official weights."""
    with torch.device("meta"):
        net = LongNetViT(config, **settings)
    shapes = {k: v.shape for k, v in net.state_dict().items()}
    net.load_state_dict(from_official(official, shapes), assign=True)
    return net.eval()


@pytest.fixture(scope="session")
def tiny_config():
    """Two blocks, three branches; small enough for float64 references."""
    return LongNetConfig(
        feature_dim=32,
        embed_dim=96,
        depth=2,
        num_heads=8,
        ffn_dim=192,
        segment_lengths=(8, 16, 32),
        dilation_rates=(1, 2, 4),
        grid_size=64,
    )


@pytest.fixture(scope="session")
def tiny_official(tiny_config):
    return official_state(tiny_config, seed=11)


@pytest.fixture
def tiny(tiny_config, tiny_official):
    return encoder_from(tiny_config, tiny_official)


def tile_inputs(lengths, feature_dim=32, grid=64, seed=0):
    """Padded features, cells and mask of slides of these lengths; padding holds NaN and -1."""
    draw = np.random.default_rng([seed, *lengths])
    longest = max(lengths)
    features = torch.full((len(lengths), longest, feature_dim), float("nan"))
    grid_xy = torch.full((len(lengths), longest, 2), -1)
    mask = torch.zeros(len(lengths), longest, dtype=torch.bool)
    for b, n in enumerate(lengths):
        cells = np.sort(draw.choice(grid * grid, size=n, replace=False))
        features[b, :n] = torch.from_numpy(draw.standard_normal((n, feature_dim))).float()
        grid_xy[b, :n] = torch.from_numpy(np.stack([cells // grid, cells % grid], axis=1))
        mask[b, :n] = True
    return features, grid_xy, mask


@pytest.fixture(scope="session")
def make_inputs():
    return tile_inputs


@pytest.fixture(scope="session")
def build():
    return encoder_from


@pytest.fixture(scope="session")
def make_official():
    return official_state

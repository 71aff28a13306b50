"""Slide encoders of any kind behind one protocol."""

import sys

import numpy as np
import pytest
import torch

from slidenet.core.errors import CoordinateError, EncoderError, PluginError
from slidenet.core.records import SlideMpp, TileGeometry
from slidenet.slide_encoders import (
    RECIPES,
    LongNetEncoder,
    SlideEncoder,
    load_slide_encoder,
)

GEOMETRY = TileGeometry(
    slide_mpp=SlideMpp(0.5, "override"),
    target_mpp=0.5,
    read_mpp=0.5,
    level=0,
    tile_size_px=256,
    stride_px=256,
    read_size_px=256,
    level0_width=16_384,
    level0_height=16_384,
)


@pytest.fixture
def longnet(tiny):
    return LongNetEncoder("tiny", tiny, RECIPES["gigapath"])


def slide(num_tiles=40, feature_dim=32):
    draw = np.random.default_rng(4)
    cells = np.stack([np.arange(num_tiles) % 8, np.arange(num_tiles) // 8], axis=1)
    features = draw.standard_normal((num_tiles, feature_dim)).astype(np.float16)
    return features, cells * 256, draw.random(num_tiles) < 0.8


def test_ours_follow_it(longnet):
    for encoder in (longnet, load_slide_encoder("mean"), load_slide_encoder("mean_std")):
        assert isinstance(encoder, SlideEncoder)
    assert longnet.feature_dim == 32
    assert load_slide_encoder("mean").feature_dim is None
    assert not isinstance(longnet.net, SlideEncoder)


def test_embed_is_the_batch_call_on_one_slide(longnet):
    features, coords, mask = slide()
    features[~mask] = np.nan
    for encoder in (longnet, load_slide_encoder("mean_std")):
        found = encoder.embed(features, coords, GEOMETRY, mask=mask)
        assert found.dtype == torch.float32
        x, grid_xy = torch.from_numpy(features).float()[None], torch.from_numpy(coords // 256)[None]
        with torch.inference_mode():
            wanted = encoder(x, grid_xy, torch.from_numpy(mask)[None])[0]
        torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-6)


def test_embed_keeps_the_contract_of_coordinates(longnet):
    features, coords, mask = slide()
    with pytest.raises(CoordinateError, match=r"slide 'S-7'.*128 px apart"):
        longnet.embed(features, coords // 2, GEOMETRY, mask=mask, slide_id="S-7")


def test_settings_for_a_parameter_free_embedding_are_a_mistake():
    with pytest.raises(EncoderError, match="recipe given to the parameter-free"):
        load_slide_encoder("mean", recipe="trident")


FOREIGN = """
class Largest:
    name, feature_dim = "largest", None

    def __init__(self, *, weights=None, device="cpu", power=1):
        self.power = power

    def embed(self, features, coords, geometry, *, mask, slide_id=""):
        import torch
        return torch.from_numpy(features[:][mask]).float().amax(0) ** self.power

    def identity(self):
        return {"name": self.name, "power": self.power}


class Nothing:
    def __init__(self, **settings):
        pass
"""


def test_a_slide_encoder_of_another_package(tmp_path, monkeypatch):
    (tmp_path / "foreign_encoders.py").write_text(FOREIGN)
    monkeypatch.syspath_prepend(tmp_path)
    encoder = load_slide_encoder("foreign_encoders.Largest", power=2)
    features, coords, mask = slide()
    found = encoder.embed(features, coords, GEOMETRY, mask=mask)
    wanted = torch.from_numpy(features[mask]).float().amax(0) ** 2
    assert torch.equal(found, wanted)
    with pytest.raises(PluginError, match=r"gives a Nothing, which is no slide encoder; expected"):
        load_slide_encoder("foreign_encoders.Nothing")
    sys.modules.pop("foreign_encoders")

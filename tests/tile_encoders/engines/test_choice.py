"""The faster engine where it agrees; PyTorch, with the reason, for everything else."""

import sys
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from slidenet.core.errors import ConfigError, EncoderError, MissingExtraError
from slidenet.tile_encoders import InputTransform, TileEncoder
from slidenet.tile_encoders.engines import choice
from slidenet.tile_encoders.engines.choice import choose_engine, probe_images
from slidenet.tile_encoders.engines.silence import openvino_is_installed

needs_openvino = pytest.mark.skipif(
    not openvino_is_installed(), reason="OpenVINO has no wheel for this machine"
)
UNIT = InputTransform(16, 16, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


class Means(nn.Module):
    """The smallest encoder there is."""

    def forward(self, images):
        return images.mean(dim=(2, 3))


class Branching(nn.Module):
    def forward(self, images):
        return images.mean(dim=(2, 3)) * (2 if images.mean() > 0 else 1)


class Drawing(nn.Module):
    def forward(self, images):
        return nn.functional.dropout(images.mean(dim=(2, 3)), 0.5, training=True)


def means(module=None, **keywords):
    return TileEncoder.from_module(module or Means(), name="means", transform=UNIT, **keywords)


@pytest.fixture
def no_time_is_quick(monkeypatch):
    monkeypatch.setattr(choice, "QUICK_IMAGE_S", 0.0)


def test_the_faster_engine_is_taken(monkeypatch, no_time_is_quick):
    made = SimpleNamespace(name="openvino")
    monkeypatch.setattr(choice, "openvino_is_installed", lambda: True)
    monkeypatch.setattr(choice, "_openvino", lambda *_, **__: made)
    for seconds, name in (({"openvino": 1.0, "torch": 2.5}, "openvino"),
                          ({"openvino": 2.0, "torch": 1.0}, "torch")):  # fmt: skip
        monkeypatch.setattr(choice, "_seconds", lambda engine, _, s=seconds: s[engine.name])
        chosen = choose_engine(means())
        assert (chosen.engine.name, chosen.fell_back) == (name, False)
    assert "0.50 times as fast" in chosen.reason


def test_an_encoder_that_takes_no_time_stays_in_pytorch():
    chosen = choose_engine(means())
    assert (chosen.engine.name, chosen.fell_back) == ("torch", False)
    assert "an image takes" in chosen.reason


@needs_openvino
@pytest.mark.parametrize(
    ("module", "reason"),
    [(Branching, "cannot be run by OpenVINO"), (Drawing, "gives other features of 'means'")],
    ids=["branches on values", "draws numbers"],
)
def test_what_openvino_cannot_do_is_refused(module, reason):
    torch.manual_seed(0)
    with pytest.raises(EncoderError, match=reason):
        choose_engine(means(module()), "openvino")


@needs_openvino
def test_or_pytorch_does_it_and_says_why(no_time_is_quick):
    chosen = choose_engine(means(Branching()))
    assert (chosen.engine.name, chosen.fell_back) == ("torch", True)
    assert "cannot be run by OpenVINO" in chosen.reason


def test_half_precision_and_encoders_that_run_themselves_stay_in_pytorch():
    class Own(TileEncoder):
        """Of a plug-in, with an `encode` of its own."""

    chosen = choose_engine(means(precision="bf16"), batch_size=5)
    assert (chosen.engine.name, chosen.engine.batch_size) == ("torch", 5)
    assert (chosen.reason, chosen.fell_back) == ("it runs in bf16", False)
    with pytest.raises(EncoderError, match="it runs in bf16"):
        choose_engine(means(precision="bf16"), "openvino")
    own = Own(means().spec, Means(), weights_source="")
    assert "Own of another package" in choose_engine(own).reason


def test_without_the_extra_pytorch_runs_and_says_why(monkeypatch, no_time_is_quick):
    monkeypatch.setattr(choice, "openvino_is_installed", lambda: False)
    chosen = choose_engine(means())
    assert (chosen.engine.name, chosen.fell_back) == ("torch", True)
    assert "pip install 'slidenet[cpu]'" in chosen.reason
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtraError, match=r"slidenet\[cpu\]"):
        choose_engine(means(), "openvino")


def test_unknown_engines_are_refused():
    with pytest.raises(ConfigError, match="one of auto, torch, openvino"):
        choose_engine(means(), "onnx")


def test_pytorch_runs_small_batches_on_a_cpu():
    chosen = choose_engine(means(), "torch")
    assert (chosen.engine.name, chosen.engine.batch_size, chosen.reason) == ("torch", 8, "as asked")


def test_probe_images_are_the_same_ones_every_time():
    images = probe_images(3, 16)
    assert torch.equal(images, probe_images(3, 16))
    assert images.float().std() > 30

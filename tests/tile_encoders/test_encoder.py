import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from slidenet.core.errors import EncoderError, UnknownNameError, WeightsMismatchError
from slidenet.core.provenance import identity_hash
from slidenet.tile_encoders import InputTransform, TileEncoder, load_tile_encoder
from slidenet.tile_encoders.architecture import build_module
from slidenet.tile_encoders.encoder import resolve_precision
from slidenet.tile_encoders.transforms import normalise, resize_and_crop


@pytest.fixture
def encoder(tiny, tiny_file):
    return load_tile_encoder(tiny, weights=tiny_file)


class MeanColour(nn.Module):
    """Features anyone can compute by hand: mean of each channel, times a weight."""

    def __init__(self, weight: float = 2.0):
        super().__init__()
        self.scale = nn.Parameter(torch.full((3,), weight))
        self.norm = nn.BatchNorm2d(3)

    def forward(self, images):
        return self.norm(images).mean(dim=(2, 3)) * self.scale


UNIT = InputTransform(8, 8, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def test_features_are_those_of_the_bare_module(encoder, tiny, tiny_module, tiles):
    images = normalise(tiny.transform)(resize_and_crop(tiny.transform)(tiles))
    with torch.inference_mode():
        expected = tiny_module(images)
    features = encoder.encode(tiles)
    assert features.dtype == torch.float32
    assert features.device.type == "cpu"
    assert features.shape == (5, encoder.feature_dim)
    torch.testing.assert_close(features, expected)


def test_class_and_patch_mean_leave_register_tokens_out(tiny, tiles):
    spec = replace(
        tiny,
        arguments=dict(tiny.arguments) | {"reg_tokens": 3},
        pooling="class_patch_mean",
        output_dim=48,
    )
    torch.manual_seed(0)
    module = build_module(spec, device="cpu")
    encoder = TileEncoder.from_module(
        module, name="reg", transform=spec.transform, pooling="class_patch_mean"
    )
    with torch.inference_mode():
        tokens = module.forward_features(
            normalise(spec.transform)(resize_and_crop(spec.transform)(tiles))
        )
    assert tokens.shape[1] == 1 + 3 + 16
    expected = torch.cat([tokens[:, 0], tokens[:, 4:].mean(dim=1)], dim=-1)
    assert encoder.feature_dim == 48
    torch.testing.assert_close(encoder.encode(tiles), expected)


def test_batches_do_not_leak_into_each_other(encoder, tiles):
    alone = torch.cat([encoder.encode(tile[None]) for tile in tiles])
    torch.testing.assert_close(encoder.encode(tiles), alone, rtol=1e-5, atol=1e-5)


def test_the_module_is_frozen_and_in_eval_mode(tiles):
    module = MeanColour().train()
    before = module.norm.running_mean.clone()
    encoder = TileEncoder.from_module(module, name="mean", transform=UNIT)
    encoder.encode(tiles)
    assert not module.training
    assert not any(p.requires_grad for p in module.parameters())
    assert torch.equal(module.norm.running_mean, before)


def test_any_module_by_hand():
    module = MeanColour(weight=2.0)
    module.norm.eps = 1e-30  # torch 2.11 refuses zero
    encoder = TileEncoder.from_module(module, name="mean colour", transform=UNIT)
    tiles = torch.tensor([[255, 51, 0]], dtype=torch.uint8).reshape(1, 3, 1, 1).expand(1, 3, 8, 8)
    torch.testing.assert_close(encoder.encode(tiles), torch.tensor([[2.0, 0.4, 0.0]]))
    assert encoder.feature_dim == 3
    assert encoder.spec.name == "mean colour"


def test_no_tiles_give_no_features(encoder):
    features = encoder.encode(torch.empty(0, 3, 48, 48, dtype=torch.uint8))
    assert features.shape == (0, 24)


@pytest.mark.parametrize(
    ("tiles", "found"),
    [
        (torch.zeros(1, 3, 8, 8), "float32 of shape"),
        (torch.zeros(3, 8, 8, dtype=torch.uint8), r"uint8 of shape \(3, 8, 8\)"),
        (torch.zeros(1, 8, 8, 3, dtype=torch.uint8), r"uint8 of shape \(1, 8, 8, 3\)"),
        ([1, 2], "list"),
    ],
    ids=["float", "no batch", "channels last", "list"],
)
def test_other_inputs_are_refused(encoder, tiles, found):
    with pytest.raises(EncoderError, match=f"tiles are {found}"):
        encoder.encode(tiles)


def test_features_that_are_not_finite_are_an_error(tiles):
    class Broken(nn.Module):
        def forward(self, images):
            features = images.mean(dim=(2, 3))
            if len(images) > 1:
                features[1] = torch.inf
            return features

    encoder = TileEncoder.from_module(Broken(), name="broken", transform=UNIT)
    with pytest.raises(EncoderError, match="1 of 5 feature vectors of 'broken' are not finite"):
        encoder.encode(tiles)


def test_a_module_that_does_not_pool_is_refused():
    with pytest.raises(EncoderError, match=r"shape \(1, 3, 8, 8\); expected \(B, D\)"):
        TileEncoder.from_module(nn.Identity(), name="map", transform=UNIT)


def test_identity_names_everything_that_decides_the_numbers(encoder, tiny):
    identity = encoder.identity()
    assert json.loads(json.dumps(identity)) == {
        "encoder": "tiny",
        "architecture": "vit_tiny_patch16_224",
        "arguments": dict(tiny.arguments),
        "weights_sha256": encoder.weights_sha256,
        "transform": {
            "input_px": 32,
            "resize_px": 40,
            "interpolation": "bicubic",
            "mean": [0.485, 0.456, 0.406],
            "std": [0.229, 0.224, 0.225],
        },
        "pooling": "class",
        "precision": "fp32",
        "feature_dim": 24,
    }


def test_identity_changes_with_weights_precision_and_transform(tiny, tiny_file, tiny_module):
    def hash_of(**changes):
        settings = {"weights": tiny_file} | changes
        return identity_hash(load_tile_encoder(tiny, **settings).identity())

    assert hash_of() == hash_of()
    assert hash_of() != hash_of(precision="bf16")
    other_file = tiny_file.with_name("other.pth")
    state = tiny_module.state_dict()
    state["cls_token"] = state["cls_token"] + 1
    torch.save(state, other_file)
    assert hash_of() != hash_of(weights=other_file)

    def of_module(**changes):
        settings = {"name": "m", "transform": UNIT} | changes
        weight = settings.pop("weight", 2.0)
        return identity_hash(TileEncoder.from_module(MeanColour(weight), **settings).identity())

    wider = InputTransform(8, 10, mean=UNIT.mean, std=UNIT.std)
    hashes = [of_module(), of_module(name="n"), of_module(weight=3.0), of_module(transform=wider)]
    assert of_module() == hashes[0]
    assert len(set(hashes)) == 4


def test_bf16_on_the_cpu_is_close_and_returns_float32(tiny, tiny_file, tiles):
    exact = load_tile_encoder(tiny, weights=tiny_file).encode(tiles)
    rough = load_tile_encoder(tiny, weights=tiny_file, precision="bf16").encode(tiles)
    assert rough.dtype == torch.float32
    assert not torch.equal(rough, exact)
    similarity = torch.nn.functional.cosine_similarity(rough, exact)
    assert (similarity > 0.99).all()


def test_default_precision_is_the_specs_on_accelerators_and_fp32_on_the_cpu(tiny):
    assert tiny.precision == "fp16"
    assert resolve_precision(tiny, torch.device("cpu"), None) == "fp32"
    assert resolve_precision(tiny, torch.device("cuda"), None) == "fp16"
    assert resolve_precision(tiny, torch.device("cuda"), "bf16") == "bf16"


def test_fp16_on_the_cpu_is_refused_with_the_remedy(tiny, tiny_file):
    with pytest.raises(EncoderError, match="To fix: use precision bf16"):
        load_tile_encoder(tiny, weights=tiny_file, precision="fp16")


def test_unknown_precision_and_device_are_refused(tiny, tiny_file):
    with pytest.raises(EncoderError, match="unknown precision 'int8'"):
        load_tile_encoder(tiny, weights=tiny_file, precision="int8")
    with pytest.raises(EncoderError, match="no kind of device 'gpu'"):
        load_tile_encoder(tiny, weights=tiny_file, device="gpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_an_absent_device_is_refused_before_anything_is_loaded(tiny):
    with pytest.raises(EncoderError, match="device 'cuda' is not available here"):
        load_tile_encoder(tiny, weights="nowhere.pth", device="cuda")


def test_auto_finds_a_device(tiny, tiny_file, tiles):
    encoder = load_tile_encoder(tiny, weights=tiny_file, device="auto", precision="fp32")
    assert encoder.encode(tiles).device.type == "cpu"


def test_unknown_names_reach_the_user():
    with pytest.raises(UnknownNameError, match="gigapath"):
        load_tile_encoder("gigapth")


def test_a_file_for_another_listed_encoder_is_refused(tiny_file):
    with pytest.raises(WeightsMismatchError, match="does not belong to 'lunit_vits8'"):
        load_tile_encoder("lunit_vits8", weights=tiny_file)


def test_the_source_of_the_weights_is_told(encoder):
    assert encoder.weights_source == "tiny.pth (timm names)"
    assert repr(encoder) == (
        "TileEncoder('tiny', 24-d, fp32 on cpu, weights from tiny.pth (timm names))"
    )


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_the_gpu_agrees_with_the_cpu(tiny, tiny_file, tiles, precision):
    exact = load_tile_encoder(tiny, weights=tiny_file).encode(tiles)
    there = load_tile_encoder(tiny, weights=tiny_file, device="cuda", precision=precision)
    similarity = torch.nn.functional.cosine_similarity(there.encode(tiles), exact)
    assert (similarity > (0.99999 if precision == "fp32" else 0.99)).all()

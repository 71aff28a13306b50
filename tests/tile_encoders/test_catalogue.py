import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
import torch

from slidenet.core.errors import ConfigError, UnknownNameError
from slidenet.tile_encoders import (
    DEFAULT_TILE_ENCODER,
    HubWeights,
    InputTransform,
    Pooling,
    Precision,
    TimmWeights,
    WheelWeights,
    catalogue,
    families,
    get_spec,
    list_tile_encoders,
)
from slidenet.tile_encoders.architecture import build_module, features_of
from slidenet.tile_encoders.spec import HALF, IMAGENET_MEAN

# name: (output dim, pooling, resize px, interpolation, gated, tile px), copied from model cards. A
# spec that is not here is tested by everything else below.
PUBLISHED = {
    "dinov2_vitb14": (768, "class", 256, "bicubic", False, 256),
    "dinov2_vitg14": (1536, "class", 256, "bicubic", False, 256),
    "dinov2_vitl14": (1024, "class", 256, "bicubic", False, 256),
    "dinov2_vits14": (384, "class", 256, "bicubic", False, 256),
    "efficientnet_lite0": (1280, "model", 256, "bicubic", False, 256),
    "gigapath": (1536, "class", 256, "bicubic", True, 256),
    "gpfm": (1024, "class", 224, "bicubic", False, 256),
    "h0_mini": (768, "class", 224, "bicubic", True, 224),
    "h_optimus_0": (1536, "class", 224, "bicubic", True, 224),
    "h_optimus_1": (1536, "class", 224, "bicubic", True, 224),
    "hibou_b": (768, "class", 224, "bicubic", True, 224),
    "hibou_l": (1024, "class", 224, "bicubic", True, 224),
    "kaiko_vitb16": (768, "class", 224, "bilinear", False, 256),
    "kaiko_vitb8": (768, "class", 224, "bilinear", False, 256),
    "kaiko_vitl14": (1024, "class", 224, "bilinear", False, 256),
    "kaiko_vits16": (384, "class", 224, "bilinear", False, 256),
    "kaiko_vits8": (384, "class", 224, "bilinear", False, 256),
    "lunit_vits8": (384, "class", 224, "bilinear", False, 224),
    "midnight_12k": (3072, "class_patch_mean", 224, "bilinear", False, 224),
    "phikon": (768, "class", 224, "bilinear", False, 224),
    "phikon_v2": (1024, "class", 224, "bicubic", False, 224),
    "uni": (1024, "class", 224, "bilinear", True, 256),
    "uni2_h": (1536, "class", 224, "bilinear", True, 256),
    "virchow": (2560, "class_patch_mean", 224, "bicubic", True, 224),
    "virchow2": (2560, "class_patch_mean", 224, "bicubic", True, 224),
}

# name: tensors in the published file as timm names them (the two in transformers' layout hold
# 439 and 727: three tensors where timm stacks q, k and v into one, and a mask token).
PUBLISHED_TENSORS = {
    "h_optimus_0": 567,
    "midnight_12k": 727 - 4 * 40 - 1,
    "phikon_v2": 439 - 4 * 24 - 1,
    "uni2_h": 343,
    "virchow": 454,
    "virchow2": 455,
}

# name: parameters, from the sizes of the published float32 files (4 bytes each).
PUBLISHED_PARAMETERS = {
    "gigapath": 1_134_953_984,
    "h0_mini": 342_974_184 // 4,
    "h_optimus_1": 4_539_151_464 // 4,
    "virchow": 2_524_960_072 // 4,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_facts(name):
    spec = get_spec(name)
    found = (
        spec.output_dim,
        spec.pooling,
        spec.transform.resize_px,
        spec.transform.interpolation,
        spec.gated,
        spec.tile_size_px,
    )
    assert found == PUBLISHED[name]
    assert spec.transform.input_px == 224
    assert spec.target_mpp == 0.5


@pytest.mark.parametrize("name", list_tile_encoders())
def test_every_spec_says_what_it_is(name):
    spec = get_spec(name)
    assert spec.name == name
    assert re.fullmatch(r"[a-z0-9_]+", name)
    assert isinstance(spec.weights, HubWeights | WheelWeights)
    assert spec.pooling in get_args(Pooling)
    assert spec.precision in get_args(Precision)
    assert spec.transform.input_px <= spec.tile_size_px
    assert 0.1 <= spec.target_mpp <= 5
    assert spec.licence
    assert spec.citation


def test_every_file_of_a_family_is_found(tmp_path, monkeypatch):
    """The example of docs/adding-an-encoder.md, as a file in the folder and nothing else."""
    text = (Path(__file__).parents[2] / "docs" / "adding-an-encoder.md").read_text()
    example = text.split("```python\n", 1)[1].split("```", 1)[0]
    (tmp_path / "mylab.py").write_text(example)
    monkeypatch.setattr(families, "__path__", [*families.__path__, str(tmp_path)])
    try:
        found = catalogue.collect_specs()
    finally:
        sys.modules.pop(f"{families.__name__}.mylab", None)
    assert set(found) == {*list_tile_encoders(), "my_encoder"}
    spec = found["my_encoder"]
    assert spec.gated
    image = torch.zeros(1, 3, spec.transform.input_px, spec.transform.input_px, device="meta")
    features = features_of(build_module(spec, device="meta"), image, spec.pooling)
    assert features.shape == (1, spec.output_dim)


@pytest.mark.parametrize(
    ("name", "mean"),
    [
        ("gigapath", IMAGENET_MEAN),
        ("gpfm", IMAGENET_MEAN),
        ("uni2_h", IMAGENET_MEAN),
        ("midnight_12k", HALF),
        ("kaiko_vitl14", HALF),
        ("h_optimus_0", (0.707223, 0.578729, 0.703617)),
        ("h0_mini", (0.707223, 0.578729, 0.703617)),
        ("hibou_l", (0.7068, 0.5755, 0.722)),
        ("lunit_vits8", (0.70322989, 0.53606487, 0.66096631)),
    ],
)
def test_channel_means_are_the_authors(name, mean):
    assert get_spec(name).transform.mean == mean


@pytest.mark.slow
@pytest.mark.parametrize("name", list_tile_encoders())
def test_architecture_gives_the_dimension_of_the_spec(name):
    spec = get_spec(name)
    module = build_module(spec, device="meta")
    # All state is in the checkpoint, so assigning one fills a module on the meta device.
    state = module.state_dict()
    assert {k for k, _ in module.named_buffers()} <= set(state)
    assert len(state) == PUBLISHED_TENSORS.get(name, len(state))
    num_parameters = sum(p.numel() for p in module.parameters())
    published = PUBLISHED_PARAMETERS.get(name, num_parameters)
    assert abs(num_parameters - published) < 20_000  # a file also holds its header
    if hasattr(module, "blocks") and spec.name != DEFAULT_TILE_ENCODER:
        module.blocks = module.blocks[:1]  # they are all of one shape
    side = spec.transform.input_px
    with torch.inference_mode():
        features = features_of(module, torch.zeros(2, 3, side, side, device="meta"), spec.pooling)
    assert features.shape == (2, spec.output_dim)


def test_the_default_needs_no_network_and_no_permission():
    spec = get_spec(DEFAULT_TILE_ENCODER)
    assert spec.name == "efficientnet_lite0"
    assert not spec.gated


def test_listing_and_reading_specs_loads_no_torch():
    code = (
        "import sys, slidenet.tile_encoders as t\n"
        "t.get_spec(t.list_tile_encoders()[0])\n"
        "print(sorted({'torch', 'timm', 'torchvision', 'huggingface_hub'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_unknown_encoder_names_the_nearest():
    with pytest.raises(UnknownNameError, match=r"did you mean .*uni2_h"):
        get_spec("uni2-h")


def test_any_timm_model_brings_its_own_preprocessing():
    spec = get_spec("timm/resnet18.a1_in1k")
    assert spec.output_dim == 512
    assert spec.transform == InputTransform(input_px=224, resize_px=235)
    assert spec.weights == TimmWeights("timm/resnet18.a1_in1k")


@pytest.mark.parametrize(
    ("name", "hint"),
    [("timm/resnet1", "did you mean timm/resnet"), ("timm/resnet18.nobody", "one of a1_in1k")],
)
def test_unknown_timm_model_or_tag_names_the_nearest(name, hint):
    with pytest.raises(UnknownNameError, match=hint):
        get_spec(name)


def test_specs_travel_to_worker_processes():
    for name in list_tile_encoders():
        spec = get_spec(name)
        assert pickle.loads(pickle.dumps(spec)) == spec


@pytest.mark.parametrize(
    "wrong", [{"input_px": 300}, {"input_px": 0}, {"std": (0.2, 0.0, 0.2)}], ids=str
)
def test_impossible_transforms_are_refused(wrong):
    with pytest.raises(ConfigError):
        InputTransform(**wrong)

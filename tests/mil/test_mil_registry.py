"""Models by name: settings known and refused, defaults, GigaPath's weights, levels."""

import inspect

import pytest
import torch
from torch.testing import assert_close

from slidenet.core.errors import (
    ConfigError,
    MissingWeightsError,
    UnknownNameError,
    WeightsMismatchError,
)
from slidenet.mil import (
    BAG_MODELS,
    FROM_CHECKPOINT,
    BagBatch,
    BagModel,
    bag_model_settings,
    make_bag_model,
)
from slidenet.slide_encoders import LONGNET_CONFIGS
from slidenet.tasks import MulticlassTask


def test_names():
    published = {"abmil", "clam_mb", "clam_sb", "dsmil", "gigapath", "longnet", "transmil"}
    assert published | {"max", "mean", "probe"} <= set(BAG_MODELS)
    with pytest.raises(UnknownNameError, match=r"unknown bag model 'abmill'.*did you mean abmil"):
        make_bag_model("abmill", feature_dim=4, num_outputs=1)


def test_every_setting_has_a_default_but_the_shape_of_the_task():
    for name in BAG_MODELS:
        for parameter in inspect.signature(BAG_MODELS[name]).parameters.values():
            free = parameter.name in ("feature_dim", "num_outputs")
            assert (
                free
                or parameter.kind is parameter.VAR_KEYWORD
                or (parameter.default is not parameter.empty)
            ), f"{name}: {parameter.name}"


def test_settings_are_listed():
    assert bag_model_settings("mean") == ()
    assert bag_model_settings("abmil") == ("attention_dim", "dropout", "gated", "hidden_dim")
    assert "multi_branch" not in bag_model_settings("clam_mb")
    longnet = {"shape", "layers", "pooling", "attention", "segment_lengths", "depth", "drop_path"}
    assert longnet <= set(bag_model_settings("longnet"))
    assert {"weights", "embedding_level", "dropout"} <= set(bag_model_settings("gigapath"))


def test_unknown_settings_are_refused(name):
    with pytest.raises(ConfigError, match=f"unknown setting hiden_dim of bag model '{name}'"):
        make_bag_model(name, feature_dim=4, num_outputs=1, hiden_dim=3)
    with pytest.raises(ConfigError, match="unknown setting multi_branch"):
        make_bag_model(name, feature_dim=4, num_outputs=1, multi_branch=True)


def test_unknown_setting_message():
    with pytest.raises(
        ConfigError,
        match="unknown setting width of bag model 'abmil'; "
        "expected settings among attention_dim, dropout, gated, hidden_dim",
    ):
        make_bag_model("abmil", feature_dim=4, num_outputs=1, width=3)
    with pytest.raises(ConfigError, match=r"unknown setting a, b of bag model 'max'.*no settings"):
        make_bag_model("max", feature_dim=4, num_outputs=1, a=1, b=2)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("abmil", {"hidden_dim": 0}, "hidden_dim is 0"),
        ("abmil", {"attention_dim": 2.5}, "attention_dim is 2.5"),
        ("abmil", {"dropout": 1.0}, r"dropout is 1.0; expected a share of at least 0 and below 1"),
        ("clam_sb", {"num_instances": -1}, "num_instances is -1"),
        ("clam_mb", {"instance_weight": float("nan")}, "instance_weight is nan"),
        ("clam_mb", {"instance_margin": -1.0}, "instance_margin is -1.0"),
        ("dsmil", {"query_dim": True}, "query_dim is True"),
        ("dsmil", {"instance_weight": float("inf")}, "instance_weight is inf"),
        ("transmil", {"embed_dim": 10, "num_heads": 4}, "a multiple of num_heads"),
        ("transmil", {"residual_kernel": 4}, "an odd kernel"),
        ("longnet", {"pooling": "max"}, "one of attention, mean, class_token"),
        ("longnet", {"layers": [2, 1]}, r"layers=\[2, 1\] of a slide encoder of 4 blocks"),
        ("longnet", {"layers": [1, 5]}, "states from 0 .embeddings. to 4"),
        ("longnet", {"layers": []}, r"layers=\[\]"),
        ("longnet", {"embed_dim": 10}, "embed_dim=10"),
    ],
)
def test_settings_out_of_range(name, settings, message):
    with pytest.raises(ConfigError, match=message):
        make_bag_model(name, feature_dim=4, num_outputs=1, **settings)


def test_shapes_of_the_task_out_of_range():
    with pytest.raises(ConfigError, match="num_outputs is 0"):
        make_bag_model("mean", feature_dim=4, num_outputs=0)
    with pytest.raises(ConfigError, match="feature_dim is 0"):
        make_bag_model("mean", feature_dim=0, num_outputs=1)


def test_published_defaults():
    clam = make_bag_model("clam_sb", feature_dim=1024, num_outputs=2)
    assert clam.attention.content.weight.shape == (256, 512)
    assert clam.instance_weight == pytest.approx(0.3 / 0.7)
    assert (clam.num_instances, clam.instance_margin, clam.embed[2].p) == (8, 1.0, 0.25)
    longnet = make_bag_model("longnet", feature_dim=7, num_outputs=1)
    small = LONGNET_CONFIGS["longnet-small"].with_overrides(feature_dim=7)
    assert longnet.encoder.config == small
    assert longnet.layers == (4,)
    signature = inspect.signature(BAG_MODELS["gigapath"]).parameters
    published = {"layers": (11,), "pooling": "class_token", "dropout": 0.1, "drop_path": 0.0}
    assert {key: signature[key].default for key in published} == published


def test_heads_start_near_zero(bags):
    features, grid_xy, mask = bags((9, 5), dtype=torch.float32)
    for name in set(BAG_MODELS) - {"gigapath", "probe"}:
        logits = make_bag_model(name, feature_dim=12, num_outputs=3)(features, grid_xy, mask).logits
        assert 0 < logits.abs().max() < 0.1, name


@pytest.mark.parametrize("attention", ["dense", "sliding_window", "longformer", "bigbird"])
def test_longnet_takes_any_attention_pattern(small, bags, attention):
    model = small("longnet", attention=attention)
    assert model.encoder.config.attention == attention
    model(*bags((9, 5))).logits.sum().backward()


def test_longnet_attention_settings(small):
    model = small("longnet", attention="sliding_window", attention_settings={"window": 3})
    assert model.encoder.blocks[0].attention.pattern.window == 3


def test_gigapath_has_the_weights_of_the_file(small, weights, bags):
    model = small("gigapath")
    state = torch.load(weights, weights_only=True)["model"]
    found = make_bag_model(
        "gigapath", feature_dim=12, num_outputs=1, weights=weights, layers=[2], **shape_of(model)
    )
    assert torch.equal(found.encoder.tile_embed.weight, state["patch_embed.proj.weight"])
    assert torch.equal(
        found.encoder.blocks[1].ffn.fc2.weight, state["encoder.layers.1.ffn.fc2.weight"]
    )
    assert found.training
    assert found.encoder.dropout.p == 0.1
    dropped = found.encoder.blocks[0].dropout
    assert dropped.training
    assert dropped.p == 0.1


def shape_of(model):
    names = ("embed_dim", "depth", "num_heads", "ffn_dim", "segment_lengths", "dilation_rates")
    return {name: getattr(model.encoder.config, name) for name in (*names, "grid_size")}


def test_gigapath_without_weights(monkeypatch, tmp_path, weights):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(MissingWeightsError, match=r"no weights file at .*absent\.pth"):
        make_bag_model("gigapath", feature_dim=1536, num_outputs=1, weights=tmp_path / "absent.pth")
    import huggingface_hub

    def offline(repository, file, *, revision):
        raise OSError("no route")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", offline)
    with pytest.raises(MissingWeightsError, match=r"not be fetched .*no route.*--slide-weights"):
        make_bag_model("gigapath", feature_dim=1536, num_outputs=1)


def test_gigapath_with_other_features(small, weights):
    shape = shape_of(small("gigapath"))
    with pytest.raises(
        WeightsMismatchError, match=r"'patch_embed.proj.weight' has shape \(16, 12\).*\(16, 9\)"
    ):
        make_bag_model("gigapath", feature_dim=9, num_outputs=1, weights=weights, **shape)


def test_gigapath_from_a_checkpoint_needs_no_released_file(small, bags):
    trained = small("gigapath")
    shape = shape_of(trained) | {"layers": (1, 2), "dropout": 0.0}
    inputs = bags((9, 5))

    class Classifier(torch.nn.Module):
        def __init__(self, network):
            super().__init__()
            self.network = network

    fresh = make_bag_model(
        "gigapath", feature_dim=12, num_outputs=1, weights=FROM_CHECKPOINT, **shape
    ).double()
    with pytest.raises(MissingWeightsError, match="no checkpoint has been loaded"):
        fresh(*inputs)
    Classifier(fresh).load_state_dict(Classifier(trained).state_dict())
    assert_close(fresh(*inputs).logits, trained(*inputs).logits, rtol=0, atol=0)


def test_a_partial_checkpoint_does_not_count(small, bags):
    trained = small("gigapath")
    fresh = small("gigapath", weights=FROM_CHECKPOINT)
    partial = {key: value for key, value in trained.state_dict().items() if "head" in key}
    fresh.load_state_dict(partial, strict=False)
    with pytest.raises(MissingWeightsError, match="no checkpoint has been loaded"):
        fresh(*bags((9, 5)))


def test_levels_of_longnet():
    levels = make_bag_model("longnet", feature_dim=8, num_outputs=1).layer_levels()
    assert levels["encoder.class_token"] == 0
    assert levels["encoder.tile_embed.weight"] == 0
    assert levels["encoder.blocks.0.ffn.fc1.weight"] == 1
    assert levels["encoder.blocks.3.attention.q_proj.bias"] == 4
    top = {"encoder.norm.weight", "attention.content.weight", "head.weight", "head.bias"}
    assert {levels[key] for key in top} == {5}
    assert set(levels.values()) == set(range(6))


def test_levels_of_gigapath_as_published(small):
    model = small("gigapath")
    levels = model.layer_levels()
    top = model.encoder.config.depth + 1
    assert levels["encoder.class_token"] == 0
    assert levels["encoder.tile_embed.weight"] == top  # the published quirk
    assert levels["encoder.blocks.1.ffn_norm.bias"] == 2
    assert levels["head.weight"] == top
    corrected = small("gigapath", embedding_level="lowest").layer_levels()
    assert corrected["encoder.tile_embed.bias"] == 0
    with pytest.raises(ConfigError, match="embedding_level is 'top'"):
        small("gigapath", embedding_level="top")


def test_what_is_not_read_is_frozen(small):
    model = small("longnet", layers=[1])
    frozen = {key for key, p in model.named_parameters() if not p.requires_grad}
    assert {key.rsplit(".", 1)[0] for key in frozen if "blocks" not in key} == {
        "encoder.encoder_norm"
    }
    assert {key.split(".")[2] for key in frozen if "blocks" in key} == {"1"}


def test_every_trainable_parameter_gets_a_gradient(trained_name, small, bags):
    """Distributed training stops at a parameter that waits for a gradient."""
    model = small(trained_name, 3)
    features, grid_xy, mask = bags((9, 5))
    out = model(features, grid_xy, mask)
    extra = model.auxiliary_loss(
        out, torch.tensor([0, 2]), mask, MulticlassTask(("y",), ("a", "b", "c"))
    )
    (out.logits.square().sum() + (0 if extra is None else extra)).backward()
    waiting = [k for k, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert waiting == []


def test_models_are_saved_and_loaded_exactly(name, small, bags):
    first, second = small(name, seed=0), small(name, seed=1)
    inputs = bags((9, 5))
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(*inputs).logits, second(*inputs).logits)
    assert isinstance(first, BagModel)
    assert (first.feature_dim, first.num_outputs) == (12, 1)


def test_bag_batch_moves_with_all_its_tensors(bags):
    features, grid_xy, mask = bags((3, 2))
    batch = BagBatch(features, grid_xy * 512, grid_xy, mask, None, ("a", "b"), (("a",), ("b",)))
    moved = batch.to("meta")
    assert len(moved) == 2
    assert moved.features.is_meta
    assert moved.coords.is_meta
    assert moved.mask.is_meta
    assert moved.target is None
    assert moved.bag_ids == ("a", "b")

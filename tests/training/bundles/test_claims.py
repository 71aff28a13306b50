"""A bundle is a claim until it is checked: one line for whatever no bundle can say."""

import json

import pytest
import torch

from slidenet.core.errors import StoreError
from slidenet.tasks import BinaryTask
from slidenet.training import (
    SlideClassifier,
    load_bundle,
    load_classifier,
    save_bundle,
    seed_run,
)
from slidenet.training.bundles import restoring

TASK = BinaryTask(("tumour",), ("no", "yes"))
LONGNET = {
    "embed_dim": 24, "depth": 2, "num_heads": 2, "ffn_dim": 32, "segment_lengths": [4],
    "dilation_rates": [1],
}  # fmt: skip


def content_of(tmp_path, network="abmil", settings=None):
    seed_run(0)
    settings = {"hidden_dim": 8, "attention_dim": 4} if settings is None else settings
    save_bundle(tmp_path / "a", SlideClassifier(TASK, 6, network, settings), features_identity={})
    return torch.load(tmp_path / "a", weights_only=True)


@pytest.fixture
def refusal(tmp_path):
    def refuse(content):
        torch.save(content, tmp_path / "a")
        with pytest.raises(StoreError) as refused:
            load_bundle(tmp_path / "a")
        message = str(refused.value)
        assert "\n" not in message
        assert len(message) < 900
        return message

    return refuse


def put(text, path, value):
    """The JSON text with another value at a place such as `settings.task.kind`."""
    found = json.loads(text)
    inner = found
    *outer, last = path.split(".")
    for name in outer:
        inner = inner[name]
    inner[last] = value
    return json.dumps(found)


VALUES = {
    "threshold": [5, -1, "x", True, [0.5], {}, float("nan"), float("inf")],
    "temperature": [0, -1, "x", None, True, float("inf")],
    "baseline": ["x", {"times": [1.0], "cumulative_hazard": [0.1], "report_times": [1.0]}],
    "training": [None, [1]],
    "training.bag": ["nonsense", None, 3, ["slide"]],
    "training.seen": ["x", {"slides": "abc"}, {"slides": [1]}, [1]],
    "training.given": [3, {"slide_mpp": "x"}, {"slide_mpp": 0}, {"slide_mpp": float("inf")}],
    "training.min_region_share": ["x", -1, 2, True],
    "training.run": [3],
    "versions": ["x"],
    "features_recipe": [3, {"tiles": "x"}, {"tile_encoder": [1]}],
    "unheard_of": [1],
    "settings.unheard_of": [1],
    "settings.feature_dim": [10**12, "6", 0, None],
    "settings.feature_components": [10**9],
    "settings.class_weights": [[1.0], [-1.0, 1.0], "x"],
    "settings.learning_rate": ["x", 0],
    "settings.task.class_names": [["no"], 3],
    "settings.network_settings.hidden_dim": [10**9, 10**400, "8", 8.5, True],
    "settings.network_settings.gated": ["yes"],
    "settings.network_settings.dropout": ["x", 2],
}


@pytest.mark.parametrize("path", VALUES)
def test_values_that_no_bundle_can_have(tmp_path, refusal, path):
    content = content_of(tmp_path)
    for value in VALUES[path]:
        message = refusal({**content, "content": put(content["content"], path, value)})
        assert str(tmp_path / "a") in message


def test_bags_of_regions_say_which_tiles_lie_in_one(tmp_path, refusal):
    content = content_of(tmp_path)
    changed = put(content["content"], "training.bag", "region")
    assert "min_region_share is None" in refusal({**content, "content": changed})


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("depth", 10**9, "does not hold the weights"),
        ("ffn_dim", 10**9, "does not hold the weights"),
        ("grid_size", 10**9, "table of positions"),
        ("embed_dim", 24 * 10**6, "table of positions"),
        ("layer_norm_eps", -1, "layer_norm_eps"),
    ],
)
def test_a_model_larger_than_its_file_is_not_made(tmp_path, refusal, name, value, words):
    content = content_of(tmp_path, "longnet", LONGNET)
    changed = put(content["content"], f"settings.network_settings.{name}", value)
    assert words in refusal({**content, "content": changed})


@pytest.mark.slow
def test_the_texts_of_a_bundle_have_an_end(tmp_path, refusal):
    content = content_of(tmp_path)
    text = content["content"]
    for wrong, words in (
        (text[:-1] + ',"threshold":null}', "two entries named 'threshold'"),
        ('{"a":' + "[" * 10**5 + "]" * 10**5 + "}", "nested deeper"),
        (put(text, "training", {"a": "b" * (17 << 20)}), "bytes of JSON"),
        (text[:-1] + "," + '"a":' + "9" * 5000 + "}", "does not describe a model"),
    ):
        assert words in refusal({**content, "content": wrong})


def first(weights):
    return next(iter(weights))


WEIGHTS = {
    "NaN": lambda w: w[first(w)].fill_(float("nan")),
    "infinite": lambda w: w[first(w)].fill_(float("inf")),
    "it lacks": lambda w: w.pop(first(w)),
    "besides": lambda w: w.update(extra=torch.zeros(3)),
    "int64": lambda w: w.update({first(w): w[first(w)].long()}),
    "no tensor": lambda w: w.update({first(w): 3}),
    "no text as the name": lambda w: w.update({3: torch.zeros(1)}),
    "it lacks network": lambda w: [w.pop(name) for name in list(w)[1:]],
    "there as a whole": lambda w: w.update({first(w): torch.zeros(1, 1).expand(10**5, 10**5)}),
}


@pytest.mark.parametrize("words", WEIGHTS)
def test_weights_that_no_bundle_can_have(tmp_path, refusal, words):
    content = content_of(tmp_path)
    WEIGHTS[words](content["weights"])
    assert words in refusal(content)


@pytest.mark.parametrize("network", ["clam_mb", "dsmil", "longnet", "max", "transmil"])
def test_the_outline_of_a_network_has_its_weights(tmp_path, network, monkeypatch):
    """Nothing that slidenet wrote is refused for its size; the outline takes no memory."""
    made = []
    outline = restoring._outline
    monkeypatch.setattr(restoring, "_outline", lambda *a: made.append(outline(*a)) or made[-1])
    content_of(tmp_path, network, LONGNET if network == "longnet" else {})
    loaded = load_bundle(tmp_path / "a").module
    assert all(p.is_meta for p in made[0].parameters())
    assert list(made[0].state_dict()) == list(loaded.state_dict())


def test_a_checkpoint_read_by_lightning_runs_no_code_either(tmp_path, monkeypatch, capsys):
    class Code:
        def __reduce__(self):
            return print, ("code",)

    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    torch.save({"state_dict": {}, "hyper_parameters": Code()}, tmp_path / "a.ckpt")
    with pytest.raises(StoreError, match="more than tensors"):
        load_classifier(tmp_path / "a.ckpt")
    with pytest.raises(StoreError, match="more than tensors"):
        SlideClassifier.load_from_checkpoint(tmp_path / "a.ckpt")
    assert capsys.readouterr().out == ""

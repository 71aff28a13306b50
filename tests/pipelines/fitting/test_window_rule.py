"""Runs begun before windows of attention were marked: read, gone on with, and never mixed up."""

import json

import pytest
import torch

from slidenet.core.errors import ConfigError, IdentityMismatchError
from slidenet.pipelines.train import train
from slidenet.testing import write_feature_cohort
from slidenet.training import SlideClassifier, load_bundle, load_classifier

NETWORK = {
    "attention": "strided", "embed_dim": 8, "depth": 1, "num_heads": 2, "ffn_dim": 8,
    "pooling": "mean",
}  # fmt: skip


def unmarked(network):
    """Settings as older versions wrote them: without the mark, and without what only holds it."""
    del network["attention_settings"]["window_rule"]
    if not network["attention_settings"]:
        del network["attention_settings"]


@pytest.fixture
def settings(tmp_path):
    made = write_feature_cohort(tmp_path / "cohort", num_patients=12, num_tiles=12, feature_dim=4)
    return {
        "labels": str(made.labels), "features": made.features, "network": "longnet",
        "max_epochs": 1, "accelerator": "cpu", "batch_size": 8,
    }  # fmt: skip


@pytest.mark.slow
def test_a_run_of_an_older_version_is_read_and_gone_on_with(settings, tmp_path):
    old = tmp_path / "old"
    half = {**NETWORK, "attention_settings": {"window_rule": "half"}}
    train(old, **settings, network_settings=half)
    wanted = (old / "predictions_test.csv").read_text()
    plan = json.loads((old / "plan.json").read_text())
    unmarked(plan["model"]["network_settings"])
    (old / "plan.json").write_text(json.dumps(plan))
    bundle = torch.load(old / "model.slidenet")
    content = json.loads(bundle["content"])
    unmarked(content["settings"]["network_settings"])
    torch.save({**bundle, "content": json.dumps(content)}, old / "model.slidenet")
    for name in ("best.ckpt", "last.ckpt"):
        checkpoint = torch.load(old / name, weights_only=False)
        unmarked(checkpoint["hyper_parameters"]["network_settings"])
        torch.save(checkpoint, old / name)

    module = load_bundle(old / "model.slidenet").module
    assert module.network.encoder.pattern.window_rule == "half"
    assert load_classifier(old / "best.ckpt").network.encoder.pattern.window_rule == "half"
    with pytest.raises(ConfigError, match=r"was trained with window_rule 'half'.*'keys'.*give"):
        SlideClassifier.load_from_checkpoint(old / "best.ckpt")

    train(old, **settings, network_settings=NETWORK)  # the same command, given again
    assert (old / "predictions_test.csv").read_text() == wanted
    asked = {**NETWORK, "attention_settings": {"window_rule": "keys"}}
    with pytest.raises(IdentityMismatchError, match="window_rule: None -> 'keys'"):
        train(old, **settings, network_settings=asked)

    train(tmp_path / "new", **settings, network_settings=NETWORK)
    assert (tmp_path / "new" / "predictions_test.csv").read_text() != wanted
    for place in ("plan.json", "best.ckpt", "model.slidenet"):
        assert b"window_rule" in (tmp_path / "new" / place).read_bytes(), place

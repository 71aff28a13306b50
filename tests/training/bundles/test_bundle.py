"""Bundles: one file in, the same classifier out, and clear refusals."""

import json

import numpy as np
import pytest
import torch

from slidenet.core.errors import ConfigError, OutputError, StoreError
from slidenet.slide_encoders import LONGNET_CONFIGS, LongNetViT, save_checkpoint
from slidenet.tasks import BreslowBaseline, Calibration
from slidenet.training import SlideClassifier, load_bundle, load_classifier, save_bundle, seed_run

BASELINE = BreslowBaseline((1.0,), (0.1,), (1.0,))
RECIPE = {"encoder": "resnet50", "target_mpp": 0.5}


@pytest.fixture
def module(cohort):
    _, tasks = cohort
    seed_run(0)
    return SlideClassifier(tasks["binary"], 6, "abmil", {"hidden_dim": 8, "attention_dim": 4})


def test_round_trip_of_every_task(task, cohort, tmp_path):
    loader, _ = cohort
    seed_run(0)
    module = SlideClassifier(task, 6, "mean")
    save_bundle(tmp_path / "model.bundle", module, features_identity=RECIPE, training={"seed": 3})
    bundle = load_bundle(tmp_path / "model.bundle")
    batch = next(iter(loader(task)))
    found = bundle.predict(batch)
    assert bundle.task == task
    assert bundle.features_identity == RECIPE
    assert bundle.training == {"seed": 3}
    assert bundle.calibration == Calibration(temperature=1.0, threshold=None, baseline=None)
    assert set(bundle.versions) == {"slidenet", "torch", "lightning"}
    wanted = task.predict(module.eval()(batch).logits)
    assert list(found.arrays) == list(wanted.arrays)
    for name, array in wanted.arrays.items():
        np.testing.assert_array_equal(found.arrays[name], array)


def test_threshold_temperature_and_baseline_are_kept_and_applied(module, cohort, tmp_path):
    loader, tasks = cohort
    path = tmp_path / "model.bundle"
    save_bundle(path, module, features_identity=RECIPE, calibration=Calibration(2.0, 0.3))
    bundle = load_bundle(path)
    batch = next(iter(loader(tasks["binary"])))
    found = bundle.predict(batch)
    assert bundle.calibration.threshold == 0.3
    with torch.no_grad():
        output = bundle.module(batch)
    wanted = bundle.task.predict(output.logits / 2).probabilities
    np.testing.assert_array_equal(found.probabilities, wanted)
    maps = output.attention_of_bags(batch.mask)
    assert [a.shape[1] for a in maps] == batch.mask.sum(1).tolist()

    baseline = BreslowBaseline((1.0, 3.0), (0.2, 0.5), (2.0,))
    cox = SlideClassifier(tasks["cox"], 6, "mean")
    save_bundle(path, cox, features_identity=RECIPE, calibration=Calibration(baseline=baseline))
    bundle = load_bundle(path)
    assert bundle.calibration.baseline == baseline
    found = bundle.predict(next(iter(loader(tasks["cox"]))))
    wanted = np.exp(-0.2 * np.exp(found.risk))[:, None]
    np.testing.assert_allclose(found.survival, wanted, rtol=1e-6)


def test_same_model_same_bytes(module, tmp_path):
    for name in ("one.bundle", "another-name.bundle"):
        save_bundle(
            tmp_path / name,
            module,
            features_identity=RECIPE,
            calibration=Calibration(threshold=0.5),
        )
    first, second = ((tmp_path / n).read_bytes() for n in ("one.bundle", "another-name.bundle"))
    assert first == second


def test_fine_tuned_weights_need_no_released_weights(cohort, quiet_trainer, tmp_path):
    loader, tasks = cohort
    shape = {
        "embed_dim": 24,
        "depth": 2,
        "num_heads": 2,
        "ffn_dim": 32,
        "segment_lengths": [4],
        "dilation_rates": [1],
    }
    released = tmp_path / "slide_encoder.pth"
    seed_run(0)
    encoder = LongNetViT(LONGNET_CONFIGS["gigapath"], feature_dim=6, **shape)
    save_checkpoint(released, encoder.state_dict())
    settings = {"weights": str(released), "layers": [1, 2], **shape}
    module = SlideClassifier(tasks["binary"], 6, "gigapath", settings, layer_decay=0.9)
    trainer = quiet_trainer(max_epochs=1)
    trainer.fit(module, loader(tasks["binary"]))
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    save_bundle(tmp_path / "a.bundle", module, features_identity=RECIPE)
    released.unlink()
    batch = next(iter(loader(tasks["binary"])))
    wanted = module.eval()(batch).logits
    for loaded in (
        load_bundle(tmp_path / "a.bundle").module,
        load_classifier(tmp_path / "a.ckpt"),
        SlideClassifier.load_from_checkpoint(tmp_path / "a.ckpt").eval(),
    ):
        assert torch.equal(loaded(batch).logits, wanted)
    assert module.hparams["network_settings"]["weights"] == str(released)
    assert str(tmp_path).encode() not in (tmp_path / "a.bundle").read_bytes()


def test_files_that_are_no_bundle_are_refused(module, tmp_path):
    path = tmp_path / "model.bundle"
    with pytest.raises(StoreError, match="no slidenet bundle at"):
        load_bundle(path)
    path.write_bytes(b"PK\x03\x04 not a zip")
    with pytest.raises(StoreError, match=r"model\.bundle cannot be read"):
        load_bundle(path)
    torch.save({"state_dict": {}}, path)
    with pytest.raises(StoreError, match="is no slidenet bundle"):
        load_bundle(path)


def change(path, **changes):
    content = torch.load(path, weights_only=True)
    content.update(changes)
    torch.save({k: v for k, v in content.items() if v is not None}, path)


def test_newer_and_incomplete_bundles_are_refused(module, tmp_path):
    path = tmp_path / "model.bundle"
    save_bundle(path, module, features_identity=RECIPE)
    change(path, version=2)
    with pytest.raises(StoreError, match=r"version 2; expected version 1.*newer"):
        load_bundle(path)
    save_bundle(path, module, features_identity=RECIPE)
    change(path, weights=None)
    with pytest.raises(StoreError, match=r"model\.bundle lacks weights"):
        load_bundle(path)
    save_bundle(path, module, features_identity=RECIPE)
    change(path, content='{"settings": {}}')
    with pytest.raises(StoreError, match="lacks features_recipe, threshold"):
        load_bundle(path)
    save_bundle(path, module, features_identity=RECIPE)
    change(path, weights={"network.head.bias": torch.zeros(1)})
    with pytest.raises(StoreError, match=r"model\.bundle does not hold the weights"):
        load_bundle(path)


@pytest.mark.parametrize(
    ("extras", "words"),
    [
        ({"calibration": Calibration(threshold=1.2)}, "threshold is 1.2"),
        ({"calibration": Calibration(temperature=0.0)}, "temperature is 0"),
        ({"calibration": Calibration(baseline=BASELINE)}, "baseline hazard for a binary"),
        ({"training": {"seed": {1, 2}}}, "cannot be kept in a bundle"),
        ({"training": {"loss": float("nan")}}, "cannot be kept in a bundle"),
    ],
)
def test_extras_that_do_not_fit_are_refused(module, tmp_path, extras, words):
    with pytest.raises(ConfigError, match=words):
        save_bundle(tmp_path / "model.bundle", module, features_identity=RECIPE, **extras)
    assert list(tmp_path.iterdir()) == []


def test_a_threshold_is_for_two_sided_questions_only(cohort, tmp_path):
    _, tasks = cohort
    module = SlideClassifier(tasks["ordinal"], 6, "mean")
    with pytest.raises(ConfigError, match="for a ordinal task"):
        save_bundle(
            tmp_path / "m", module, features_identity=RECIPE, calibration=Calibration(threshold=0.5)
        )


def test_a_folder_in_the_way_is_an_output_error(module, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        save_bundle(tmp_path / "file" / "model.bundle", module, features_identity=RECIPE)


def settings_changed(path, **changes):
    content = json.loads(torch.load(path, weights_only=True)["content"])
    content["settings"].update(changes)
    kept = {name: v for name, v in content["settings"].items() if v is not None}
    return json.dumps({**content, "settings": kept})


@pytest.mark.parametrize(
    "settings",
    [{"network": None}, {"network": ["abmil"]}, {"unheard_of": 1}, {"task": {}}, {"task": "x"}],
)
def test_settings_that_describe_no_model_are_refused(module, tmp_path, settings):
    path = tmp_path / "model.bundle"
    save_bundle(path, module, features_identity=RECIPE)
    change(path, content=settings_changed(path, **settings))
    with pytest.raises(StoreError, match=r"model\.bundle does not describe a model"):
        load_bundle(path)


def test_malformed_values_of_a_bundle_are_refused(module, tmp_path):
    path = tmp_path / "model.bundle"
    for content in ("{no JSON", "[1]", 3):
        save_bundle(path, module, features_identity=RECIPE)
        change(path, content=content)
        with pytest.raises(StoreError, match=r"model\.bundle does not describe a model"):
            load_bundle(path)
    save_bundle(path, module, features_identity=RECIPE)
    whole = json.loads(torch.load(path, weights_only=True)["content"])
    for changed in ({"baseline": {"what": [1]}}, {"baseline": 3}, {"settings": [1]}):
        change(path, content=json.dumps({**whole, **changed}))
        with pytest.raises(StoreError, match=r"model\.bundle does not describe a model"):
            load_bundle(path)
    save_bundle(path, module, features_identity=RECIPE)
    change(path, weights=[1])
    with pytest.raises(StoreError, match="weights of the type list"):
        load_bundle(path)

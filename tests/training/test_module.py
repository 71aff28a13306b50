"""`SlideClassifier` through Lightning's Trainer: every task trains, logs, predicts, reloads."""

import warnings

import numpy as np
import pytest
import torch

from slidenet.core.errors import ConfigError, LabelError, StoreError, UnknownNameError
from slidenet.tasks import BinaryTask, PredictionArrays
from slidenet.training import SlideClassifier, load_classifier, quiet_lightning, seed_run


def classifier(task, **settings):
    seed_run(0)
    settings.setdefault("network", "mean")
    if task.kind == "regression":
        settings = {"target_offset": 70.0, "target_scale": 6.0, **settings}
    return SlideClassifier(task, 6, **{"learning_rate": 0.03, **settings})


def test_every_task_learns(task, cohort, quiet_trainer):
    loader, _ = cohort
    module = classifier(task)
    trainer = quiet_trainer(max_epochs=8)
    before = quiet_trainer().validate(module, loader(task), verbose=False)[0]
    trainer.fit(module, loader(task, shuffle=True), loader(task, n=17, seed=1))
    assert "train_loss" in trainer.logged_metrics
    after = trainer.validate(module, loader(task), verbose=False)[0]
    assert after["val_loss"] < before["val_loss"]
    assert set(after) == {f"val_{name}" for name in ("loss", *task.metric_names())}


@pytest.mark.parametrize("batch_size", [1, 4, 24])
def test_validation_does_not_depend_on_batches(task, cohort, quiet_trainer, batch_size):
    loader, _ = cohort
    module = classifier(task).eval()
    logged = quiet_trainer().validate(module, loader(task, batch_size=batch_size), verbose=False)[0]
    whole = next(iter(loader(task, batch_size=24)))
    with torch.no_grad():
        logits = module(whole).logits
    scale = 36.0 if task.kind == "regression" else 1.0
    loss = float(task.loss(logits, whole.target)) / scale
    assert logged["val_loss"] == pytest.approx(loss, rel=1e-5)
    wanted = task.compute_metrics(task.predict(logits), whole.target.numpy())
    for name, value in wanted.items():
        assert logged[f"val_{name}"] == pytest.approx(value, rel=1e-4, abs=1e-6, nan_ok=True)


def test_test_stage_logs_under_its_own_name(cohort, quiet_trainer):
    loader, tasks = cohort
    logged = quiet_trainer().test(classifier(tasks["binary"]), loader(tasks["binary"]))[0]
    assert {"test_loss", "test_auroc"} <= set(logged)


def test_auxiliary_loss_is_trained_with(cohort, quiet_trainer):
    loader, tasks = cohort
    task = tasks["binary"]
    module = classifier(task, network="clam_sb", network_settings={"dropout": 0.0})
    batch = next(iter(loader(task)))
    output = module(batch)
    main = task.loss(output.logits, batch.target)
    extra = module.network.auxiliary_loss(output, batch.target, batch.mask, module.task)
    logged = {}
    module.log = lambda name, value, **_: logged.update({name: float(value.detach())})
    total = module.training_step(batch, 0)
    assert extra > 0
    assert total.item() == pytest.approx((main + extra).item())
    assert logged["train_loss"] == total.item()


@pytest.mark.parametrize("network", ["abmil", "mean"])
def test_predictions_of_all_batches_and_unpadded_attention(cohort, quiet_trainer, network):
    loader, tasks = cohort
    task = tasks["multiclass"]
    module = classifier(task, network=network).eval()
    data = loader(task)
    predictions = PredictionArrays.concatenate(quiet_trainer().predict(module, data))
    assert [i for batch in data for i in batch.bag_ids] == [f"bag{i}" for i in range(24)]
    sizes = [len(f) for f in data.dataset.features]
    with torch.no_grad():
        outputs = [(module(batch), batch.mask) for batch in data]
    maps = [a for output, mask in outputs for a in output.attention_of_bags(mask)]
    assert [a.shape for a in maps] == [(1, n) for n in sizes]
    assert all(float(a.sum()) == pytest.approx(1, abs=1e-5) for a in maps)
    assert predictions.probabilities.shape == (24, 3)
    logits = torch.cat([output.logits for output, _ in outputs])
    np.testing.assert_allclose(predictions.probabilities, logits.softmax(1), rtol=1e-6)


@pytest.mark.parametrize("precision", ["64-true", "bf16-true"])
def test_precisions_that_round_labels_are_refused(precision, cohort, quiet_trainer):
    loader, tasks = cohort
    trainer = quiet_trainer(precision=precision, max_epochs=1)
    with pytest.raises(ConfigError, match=rf"{precision}.*32-true, bf16-mixed, 16-mixed"):
        trainer.fit(classifier(tasks["cox"]), loader(tasks["cox"]))


def test_mixed_precision_trains_and_predicts_in_float32(cohort, quiet_trainer):
    loader, tasks = cohort
    module = classifier(tasks["ordinal"])
    trainer = quiet_trainer(precision="bf16-mixed", max_epochs=1)
    trainer.fit(module, loader(tasks["ordinal"]), loader(tasks["ordinal"]))
    prediction = trainer.predict(module, loader(tasks["ordinal"]))[0]
    assert prediction.probabilities.dtype == np.float32
    np.testing.assert_allclose(prediction.probabilities.sum(1), np.ones(5), rtol=1e-6)


def test_cox_with_single_bags_is_refused_before_training(cohort, quiet_trainer):
    loader, tasks = cohort
    module = classifier(tasks["cox"])
    before = {k: v.clone() for k, v in module.state_dict().items()}
    with pytest.raises(ConfigError, match="batch_size 1"):
        quiet_trainer().fit(module, loader(tasks["cox"], batch_size=1))
    for key, value in module.state_dict().items():
        assert torch.equal(value, before[key])


def batches(data, groups):
    return torch.utils.data.DataLoader(
        data.dataset, batch_sampler=groups, collate_fn=data.collate_fn
    )


def test_cox_with_single_bags_by_a_token_budget_is_refused(cohort, quiet_trainer):
    loader, tasks = cohort
    data = loader(tasks["cox"])
    singles = batches(data, [[i] for i in range(24)])
    with pytest.raises(ConfigError, match="batch_size 1"):
        quiet_trainer().fit(classifier(tasks["cox"]), singles)
    some = batches(data, [[0], [1, 2], *[[i] for i in range(3, 24)]])
    quiet_trainer(max_epochs=1).fit(classifier(tasks["cox"]), some)


def test_bags_without_labels_are_refused_but_can_be_predicted(cohort, quiet_trainer):
    loader, tasks = cohort
    module = classifier(tasks["binary"])
    batch = next(iter(loader(tasks["binary"])))
    bare = type(batch)(**{**batch.__dict__, "target": None})
    with pytest.raises(LabelError, match="bag0"):
        module.validation_step(bare, 0)
    assert len(module.predict_step(bare, 0).probabilities) == 5


def test_regression_learns_in_units_of_the_target(cohort):
    loader, tasks = cohort
    module = classifier(tasks["regression"], target_offset=70.0, target_scale=6.0)
    batch = next(iter(loader(tasks["regression"])))
    raw = module.network(batch.features, batch.grid_xy, batch.mask).logits
    torch.testing.assert_close(module(batch).logits, raw * 6 + 70)
    module.log = lambda *_, **__: None
    wanted = torch.mean((raw[:, 0] - (batch.target - 70) / 6) ** 2)
    torch.testing.assert_close(module.training_step(batch, 0), wanted)


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"network": "abmli"}, UnknownNameError, "abmil"),
        ({"network_settings": {"widht": 3}}, ConfigError, "widht"),
        ({"network_settings": {"gated": {1, 2}}}, ConfigError, "gated=.* cannot be kept"),
        ({"learning_rate": 0.0}, ConfigError, "learning_rate is 0.0"),
        ({"layer_decay": 0.9}, ConfigError, "without levels"),
        ({"layer_decay": 1.5}, ConfigError, "layer_decay is 1.5"),
        ({"schedule": "linear"}, ConfigError, "schedule is 'linear'"),
        ({"warmup_epochs": -1.0}, ConfigError, "warmup_epochs"),
        ({"class_weights": [1.0, 2.0, 3.0]}, ConfigError, "3 class weights"),
        ({"target_scale": 2.0}, ConfigError, "target_scale 2"),
    ],
)
def test_bad_settings_are_refused_when_the_module_is_made(settings, error, words):
    task = BinaryTask(("tumour",), ("no", "yes"))
    with pytest.raises(error, match=words):
        classifier(task, **settings)


def test_checkpoint_reloads_with_its_task(task, cohort, quiet_trainer, tmp_path):
    loader, _ = cohort
    module = classifier(task)
    trainer = quiet_trainer(max_epochs=1)
    trainer.fit(module, loader(task))
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    batch = next(iter(loader(task)))
    wanted = module.eval()(batch).logits
    for loaded in (
        SlideClassifier.load_from_checkpoint(tmp_path / "a.ckpt").eval(),
        load_classifier(tmp_path / "a.ckpt", task=task, feature_dim=6),
    ):
        assert loaded.task == task
        assert dict(loaded.hparams) == dict(module.hparams)
        assert torch.equal(loaded(batch).logits, wanted)


def test_checkpoint_of_another_task_is_refused_by_name(cohort, quiet_trainer, tmp_path):
    loader, tasks = cohort
    module = classifier(tasks["binary"])
    trainer = quiet_trainer(max_epochs=1)
    trainer.fit(module, loader(tasks["binary"]))
    path = tmp_path / "a.ckpt"
    trainer.save_checkpoint(path)
    with pytest.raises(ConfigError, match=r"a\.ckpt .*another task.*'binary' -> 'cox'"):
        load_classifier(path, task=tasks["cox"])
    with pytest.raises(ConfigError, match=r"a\.ckpt .*length 6; expected features of length 9"):
        load_classifier(path, feature_dim=9)
    other = classifier(tasks["ordinal"])
    with pytest.raises(ConfigError, match=r"a\.ckpt .*'binary' -> 'ordinal'"):
        quiet_trainer().fit(other, loader(tasks["ordinal"]), ckpt_path=path)
    with pytest.raises(ConfigError, match="another task"):
        quiet_trainer().validate(other, loader(tasks["ordinal"]), ckpt_path=path)
    with pytest.raises(ConfigError, match="network abmil"):
        quiet_trainer().test(
            classifier(tasks["binary"], network="abmil"), loader(tasks["binary"]), ckpt_path=path
        )


def test_files_that_are_no_checkpoint_are_refused(tmp_path):
    with pytest.raises(StoreError, match="no checkpoint of a slide classifier at"):
        load_classifier(tmp_path / "none.ckpt")
    (tmp_path / "text.ckpt").write_text("hello")
    with pytest.raises(StoreError, match=r"text\.ckpt cannot be read"):
        load_classifier(tmp_path / "text.ckpt")
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    with pytest.raises(StoreError, match="no checkpoint of a slide classifier"):
        load_classifier(tmp_path / "other.ckpt")
    torch.save([1], tmp_path / "list.ckpt")
    with pytest.raises(StoreError, match="holds a list"):
        load_classifier(tmp_path / "list.ckpt")


def test_a_usual_fit_says_nothing(cohort, quiet_trainer, capfd):
    loader, tasks = cohort
    task = tasks["multilabel"]
    with warnings.catch_warnings(record=True) as caught, quiet_lightning():
        trainer = quiet_trainer(max_epochs=1)
        trainer.fit(classifier(task), loader(task, shuffle=True), loader(task))
    assert [str(w.message) for w in caught] == []
    assert capfd.readouterr() == ("", "")


def test_hyper_parameters_are_plain(task):
    module = classifier(task, class_weights=None)
    assert module.hparams["task"] == task.identity()
    weighted = BinaryTask(("tumour",), ("no", "yes"))
    module = classifier(weighted, class_weights=np.array([0.5, 2.0]))
    assert module.hparams["class_weights"] == [0.5, 2.0]
    assert module.class_weights.tolist() == [0.5, 2.0]
    assert "class_weights" not in module.state_dict()

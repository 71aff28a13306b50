"""Same seed, same weights, interrupted or not; best checkpoint, curve and early stopping."""

import csv
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from slidenet.core.errors import ConfigError
from slidenet.tasks import BinaryTask
from slidenet.training import SlideClassifier, default_callbacks, seed_run
from slidenet.training.callbacks import MonitorGuard
from slidenet.training.learning_curve import LearningCurve

NETWORK = {
    "network": "abmil",
    "network_settings": {"dropout": 0.5, "hidden_dim": 8, "attention_dim": 4},
}


class Killed(Exception):
    pass


class KillIn(Callback):
    """Dies in the middle of an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.current_epoch == self.epoch and batch_idx == 1:
            raise Killed


def fit(
    cohort,
    make_trainer,
    folder,
    *,
    seed=3,
    epochs=4,
    kill=None,
    ckpt=None,
    workers=0,
    patience=50,
    rate=3e-3,
):
    loader, tasks = cohort
    task = tasks["binary"]
    seed_run(seed)
    module = SlideClassifier(task, 6, learning_rate=rate, **NETWORK)
    callbacks = default_callbacks(task, folder, seed=seed, patience=patience, progress=False)
    if kill is not None:
        callbacks.append(KillIn(kill))
    trainer = make_trainer(max_epochs=epochs, callbacks=callbacks, enable_checkpointing=True)
    data = loader(task, shuffle=True, num_workers=workers), loader(task, n=11, seed=1)
    if kill is None:
        trainer.fit(module, *data, ckpt_path=ckpt)
    else:
        with pytest.raises(Killed):
            trainer.fit(module, *data)
    return module, trainer


def equal(a, b):
    assert a.keys() == b.keys()
    return all(torch.equal(a[k], b[k]) for k in a)


def test_same_seed_same_weights_on_the_cpu(cohort, quiet_trainer, tmp_path):
    first, _ = fit(cohort, quiet_trainer, tmp_path / "a", epochs=2)
    torch.rand(17)  # whatever ran before
    again, _ = fit(cohort, quiet_trainer, tmp_path / "b", epochs=2)
    other, _ = fit(cohort, quiet_trainer, tmp_path / "c", epochs=2, seed=4)
    assert equal(first.state_dict(), again.state_dict())
    assert not equal(first.state_dict(), other.state_dict())
    saved = [
        torch.load(tmp_path / name / "best.ckpt", weights_only=True)["state_dict"] for name in "ab"
    ]
    assert equal(*saved)
    curves = [(tmp_path / name / "learning_curve.png").read_bytes() for name in "ab"]
    assert curves[0] == curves[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("killed_in", "workers"),
    [
        (1, 1),
        (3, 0),
        pytest.param(1, 0, marks=pytest.mark.slow),
        pytest.param(3, 1, marks=pytest.mark.slow),
    ],
)
def test_a_killed_fit_resumes_to_the_same_weights(
    cohort, quiet_trainer, tmp_path, killed_in, workers
):
    whole, trainer = fit(cohort, quiet_trainer, tmp_path / "whole", workers=workers)
    fit(cohort, quiet_trainer, tmp_path / "cut", kill=killed_in, workers=workers)
    last = tmp_path / "cut" / "last.ckpt"
    resumed, again = fit(cohort, quiet_trainer, tmp_path / "cut", ckpt=last, workers=workers)
    assert equal(resumed.state_dict(), whole.state_dict())
    assert again.callback_metrics == trainer.callback_metrics
    best = [
        torch.load(tmp_path / name / "best.ckpt", weights_only=True)["state_dict"]
        for name in ("whole", "cut")
    ]
    assert equal(*best)
    for name in ("learning_curve.png", "metrics.csv"):
        written = [(tmp_path / n / name).read_bytes() for n in ("whole", "cut")]
        assert written[0] == written[1], name


def test_a_fit_that_stopped_early_is_not_trained_on(cohort, quiet_trainer, tmp_path):
    settings = {"epochs": 30, "patience": 1, "rate": 1.0}
    stopped, trainer = fit(cohort, quiet_trainer, tmp_path, **settings)
    assert 1 < trainer.current_epoch < 30
    best = (tmp_path / "best.ckpt").read_bytes()
    last = tmp_path / "last.ckpt"
    resumed, again = fit(cohort, quiet_trainer, tmp_path, ckpt=last, **settings)
    assert again.global_step == trainer.global_step
    assert equal(resumed.state_dict(), stopped.state_dict())
    assert (tmp_path / "best.ckpt").read_bytes() == best


def test_metrics_are_a_row_per_epoch_and_outlive_a_fit_given_again(cohort, quiet_trainer, tmp_path):
    fit(cohort, quiet_trainer, tmp_path, epochs=3)
    path = tmp_path / "metrics.csv"
    written = path.read_bytes()
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[:3] == ["epoch", "step", "train_loss"]
    assert [(row["epoch"], row["step"]) for row in rows] == [("0", "4"), ("1", "9"), ("2", "14")]
    assert all(float(row["val_loss"]) > 0 for row in rows)
    path.unlink()
    fit(cohort, quiet_trainer, tmp_path, epochs=3, ckpt=tmp_path / "last.ckpt")
    assert path.read_bytes() == written


def test_an_epoch_without_validation_has_no_values_of_another(cohort, quiet_trainer, tmp_path):
    loader, tasks = cohort
    curve = LearningCurve(tmp_path, "val_loss")
    trainer = quiet_trainer(callbacks=[curve], max_epochs=3, check_val_every_n_epoch=2)
    module = SlideClassifier(tasks["binary"], 6, "mean")
    trainer.fit(module, loader(tasks["binary"]), loader(tasks["binary"]))
    assert ["val_loss" in values for values in curve.epochs] == [False, True, False]
    assert (tmp_path / "metrics.csv").read_text().splitlines()[3].endswith(",,,,,,,")


def test_best_checkpoint_is_the_best_epoch(cohort, quiet_trainer, tmp_path):
    _, trainer = fit(cohort, quiet_trainer, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "best.ckpt",
        "last.ckpt",
        "learning_curve.png",
        "metrics.csv",
    ]
    curve = next(c for c in trainer.callbacks if type(c).__name__ == "LearningCurve")
    losses = [epoch["val_loss"] for epoch in curve.epochs]
    assert len(losses) == 4
    assert {"epoch", "train_loss", "val_loss", "val_auroc"} <= set(curve.epochs[0])
    best = torch.load(tmp_path / "best.ckpt", weights_only=True)
    assert best["epoch"] == losses.index(min(losses))
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["epoch"] == 3
    assert float(trainer.checkpoint_callback.best_model_score) == min(losses)
    assert curve._kept_epoch(trainer) == best["epoch"], "marked in the picture"


def test_monitored_values_that_are_no_numbers_end_the_fit(cohort, quiet_trainer, tmp_path):
    loader, tasks = cohort
    task = tasks["multiclass"]
    module = SlideClassifier(task, 6, "mean")
    validation = loader(task, n=24)
    validation.dataset.target[:] = 1
    trainer = quiet_trainer(callbacks=[MonitorGuard("val_auroc")])
    with pytest.raises(ConfigError, match=r"val_auroc is nan in epoch 0.*every class"):
        trainer.fit(module, loader(task), validation)
    module = SlideClassifier(task, 6, "mean")
    with torch.no_grad():
        next(module.network.parameters()).fill_(float("nan"))
    trainer = quiet_trainer(callbacks=[MonitorGuard("val_auroc")])
    with pytest.raises(ConfigError, match="lower the learning rate"):
        trainer.fit(module, loader(task), validation)

    trainer = quiet_trainer(max_steps=2, callbacks=[MonitorGuard("val_loss")])
    with pytest.raises(ConfigError, match=r"epoch 0 ended after 2 steps.*no val_loss.*max-steps"):
        trainer.fit(SlideClassifier(task, 6, "mean"), loader(task), loader(task))


def test_early_stopping_by_patience(cohort, quiet_trainer, tmp_path):
    _, tasks = cohort
    found = default_callbacks(tasks["cox"], tmp_path, seed=0, monitor="val_loss", patience=7)
    stopping = next(c for c in found if isinstance(c, EarlyStopping))
    assert (stopping.monitor, stopping.mode, stopping.patience) == ("val_loss", "min", 7)
    found = default_callbacks(tasks["cox"], tmp_path, seed=0, patience=None)
    assert not any(isinstance(c, EarlyStopping) for c in found)


def test_an_epoch_too_early_to_have_learnt_is_neither_kept_nor_counted(tmp_path, monkeypatch):
    looked = []
    for kind in (ModelCheckpoint, EarlyStopping):
        monkeypatch.setattr(
            kind, "on_validation_end", lambda self, *_: looked.append(type(self).__name__)
        )
    found = default_callbacks(BinaryTask(("y",), ("a", "b")), tmp_path, seed=0, least_epochs=3)
    for epoch in range(3):
        trainer = SimpleNamespace(current_epoch=epoch)
        for callback in found:
            if isinstance(callback, ModelCheckpoint | EarlyStopping):
                callback.on_validation_end(trainer, None)
        assert looked == ([] if epoch < 2 else ["BestCheckpoint", "ResumableEarlyStopping"])


def test_monitor_of_every_task(task):
    name = task.monitor
    assert name == ("val_c_index" if task.kind == "cox" else "val_loss")
    assert task.lower_is_better(name) == (task.kind != "cox")
    lower = {"brier", "ece", "mae", "integrated_brier"}
    for metric in task.metric_names():
        assert task.lower_is_better(f"val_{metric}") == (metric in lower)
    for wrong in ("val_speed", "auroc", "loss"):
        with pytest.raises(ConfigError, match=f"monitor '{wrong}'"):
            task.lower_is_better(wrong)


def test_progress_is_one_bar_on_a_terminal_and_nothing_elsewhere(
    cohort, quiet_trainer, tmp_path, monkeypatch, capsys
):
    loader, tasks = cohort
    for terminal in (False, True):
        monkeypatch.setattr("sys.stderr.isatty", lambda shown=terminal: shown, raising=False)
        callbacks = default_callbacks(tasks["binary"], tmp_path, seed=0)
        trainer = quiet_trainer(
            callbacks=callbacks, enable_progress_bar=True, enable_checkpointing=True
        )
        module = SlideClassifier(tasks["binary"], 6, "mean")
        trainer.fit(module, loader(tasks["binary"]), loader(tasks["binary"]))
        shown = capsys.readouterr().err
        assert ("train_loss=" in shown and "val_loss=" in shown) == terminal
        assert (shown == "") == (not terminal)

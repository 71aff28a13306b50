"""A run that was moved, copied or killed ends with the same bytes as one left alone."""

import shutil

import pytest
import torch

from slidenet.core.errors import StoreError
from slidenet.pipelines.crossval import crossval
from slidenet.pipelines.train import train
from slidenet.testing import write_feature_cohort
from slidenet.training.bundles.kept_epochs import BestCheckpoint, LastCheckpoint, check_best

pytestmark = pytest.mark.slow

SETTINGS = {
    "network": "mean",
    "max_epochs": 6,
    "accelerator": "cpu",
    "batch_size": 8,
    "learning_rate": 0.3,
    "patience": None,
    "schedule": "constant",
    "warmup_epochs": 0,
    "feature_scaling": "none",
}
RESULTS = ("model.slidenet", "predictions_val.csv", "predictions_test.csv", "metrics.json")


class Killed(BaseException):
    """As a signal, which nobody catches."""


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    made = write_feature_cohort(
        tmp_path_factory.mktemp("cohort"), num_patients=30, num_tiles=4, feature_dim=8
    )
    return {"labels": str(made.labels), "features": made.features}


@pytest.fixture(scope="module")
def whole(cohort, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    train(folder, **cohort, **SETTINGS)
    best = torch.load(folder / "best.ckpt", weights_only=True)["epoch"]
    assert best == 3, "the best epoch comes before the kill, or nothing is tested"
    return folder


def kill_in_epoch(monkeypatch, epoch, callback=LastCheckpoint, hook="on_train_epoch_end"):
    """The process dies in this epoch, before the hook of the callback."""
    plain = getattr(callback, hook)

    def dying(self, trainer, module):
        if trainer.current_epoch == epoch and not trainer.sanity_checking:
            raise Killed
        plain(self, trainer, module)

    monkeypatch.setattr(callback, hook, dying)


def half_done(folder, cohort, monkeypatch, epoch=4, **settings):
    with monkeypatch.context() as patch:
        kill_in_epoch(patch, epoch, **settings)
        with pytest.raises(Killed):
            train(folder, **cohort, **SETTINGS)
    assert not (folder / "model.slidenet").exists()
    return folder


def assert_same(folder, whole):
    for name in (*RESULTS, "metrics.csv", "learning_curve.png"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes(), name


def test_moved_and_copied_runs_end_alike(cohort, whole, tmp_path, monkeypatch):
    begun = half_done(tmp_path / "begun", cohort, monkeypatch)
    copy = shutil.copytree(begun, tmp_path / "copy")
    moved = begun.rename(tmp_path / "elsewhere $x")
    features = shutil.copytree(cohort["features"], tmp_path / "other features")
    train(moved, **cohort | {"features": features}, **SETTINGS)
    assert_same(moved, whole)
    train(copy, **cohort, **SETTINGS)
    assert_same(copy, whole)


@pytest.mark.parametrize(
    ("epoch", "callback", "hook"),
    [
        (3, LastCheckpoint, "on_train_epoch_end"),  # between the two files
        (4, BestCheckpoint, "on_validation_end"),  # before both
    ],
)
def test_runs_killed_around_their_checkpoints_end_alike(
    cohort, whole, tmp_path, monkeypatch, epoch, callback, hook
):
    begun = half_done(tmp_path / "a", cohort, monkeypatch, epoch, callback=callback, hook=hook)
    train(begun, **cohort, **SETTINGS)
    assert_same(begun, whole)


def test_a_copy_made_during_a_fit_begins_anew(cohort, whole, tmp_path, monkeypatch, capsys):
    before = {"callback": BestCheckpoint, "hook": "on_validation_end"}
    early = half_done(tmp_path / "early", cohort, monkeypatch, 3, **before)
    late = half_done(tmp_path / "late", cohort, monkeypatch)
    shutil.copy(early / "best.ckpt", late / "best.ckpt")
    train(late, **cohort, **SETTINGS)
    assert "best.ckpt is older than the last.ckpt beside it" in capsys.readouterr().err
    assert_same(late, whole)
    (late / "best.ckpt").unlink()
    assert check_best(late).endswith("best.ckpt is missing")


def test_a_run_begun_by_an_older_version_goes_on_elsewhere(cohort, whole, tmp_path, monkeypatch):
    """Its checkpoints hold Lightning's own state, with the paths of then."""
    begun = half_done(tmp_path / "begun", cohort, monkeypatch)
    for name in ("best.ckpt", "last.ckpt"):
        content = torch.load(begun / name, weights_only=True)
        (key,) = (k for k in content["callbacks"] if k.startswith("ModelCheckpoint"))
        state = content["callbacks"][key]
        then = "/then/and/there/best.ckpt"
        state |= {"dirpath": "/then/and/there", "best_model_path": then}
        state |= {"kth_best_model_path": then}
        state["best_k_models"] = dict.fromkeys([then], state["best_model_score"])
        torch.save(content, begun / name)
    train(begun, **cohort, **SETTINGS)
    assert_same(begun, whole)


def test_a_run_that_is_done_trains_no_more(cohort, whole, tmp_path, monkeypatch):
    done = shutil.copytree(whole, tmp_path / "done")
    times = {name: (done / name).stat().st_mtime_ns for name in ("best.ckpt", "last.ckpt")}
    kill_in_epoch(monkeypatch, 0)  # and in any other, were there one
    train(done, **cohort, **SETTINGS)
    assert_same(done, whole)
    assert {name: (done / name).stat().st_mtime_ns for name in times} == times


@pytest.mark.parametrize("name", ["best.ckpt", "last.ckpt"])
def test_checkpoints_cut_short_or_of_others_are_one_line(cohort, whole, tmp_path, name):
    folder = shutil.copytree(whole, tmp_path / "a")
    content = (folder / name).read_bytes()
    for wrong in (content[: len(content) // 2], b"", b"PK\3\4", b"no checkpoint"):
        (folder / name).write_bytes(wrong)
        with pytest.raises(StoreError, match=rf"{name} cannot be read.*delete it to train anew"):
            check_best(folder)
    torch.save({"state_dict": {}, "epoch": 3}, folder / name)
    with pytest.raises(StoreError, match=rf"{name} lacks optimizer_states"):
        train(folder, **cohort, **SETTINGS)


def test_a_cross_validation_moved_between_folds_ends_alike(cohort, tmp_path, monkeypatch):
    settings = {**SETTINGS, "max_epochs": 3, "num_folds": 2}
    crossval(tmp_path / "whole", **cohort, **settings)
    calls = []

    def dying(self, trainer, module, plain=LastCheckpoint.on_train_epoch_end):
        calls.append(1)
        if len(calls) == 5:  # in the second fold
            raise Killed
        plain(self, trainer, module)

    with monkeypatch.context() as patch:
        patch.setattr(LastCheckpoint, "on_train_epoch_end", dying)
        with pytest.raises(Killed):
            crossval(tmp_path / "begun", **cohort, **settings)
    assert (tmp_path / "begun" / "fold_00" / "fold.json").is_file()
    copy = shutil.copytree(tmp_path / "begun", tmp_path / "copy")
    moved = (tmp_path / "begun").rename(tmp_path / "moved")
    for folder in (copy, moved):
        crossval(folder, **cohort, **settings)
        for name in ("predictions.csv", "fold_00/model.slidenet", "fold_01/model.slidenet"):
            assert (folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name

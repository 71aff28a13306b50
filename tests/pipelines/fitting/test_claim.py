"""Whose run a folder holds: damaged files are one line, and a refused run leaves nothing."""

import json
import os

import pytest

from slidenet.cli.main import main
from slidenet.core.errors import (
    AuditError,
    ClaimedElsewhere,
    ConfigError,
    IdentityMismatchError,
    StoreError,
)
from slidenet.pipelines.crossval import crossval
from slidenet.pipelines.fitting import claim as fitting_claim
from slidenet.pipelines.fitting.claim import alone_in, claim_folder, undone_if_refused
from slidenet.pipelines.fitting.folds import read_fold
from slidenet.pipelines.train import train
from slidenet.stores import claims
from slidenet.stores.claims import claim_file
from slidenet.stores.owners import is_gone
from slidenet.testing import write_feature_cohort
from slidenet.testing.cohorts.edited import edited

IDENTITY = {"seed": 0, "model": {"network": "mean"}}


def test_a_folder_is_claimed_once(tmp_path):
    claim_folder(tmp_path, IDENTITY)
    claim_folder(tmp_path, IDENTITY)
    with pytest.raises(IdentityMismatchError, match="seed: 0 -> 1"):
        claim_folder(tmp_path, {**IDENTITY, "seed": 1})


DAMAGED = {
    "cut": b'{"seed":0,"mod',
    "empty": b"",
    "no text": b"\xff\xfe\x00",
    "list": b"[1]",
    "twice": b'{"seed":0,"seed":0}',
    "deep": b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}",
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_claim_is_one_line(tmp_path, content):
    (tmp_path / "plan.json").write_bytes(content)
    (tmp_path / "fold.json").write_bytes(content)
    for read in (lambda: claim_folder(tmp_path, IDENTITY), lambda: read_fold(tmp_path, "metrics")):
        with pytest.raises(StoreError, match=r"(damaged|no object).*To fix: ") as refused:
            read()
        assert len(str(refused.value)) < 500 + len(str(tmp_path))
    (tmp_path / "fold.json").write_text(json.dumps({"score": 1.0}))
    with pytest.raises(StoreError, match="lacks metrics"):
        read_fold(tmp_path, "metrics")


@pytest.fixture
def elsewhere(monkeypatch):
    """A process on another machine that holds a folder; whether it touches its claim."""
    state, now = {"alive": True}, [0.0]
    monkeypatch.setattr(claims, "monotonic", lambda: now[0])
    monkeypatch.setattr(claims, "_seen", {})

    def pause(seconds):
        now[0] += 30
        if state["alive"]:
            os.utime(state["claim"], ns=(0, int(now[0] * 1e9)))

    def hold(folder):
        folder.mkdir(exist_ok=True)
        state["claim"] = claim_file(folder / "plan.json")
        token = {"token": "00000000-7-0123abcd", "host": "node7", "started": None}
        state["claim"].write_text(json.dumps(token))
        return state

    monkeypatch.setattr(fitting_claim, "sleep", pause)
    return hold


def test_a_folder_where_another_process_trains_is_told_apart_from_one_it_died_in(
    tmp_path, elsewhere
):
    state = elsewhere(tmp_path / "run")
    for patient in (False, True):
        with pytest.raises(ClaimedElsewhere, match="process 7 on node7"):
            alone_in(tmp_path / "run", patient=patient).__enter__()
    state["alive"] = False
    with alone_in(tmp_path / "run"):
        assert not is_gone(json.loads(state["claim"].read_text())["token"])
    assert list((tmp_path / "run").iterdir()) == []


def test_a_folder_that_stays_empty_is_removed(tmp_path):
    with alone_in(tmp_path / "run"):
        pass
    assert not (tmp_path / "run").exists()


def test_train_and_crossval_are_told_to_come_back(tmp_path, elsewhere, capsys):
    cohort = write_feature_cohort(tmp_path, num_patients=12, num_tiles=6, feature_dim=4)
    flags = [f"--data.labels={cohort.labels}", f"--data.features={cohort.features}"]
    flags += ["--model.network=mean", "--trainer.max-epochs=1", "--trainer.accelerator=cpu"]
    elsewhere(tmp_path / "run")
    assert main(["train", f"--out={tmp_path / 'run'}", *flags]) == 75
    assert "is working on" in capsys.readouterr().err
    (tmp_path / "folds").mkdir()
    elsewhere(tmp_path / "folds" / "fold_01")
    flags += [f"--out={tmp_path / 'folds'}", "--folds.num-folds=2"]
    assert main(["crossval", *flags]) == 75
    assert "1 of 2 folds are done; in progress elsewhere: fold 1" in capsys.readouterr().out
    claim_file(tmp_path / "folds" / "fold_01" / "plan.json").unlink()
    assert main(["crossval", *flags]) == 0
    assert (tmp_path / "folds" / "predictions.csv").is_file()


def test_what_was_there_before_a_refused_run_stays(tmp_path):
    out = tmp_path / "out"
    (out / "kept").mkdir(parents=True)
    (out / "notes.txt").write_text("mine")

    def refused():
        with undone_if_refused(out, "plan.json", "fold_*/plan.json"):
            claim_folder(out, IDENTITY)
            claim_folder(out / "fold_00", IDENTITY)
            raise ConfigError("refused")

    with pytest.raises(ConfigError):
        refused()
    assert sorted(p.name for p in out.iterdir()) == ["kept", "notes.txt"]


def test_a_run_with_a_checkpoint_keeps_its_claim(tmp_path):
    def refused():
        with undone_if_refused(tmp_path / "a", "plan.json"):
            claim_folder(tmp_path / "a", IDENTITY)
            (tmp_path / "a" / "last.ckpt").write_bytes(b"")
            raise ConfigError("diverged in the second epoch")

    with pytest.raises(ConfigError):
        refused()
    assert (tmp_path / "a" / "plan.json").is_file()


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Bags that cannot all be used: two are one, and two features never vary."""
    made = write_feature_cohort(
        tmp_path_factory.mktemp("cohort"),
        num_patients=24,
        num_tiles=8,
        feature_dim=8,
        faults=["same_features_two_names"],
    )
    for path in made.features.glob("*.h5"):
        with edited(path) as file:
            file["features"][:, :2] = 0
    return {"labels": made.labels, "features": made.features}


@pytest.mark.slow
@pytest.mark.parametrize("verb", [train, crossval])
@pytest.mark.parametrize(
    ("refused", "error"),
    [
        ({"strict": True}, AuditError),
        ({"feature_components": 8}, ConfigError),  # once the training tiles are read
        ({"learning_rate": 1e30, "network": "abmil"}, ConfigError),  # in the first epoch
    ],
)
def test_runs_refused_late_leave_nothing(cohort, tmp_path, verb, refused, error):
    call = {"network": "mean", "accelerator": "cpu", "batch_size": 8, "max_epochs": 1}
    out = tmp_path / "out"
    with pytest.raises(error):
        verb(out, **cohort, **call | refused)
    assert not out.exists()


def test_what_a_fold_says_of_itself_is_checked(tmp_path):
    for name, value in (
        ("metrics", {"auroc": []}), ("metrics", [1]), ("metrics", {"auroc": True}), ("score", "x")
    ):  # fmt: skip
        (tmp_path / "fold.json").write_text(json.dumps({name: value}))
        with pytest.raises(StoreError, match="no numbers"):
            read_fold(tmp_path, name)
    (tmp_path / "fold.json").write_text('{"metrics": {"auroc": NaN}}')  # one class only
    assert list(read_fold(tmp_path, "metrics")["metrics"]) == ["auroc"]


def test_a_plan_holds_no_nan_and_a_difference_is_a_line(tmp_path):
    (tmp_path / "plan.json").write_text('{"a": NaN}')
    with pytest.raises(StoreError, match="NaN is no number"):
        claim_folder(tmp_path, {"a": 1})
    (tmp_path / "plan.json").write_text(json.dumps({"folds": ["slide"] * 10**4}))
    with pytest.raises(IdentityMismatchError) as refused:
        claim_folder(tmp_path, {"folds": ["other"] * 10**4})
    assert len(str(refused.value)) < 800

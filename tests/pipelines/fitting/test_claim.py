"""Whose run a folder holds: damaged files are one line, and a refused run leaves nothing."""

import json

import pytest

from slidenet.core.errors import AuditError, ConfigError, IdentityMismatchError, StoreError
from slidenet.pipelines.crossval import crossval
from slidenet.pipelines.fitting.claim import claim_folder, undone_if_refused
from slidenet.pipelines.fitting.folds import read_fold
from slidenet.pipelines.train import train
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

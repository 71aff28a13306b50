"""Settings that cannot end with a model: one line, before the audit, and the folder stays free."""

import pytest

from slidenet.cli.main import main
from slidenet.testing import write_feature_cohort


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return write_feature_cohort(
        tmp_path_factory.mktemp("cohort"), num_patients=30, num_tiles=4, feature_dim=8
    )


def arguments(cohort, out, *more):
    return [
        f"--data.labels={cohort.labels}",
        f"--data.features={cohort.features}",
        "--data.batch-size=4",
        "--model.network=mean",
        "--trainer.max-epochs=1",
        "--trainer.accelerator=cpu",
        f"--out={out}",
        *more,
    ]


def refusal(verb, cohort, out, capsys, *more):
    """The one line that a refused command leaves on stderr."""
    assert main([verb, *arguments(cohort, out, *more)]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith(f"slidenet {verb}: error: ")
    assert "\n" not in error  # nothing of the audit either
    return error


@pytest.mark.parametrize("verb", ["train", "crossval"])
@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--model.network=meann"], "did you mean mean"),
        (["--model.learning-rate=-1"], "learning_rate"),
        (["--trainer.precision=64-true"], "bf16-mixed"),
    ],
)
def test_a_refused_setting_does_not_claim_the_folder(cohort, tmp_path, capsys, verb, more, words):
    out = tmp_path / "out"
    assert words in refusal(verb, cohort, out, capsys, *more)
    assert not out.exists()
    folds = ["--folds.num-folds=2", "--folds.only-folds=[0]"] if verb == "crossval" else []
    if "network" in more[0]:
        assert main([verb, *arguments(cohort, out, *folds)]) == 0


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--trainer.max-epochs=0", "--trainer.max-epochs leaves nothing to train"),
        ("--patience=0", "patience is 0; expected at least 1"),
        ("--trainer.limit-train-batches=0", "--trainer.limit-train-batches leaves nothing"),
        ("--trainer.limit-train-batches=0.01", "--trainer.limit-train-batches leaves nothing"),
        ("--trainer.limit-val-batches=0", "--trainer.limit-val-batches leaves no bag"),
        ("--trainer.fast-dev-run=true", "--trainer.max-epochs 1 --trainer.limit-train-batches 2"),
        ("--trainer.check-val-every-n-epoch=5", "5 with 1 epochs never validates"),
        ("--trainer.max-steps=5", "--trainer.max-steps 5 ends before the first epoch of 6 steps"),
    ],
)
def test_a_fit_that_would_keep_no_epoch_is_refused(cohort, tmp_path, capsys, flag, words):
    out = tmp_path / "out"
    assert words in refusal("train", cohort, out, capsys, flag)
    assert not out.exists()


def test_five_steps_will_do_without_validation(cohort, tmp_path):
    assert (
        main(["train", *arguments(cohort, tmp_path, "--trainer.max-steps=5", "--keep=last")]) == 0
    )
    assert "0,4," in (tmp_path / "metrics.csv").read_text()


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--trainer.devices=0", "is not a valid input using cpu"),
        ("--trainer.strategy=foo", "invalid strategy name"),
        ("--trainer.profiler=foo", "simple"),
        ("--trainer.barebones=true", "barebones"),
        ("--data.num-workers=-1", "num_workers is -1; expected at least 0"),
    ],
)
def test_what_lightning_refuses_is_one_line(cohort, tmp_path, capsys, flag, words):
    out = tmp_path / "out"
    assert words in refusal("train", cohort, out, capsys, flag)
    assert not out.exists()


def test_no_progress_bar_and_no_validation_are_choices(cohort, tmp_path, recwarn):
    more = ["--trainer.enable-progress-bar=false", "--data.val-fraction=0"]
    assert main(["train", *arguments(cohort, tmp_path, *more)]) == 0
    assert (tmp_path / "model.slidenet").is_file()
    assert not [str(w.message) for w in recwarn if "across ranks is zero" in str(w.message)]


def test_loggers_write_into_the_folder_of_each_model(cohort, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    logger = '[{"class_path": "CSVLogger", "init_args": {"save_dir": "logs", "name": "mine"}}]'
    more = ["--folds.num-folds=2", f"--trainer.logger={logger}"]
    assert main(["crossval", *arguments(cohort, tmp_path / "out", *more)]) == 0
    for fold in ("fold_00", "fold_01"):
        folder = tmp_path / "out" / fold / "logs" / "mine"
        assert [path.name for path in folder.iterdir()] == ["version_0"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]

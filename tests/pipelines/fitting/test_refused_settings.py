"""Settings that cannot end with a model: one line, before the audit, and the folder stays free."""

import json

import pytest
from lightning.pytorch.callbacks import TQDMProgressBar

from slidenet.cli.main import main
from slidenet.cli.training import call_of, training_parser
from slidenet.pipelines.crossval import CrossvalReport
from slidenet.pipelines.fitting.trainer import TrainerFactory
from slidenet.testing import write_feature_cohort
from slidenet.training.callbacks import EpochProgress


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return write_feature_cohort(
        tmp_path_factory.mktemp("cohort"), num_patients=14, num_tiles=4, feature_dim=8
    )


def arguments(cohort, out, *more):
    return [
        f"--data.labels={cohort.labels}",
        f"--data.features={cohort.features}",
        "--data.batch-size=2",
        "--model.network=mean",
        "--trainer.max-epochs=1",
        "--trainer.accelerator=cpu",
        f"--out={out}",
        *more,
    ]


def refusal(verb, cohort, out, capsys, *more):
    """The one line that a refused command leaves on stderr; it writes nothing."""
    assert main([verb, *arguments(cohort, out, *more)]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith(f"slidenet {verb}: error: ")
    assert "\n" not in error  # nothing of the audit either
    assert not out.exists()
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
    folds = ["--folds.num-folds=2", "--folds.only-folds=[0]"] if verb == "crossval" else []
    if "network" in more[0]:
        assert main([verb, *arguments(cohort, out, *folds)]) == 0


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--trainer.max-epochs=0", "--trainer.max-epochs leaves nothing to train"),
        ("--patience=0", "patience is 0; expected a whole number of at least 1, or none"),
        ("--trainer.limit-train-batches=0", "--trainer.limit-train-batches leaves nothing"),
        ("--trainer.limit-train-batches=0.01", "--trainer.limit-train-batches leaves nothing"),
        ("--trainer.limit-val-batches=0", "--trainer.limit-val-batches leaves no bag"),
        ("--trainer.fast-dev-run=true", "--trainer.max-epochs 1 --trainer.limit-train-batches 2"),
        ("--trainer.check-val-every-n-epoch=5", "5 with 1 epochs never validates"),
        ("--trainer.max-steps=5", "--trainer.max-steps 5 ends before the first epoch of 6 steps"),
    ],
)
def test_a_fit_that_would_keep_no_epoch_is_refused(cohort, tmp_path, capsys, flag, words):
    assert words in refusal("train", cohort, tmp_path / "out", capsys, flag)


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
        ("--data.num-workers=-1", "num_workers is -1; expected a whole number of at least 0"),
    ],
)
def test_what_lightning_refuses_is_one_line(cohort, tmp_path, capsys, flag, words):
    assert words in refusal("train", cohort, tmp_path / "out", capsys, flag)


def test_no_progress_bar_and_no_validation_are_choices(cohort, tmp_path, recwarn):
    more = ["--trainer.enable-progress-bar=false", "--data.val-fraction=0"]
    assert main(["train", *arguments(cohort, tmp_path, *more)]) == 0
    assert (tmp_path / "model.slidenet").is_file()
    assert not [str(w.message) for w in recwarn if "across ranks is zero" in str(w.message)]


@pytest.mark.slow
def test_loggers_write_into_the_folder_of_each_model(cohort, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    logger = '[{"class_path": "CSVLogger", "init_args": {"save_dir": "logs", "name": "mine"}}]'
    more = ["--folds.num-folds=2", f"--trainer.logger={logger}"]
    assert main(["crossval", *arguments(cohort, tmp_path / "out", *more)]) == 0
    for fold in ("fold_00", "fold_01"):
        folder = tmp_path / "out" / fold / "logs" / "mine"
        assert [path.name for path in folder.iterdir()] == ["version_0"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("search", "words"),
    [
        ({"learning_rat": [0.1]}, "did you mean learning_rate"),
        ({"data.batch_size": [4, 8]}, "unknown setting of the model to search over"),
        ({"task": [1]}, "unknown setting of the model"),
        ({"network": ["mean", "foo"]}, "unknown bag model 'foo'"),
        ({"network_settings.hiden_dim": [8, 16]}, "unknown setting hiden_dim"),
        (
            {"learning_rate": [0.1, "fast"]},
            "learning_rate is 'fast'; expected a finite",
        ),
        ({"learning_rate": []}, "search.learning_rate is []; expected a list of values"),
    ],
)
def test_a_search_is_refused_before_its_first_fit(cohort, tmp_path, capsys, search, words):
    flag = f"--folds.search={json.dumps(search)}"
    assert words in refusal("crossval", cohort, tmp_path / "out", capsys, flag)


def test_a_search_needs_the_best_epoch(cohort, tmp_path, capsys):
    more = ['--folds.search={"learning_rate": [0.1, 0.01]}', "--keep=last"]
    assert "give --keep best" in refusal("crossval", cohort, tmp_path / "out", capsys, *more)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--data.splits=splits.csv", "--data.fold=1"], "give --folds.only-folds"),
        (["--data.fold=1"], "--data.fold given for a cross-validation"),
        (["--data.val-fraction=0.1"], "give --folds.num-folds and --folds.inner-val-fraction"),
        (["--data.test-fraction=0.3"], "--data.test-fraction given for a cross-validation"),
    ],
)
def test_crossval_refuses_a_split_it_would_not_use(cohort, tmp_path, capsys, flags, words):
    assert words in refusal("crossval", cohort, tmp_path / "out", capsys, *flags)


def test_crossval_needs_patients_for_its_own_folds_only(cohort, tmp_path):
    """Two patients of a class are enough for two folds, and too few for train, val and test."""
    header, *rows = cohort.labels.read_text().splitlines()
    patient, label = (header.split(",").index(name) for name in ("patient_id", "label"))
    cells = [row.split(",") for row in rows]
    positive = list(dict.fromkeys(c[patient] for c in cells if c[label] == cells[0][label]))[:2]
    kept = [c for c in cells if c[label] != cells[0][label] or c[patient] in positive]
    table = tmp_path / "rare.csv"
    table.write_text("\n".join([header, *(",".join(c) for c in kept)]) + "\n")
    more = [f"--data.labels={table}", "--folds.num-folds=2", "--folds.inner-val-fraction=0"]
    assert main(["crossval", *arguments(cohort, tmp_path / "out", *more)]) == 0
    lines = (tmp_path / "out" / "predictions.csv").read_text().splitlines()
    assert len(lines) == 1 + len(kept)


def test_the_deviation_over_folds_is_that_of_a_sample():
    folds = {0: {"auroc": 0.7}, 1: {"auroc": 0.9}}
    assert "0.800 (0.141)" in CrossvalReport("done", folds, []).table()
    head, line, *_ = CrossvalReport("done", {0: folds[0]}, []).table().splitlines()
    assert head.endswith("  mean")
    assert line.endswith("0.700  0.700")


@pytest.mark.parametrize(
    ("more", "bar"),
    [
        ([], EpochProgress),
        (["--trainer.enable-progress-bar=true"], EpochProgress),
        (["--trainer.enable-progress-bar=false"], type(None)),
        (["--trainer.callbacks=[TQDMProgressBar]"], TQDMProgressBar),
    ],
)
def test_one_progress_bar_at_most(cohort, tmp_path, more, bar):
    parser = training_parser("slidenet train fit", "Test.")
    config = parser.parse_args(arguments(cohort, tmp_path, *more))
    factory = TrainerFactory(call_of(config)["trainer"])
    trainer = factory.make(tmp_path, [EpochProgress("val_loss")])
    assert type(trainer.progress_bar_callback) is bar

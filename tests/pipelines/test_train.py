"""train, crossval and the bundle they leave: same numbers again, resumed after a kill, refusals."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from slidenet.cli.main import main
from slidenet.testing import write_feature_cohort
from slidenet.training import load_bundle


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return write_feature_cohort(
        tmp_path_factory.mktemp("cohort"), num_patients=30, num_tiles=12, feature_dim=8
    )


def arguments(cohort, out, *more):
    return [
        f"--data.labels={cohort.labels}",
        f"--data.features={cohort.features}",
        "--data.batch-size=4",
        "--data.cache",
        "--model.network=mean",
        "--model.learning-rate=0.05",
        "--trainer.max-epochs=3",
        "--trainer.accelerator=cpu",
        f"--out={out}",
        *more,
    ]


def test_fit_leaves_a_model_and_predictions_and_the_same_again(cohort, tmp_path, capsys):
    for name in ("one", "two"):
        assert main(["train", *arguments(cohort, tmp_path / name)]) == 0
    said = capsys.readouterr().out
    assert "auroc" in said
    assert "trained mean on bags: 24 train, 8 val, 8 test" in said
    for name in (
        "predictions_val.csv", "predictions_test.csv", "model.slidenet", "plan.json", "metrics.csv"
    ):  # fmt: skip
        first, second = (tmp_path / run / name for run in ("one", "two"))
        assert first.read_bytes() == second.read_bytes(), name
    assert 0 < load_bundle(tmp_path / "one" / "model.slidenet").calibration.threshold < 1
    assert (tmp_path / "one" / "learning_curve.png").is_file()
    assert len((tmp_path / "one" / "metrics.csv").read_text().splitlines()) == 1 + 3


@pytest.mark.slow
def test_steps_on_a_trained_model(cohort, tmp_path, capsys):
    assert main(["train", "fit", *arguments(cohort, tmp_path)]) == 0
    before = (tmp_path / "predictions_test.csv").read_bytes()
    assert main(["train", "test", *arguments(cohort, tmp_path)]) == 0
    assert (tmp_path / "predictions_test.csv").read_bytes() == before
    assert main(["train", "predict", *arguments(cohort, tmp_path)]) == 0
    assert len((tmp_path / "predictions_all.csv").read_text().splitlines()) == 1 + 40
    capsys.readouterr()
    other_task = arguments(cohort, tmp_path, "--data.label-columns=[age]", "--data.task=regression")
    assert main(["train", "test", *other_task]) == 2
    assert "was trained for a binary task (column label;" in capsys.readouterr().err
    assert main(["train", "fit", *arguments(cohort, tmp_path, "--seed=1")]) == 2
    assert "seed: 0 -> 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--model.network=abmill"], "did you mean abmil"),
        (
            ["--data.label-columns=[lable]"],
            "did you mean label? name the column with --data.label-columns",
        ),
        (
            ["--data.task=cox", "--data.label-columns=[age,label]", "--data.batch-size=1"],
            "Cox model with batch_size 1",
        ),
        (["--monitor=val_accuracy"], "val_auroc"),
        (["--trainer.max-epochs=many"], "--trainer.max-epochs"),
    ],
)
def test_refusals_come_before_training(cohort, tmp_path, capsys, more, words):
    with pytest.raises(SystemExit) if "many" in more[0] else _nothing():
        assert main(["train", *arguments(cohort, tmp_path, *more)]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert "Traceback" not in error
    assert not list(tmp_path.glob("*.ckpt"))


@pytest.mark.slow
def test_crossval_killed_between_and_in_folds_ends_with_the_same_file(cohort, tmp_path):
    more = ("--folds.num-folds=3", "--trainer.max-epochs=4")
    assert main(["crossval", *arguments(cohort, tmp_path / "whole", *more)]) == 0
    wanted = (tmp_path / "whole" / "predictions.csv").read_bytes()
    killed = tmp_path / "killed"
    command = [sys.executable, "-m", "slidenet.cli.main", "crossval"]
    # SIGKILL right after the first checkpoint of fold 1: fold 0 is done, fold 1 half done.
    process = subprocess.Popen(
        [*command, *arguments(cohort, killed, *more)], stderr=subprocess.DEVNULL
    )
    _kill_when(process, killed / "fold_01" / "last.ckpt")
    assert (killed / "fold_00" / "fold.json").is_file()
    assert not (killed / "predictions.csv").is_file()
    assert main(["crossval", *arguments(cohort, killed, *more)]) == 0
    assert (killed / "predictions.csv").read_bytes() == wanted
    metrics = Path("fold_01") / "metrics.csv"
    assert (killed / metrics).read_bytes() == (tmp_path / "whole" / metrics).read_bytes()


@pytest.mark.slow
def test_crossval_predicts_every_bag_once_and_chooses_inside_folds(cohort, tmp_path, capsys):
    more = ["--folds.num-folds=2", "--folds.num-inner-folds=2", "--trainer.max-epochs=2"]
    more += ['--folds.search={"learning_rate": [0.05, 0.0001]}']
    assert main(["crossval", *arguments(cohort, tmp_path, *more)]) == 0
    lines = (tmp_path / "predictions.csv").read_text().splitlines()
    ids = [line.split(",")[0] for line in lines[1:]]
    assert len(ids) == len(set(ids)) == 40
    assert "40 bags of 30 patients" in capsys.readouterr().out
    fold = (tmp_path / "fold_00" / "fold.json").read_text()
    assert '"learning_rate": 0.05' in fold


@pytest.mark.slow
def test_crossval_of_a_cox_model_joins_its_folds(cohort, tmp_path):
    task = ["--data.task=cox", "--data.label-columns=[age,label]", "--monitor=val_loss"]
    task.append("--folds.num-folds=2")
    assert main(["crossval", *arguments(cohort, tmp_path, *task)]) == 0
    header, *lines = (tmp_path / "predictions.csv").read_text().splitlines()
    assert re.fullmatch(r"bag_id,patient_id,fold,age,label,risk(,survival_[\d.]+){3}", header)
    assert len(lines) == 40
    report = tmp_path / "report"
    assert main(["evaluate", str(tmp_path / "predictions.csv"), f"--out={report}"]) == 0
    assert "integrated_brier" in (report / "metrics.csv").read_text()


def test_crossval_uses_given_splits(cohort, tmp_path):
    more = [f"--data.splits={cohort.splits}", "--folds.only-folds=[1]"]
    assert main(["crossval", *arguments(cohort, tmp_path, *more)]) == 0
    assert (tmp_path / "fold_01" / "fold.json").is_file()
    assert not (tmp_path / "fold_00").exists()


class _nothing:
    def __enter__(self):
        return None

    def __exit__(self, *_):
        return False


def _kill_when(process: subprocess.Popen, path: Path) -> None:
    while process.poll() is None and not path.exists():
        time.sleep(0.001)
    assert process.poll() is None, "the run ended before it could be killed"
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_one_yaml_serves_train_and_crossval(cohort, tmp_path):
    config = tmp_path / "both.yaml"
    config.write_text(
        f"data: {{labels: {cohort.labels}, features: {cohort.features}, batch_size: 8}}\n"
        "model: {network: mean}\ntrainer: {max_epochs: 1, accelerator: cpu}\n"
        "folds: {num_folds: 2, only_folds: [0]}\n"
    )
    for verb in ("train", "crossval"):
        assert main([verb, f"--config={config}", f"--out={tmp_path / verb}"]) == 0
    assert (tmp_path / "train" / "model.slidenet").is_file()
    assert (tmp_path / "crossval" / "fold_00" / "model.slidenet").is_file()

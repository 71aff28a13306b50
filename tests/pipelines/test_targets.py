"""Several targets in one model, from the table to files, ensembles and new slides."""

import json

import numpy as np
import pytest

import slidenet
from slidenet.cli.main import main
from slidenet.evaluation import read_predictions
from slidenet.testing.cohorts.target_cohort import FIRST, SECOND, write_target_cohort
from slidenet.training import load_bundle

TARGETS = {FIRST: {"task": "binary", "positive": "mutated"}, SECOND: "binary"}
FAST = {
    "network": "mean", "accelerator": "cpu", "cache": True, "max_epochs": 2, "learning_rate": 0.01,
    "batch_size": 8,
}  # fmt: skip


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return write_target_cohort(
        tmp_path_factory.mktemp("targets"), num_patients=48, num_labelled=12, num_tiles=9,
        feature_dim=8, signal=4.0,
    )  # fmt: skip


def settings(cohort, **more):
    return {
        "labels": cohort.labels, "features": cohort.features, "targets": TARGETS, **FAST, **more,
    }  # fmt: skip


@pytest.mark.slow
def test_train_writes_a_file_of_each_target_and_says_what_the_others_add(cohort, tmp_path, capsys):
    report = slidenet.train(tmp_path, **settings(cohort, splits=cohort.splits, calibrate=True))
    metrics = report.metrics["test"]
    assert f"labels of 48 slides: {FIRST} of 36, {SECOND} of 48" in capsys.readouterr().err
    titles = [section.title for section in report.sections]
    for target in TARGETS:
        found = read_predictions(tmp_path / f"predictions_test_{target}.csv")
        assert found.compute_metrics()["auroc"] == pytest.approx(metrics[f"{target}_auroc"])
        assert f"What the other targets add to {target}" in titles
        assert f"Beside the network: probes of {target}" in titles
    assert len(read_predictions(tmp_path / f"predictions_val_{FIRST}.csv")) < len(
        read_predictions(tmp_path / f"predictions_val_{SECOND}.csv")
    )
    bundle = load_bundle(tmp_path / "model.slidenet")
    assert set(bundle.calibration.targets) == set(TARGETS)
    cuts = {name: one.threshold for name, one in bundle.calibration.targets.items()}
    out = tmp_path / "new"
    slidenet.predict(tmp_path / "model.slidenet", cohort.labels, out, features=cohort.features)
    for target, cut in cuts.items():
        without: list[str] = []
        found = read_predictions(out / f"predictions_{target}.csv", left_out=without)
        assert len(found) + len(without) == 48, "labels are carried; not every bag has one"
        note = json.loads((out / f"predictions_{target}.json").read_text())
        assert note["origin"]["threshold"] == pytest.approx(cut)
    before = (tmp_path / f"predictions_test_{FIRST}.csv").read_bytes()
    slidenet.train(tmp_path, step="test", **settings(cohort, splits=cohort.splits))
    assert (tmp_path / f"predictions_test_{FIRST}.csv").read_bytes() == before


@pytest.mark.slow
def test_crossval_searches_and_makes_an_ensemble(cohort, tmp_path, capsys):
    chosen = settings(
        cohort, num_folds=2, search={"learning_rate": [0.01, 0.02]}, num_inner_folds=2,
        monitor=f"val_{FIRST}_auroc", probes=False, max_epochs=1,
    )  # fmt: skip
    report = slidenet.crossval(tmp_path, **chosen)
    assert {f"{FIRST}_auroc", f"{SECOND}_auroc"} <= set(report.folds[0])
    found = {target: read_predictions(tmp_path / f"predictions_{target}.csv") for target in TARGETS}
    assert len(found[FIRST]) == 24 + 12
    assert len(found[SECOND]) == 48
    assert any("add to" in section.title for section in report.sections)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.csv")}
    slidenet.crossval(tmp_path, **chosen)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.csv")} == before
    arguments = [
        "predict", f"--bundle={tmp_path / 'ensemble.slidenet'}", f"--slides={cohort.labels}",
        f"--features={cohort.features}", f"--out={tmp_path / 'new'}",
    ]  # fmt: skip
    assert main(arguments) == 0
    assert f"{FIRST}: " in capsys.readouterr().out
    mean = np.mean(
        [
            read_predictions(folder / f"predictions_{SECOND}.csv", left_out=[]).probabilities
            for folder in (_predicted(tmp_path, cohort, number) for number in range(2))
        ],
        axis=0,
    )
    together = read_predictions(tmp_path / "new" / f"predictions_{SECOND}.csv", left_out=[])
    np.testing.assert_allclose(together.probabilities, mean, atol=1e-6)


def _predicted(out, cohort, fold):
    """Predictions of every slide by the model of one fold."""
    bundle, folder = out / f"fold_{fold:02d}" / "model.slidenet", out / f"by_{fold}"
    slidenet.predict(bundle, cohort.labels, folder, features=cohort.features)
    return folder

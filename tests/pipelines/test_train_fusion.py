"""Models of covariates and of several feature sets, from the table to predictions of new slides."""

import csv
import json
import shutil

import numpy as np
import pytest

from slidenet import crossval, predict, train
from slidenet.cli.main import main
from slidenet.core.errors import SlidenetError
from slidenet.data.datamodule import read_bags
from slidenet.testing import write_fusion_cohort
from slidenet.training import load_bundle

pytestmark = pytest.mark.slow

QUICK = {
    "network": "mean", "learning_rate": 1e-2, "max_epochs": 3, "batch_size": 8,
    "accelerator": "cpu", "covariates": ["age", "sex", "stage"],
}  # fmt: skip


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    place = tmp_path_factory.mktemp("cohort")
    return write_fusion_cohort(
        place, num_patients=80, num_tiles=(6, 8), feature_dims=(6, 4), weights=(1, 1, 1.4)
    )


def settings(cohort, **more):
    return {
        **QUICK, "labels": cohort.labels, "features": cohort.features,
        "more_features": [cohort.more_features], **more,
    }  # fmt: skip


def change(table, path, edit):
    """A copy of a table, each row edited in place."""
    rows = list(csv.DictReader(table.open()))
    for row in rows:
        edit(row)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture(scope="module")
def trained(cohort, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "a"
    report = train(out, **settings(cohort, ablation=False, probes=False))
    assert "What each input adds" not in report.table()
    return out, report


def test_each_input_helps_out_of_fold(cohort, tmp_path):
    folds = {"num_folds": 2, "inner_val_fraction": 0, "probes": False, "max_epochs": 15}
    report = crossval(tmp_path / "cv", **settings(cohort, **folds))
    (section,) = [s for s in report.sections if s.title == "What each input adds"]
    names = [row[0] for row in section.rows]
    assert names == [
        "the whole model", "image alone", "features 1 alone", "features 2 alone",
        "covariates alone",
    ]  # fmt: skip
    assert all(float(row[3]) > 0 for row in section.rows[1:]), section.rows  # low ends
    assert "What each input adds" in (tmp_path / "cv" / "results.md").read_text()


def test_planted_values_of_val_and_test_do_not_move_the_model(cohort, trained, tmp_path):
    """Leakage of statistics: what is standardised, imputed and listed comes from train alone."""
    out, _ = trained
    tested = {row["bag_id"] for row in csv.DictReader((out / "predictions_test.csv").open())}
    assert tested

    def plant(row):
        if row["slide_id"] in tested:
            row |= {"age": "" if row["age"] else "10000", "stage": "V", "sex": "X"}

    planted = change(cohort.labels, tmp_path / "planted.csv", plant)
    train(tmp_path / "b", **settings(cohort, labels=planted, ablation=False, probes=False))
    first, second = (load_bundle(place / "model.slidenet") for place in (out, tmp_path / "b"))
    assert first.module.hparams == second.module.hparams
    for name, value in first.module.state_dict().items():
        assert value.equal(second.module.state_dict()[name]), name

    def change_train(row):
        row |= {} if row["slide_id"] in tested else {"age": "10000"}

    moved = change(cohort.labels, tmp_path / "moved.csv", change_train)
    # The test would see statistics that move: those of train do.
    known = {"features": cohort.features, "covariates": QUICK["covariates"]}
    assert (
        read_bags(labels=cohort.labels, **known).covariate_columns()
        == first.module.covariate_columns
    )
    assert read_bags(labels=moved, **known).covariate_columns() != first.module.covariate_columns


def test_new_slides_bring_their_covariates_in_the_table(cohort, trained, tmp_path):
    bundle = trained[0] / "model.slidenet"
    sets = {"features": cohort.features, "more_features": [cohort.more_features]}
    known = predict(bundle, cohort.labels, tmp_path / "p", device="cpu", **sets)
    wanted = {}
    for split in ("val", "test"):
        rows = csv.DictReader((trained[0] / f"predictions_{split}.csv").open())
        wanted |= {row["bag_id"]: float(row["prob_yes"]) for row in rows}
    found = dict(zip(known.predictions.bag_ids, known.predictions.probabilities[:, 1], strict=True))
    for bag, probability in wanted.items():
        assert found[bag] == pytest.approx(probability, abs=1e-5)

    odd = change(cohort.labels, tmp_path / "odd.csv", lambda row: row.update(age="", sex="X"))
    report = predict(bundle, odd, tmp_path / "q", device="cpu", **sets)
    assert "covariate 'age': not known of 80 slides, imputed" in report.notes
    assert any("'X' was not seen in training" in note for note in report.notes)

    no_stage = tmp_path / "no_stage.csv"
    no_stage.write_text("slide_id,age,sex\nslide_000,60,F\n")
    with pytest.raises(SlidenetError, match="no column 'stage'"):
        predict(bundle, no_stage, tmp_path / "r", device="cpu", **sets)
    with pytest.raises(SlidenetError, match="2 feature sets"):
        predict(bundle, cohort.labels, tmp_path / "r", features=cohort.features)
    swapped = {"features": cohort.more_features, "more_features": [cohort.features]}
    report = predict(bundle, cohort.labels, tmp_path / "r", device="cpu", **swapped)
    assert report.predictions is None
    assert report.exit_code == 1


def test_a_model_is_not_tested_without_its_inputs(cohort, trained, capsys):
    call = [
        "train", "test", f"--out={trained[0]}", f"--data.labels={cohort.labels}",
        f"--data.features={cohort.features}",
    ]  # fmt: skip
    assert main(call) == 2
    assert "give --data.covariates age sex stage" in capsys.readouterr().err
    assert main([*call, "--data.covariates", "age", "sex", "stage"]) == 2
    assert "2 feature sets" in capsys.readouterr().err
    whole = [*call, "--data.covariates", "age", "sex", "stage", "--data.more-features"]
    assert main([*whole, str(cohort.more_features)]) == 0


def test_slides_of_one_set_only_are_left_out_by_name(cohort, tmp_path):
    fewer = tmp_path / "fewer"
    shutil.copytree(cohort.more_features, fewer)
    (fewer / "slide_007.h5").unlink()
    paths = {"labels": cohort.labels, "features": cohort.features, "more_features": [fewer]}
    with pytest.raises(SlidenetError, match="slide_007"):
        read_bags(**paths)
    found = read_bags(**paths, allow_missing=True).cohort
    assert [(one.slide_id, one.reason) for one in found.left_out] == [
        ("slide_007", f"no features file in {fewer}")
    ]
    assert "slide_007" not in found.files


def test_a_survival_task_takes_them_and_train_says_what_each_adds(cohort, tmp_path):
    survival = {"task": "cox", "label_columns": ["time", "event"], "network": "abmil"}
    few = {"max_epochs": 1, "batch_size": 16, "probes": False}
    report = train(tmp_path / "run", **settings(cohort, **survival, **few))
    (section,) = [s for s in report.sections if s.title == "What each input adds"]
    assert len(section.rows) == 5
    again = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert np.isfinite(again["test"]["c_index"])

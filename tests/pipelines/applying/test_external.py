"""External validation in one command, and what it says about the cohort."""

import csv
import json

import numpy as np
import pytest
import torch

from slidenet.cli.main import main
from slidenet.core.errors import ConfigError, LabelError, OutputError, PredictionsError
from slidenet.core.records import SlideRow
from slidenet.data.datamodule import read_bags
from slidenet.evaluation import read_predictions
from slidenet.pipelines.applying.doubts import renamed_doubts, seen_doubts
from slidenet.pipelines.applying.external import ExternalSettings, judge_elsewhere
from slidenet.pipelines.cohort.run import LOCAL
from slidenet.pipelines.evaluate import evaluate
from slidenet.pipelines.fitting.seen import patients_of, seen_ids
from slidenet.pipelines.train import train
from slidenet.stores import open_features
from slidenet.tasks import (
    BinaryTask,
    BreslowBaseline,
    Calibration,
    CoxTask,
    MulticlassTask,
    MultilabelTask,
    MultiTask,
    RegressionTask,
)
from slidenet.testing import write_feature_cohort
from slidenet.training import SlideClassifier, load_bundle, save_bundle


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return write_feature_cohort(
        tmp_path_factory.mktemp("cohort"), num_patients=12, num_tiles=4, feature_dim=6
    )


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def bundle_of(cohort, path, task, *, calibration=Calibration(), training=None, **settings):  # noqa: B008
    torch.manual_seed(0)
    module = SlideClassifier(task, 6, "mean", **settings).eval()
    identity = open_features(next(cohort.features.glob("*.h5"))).cohort_identity
    save_bundle(path, module, features_identity=identity, calibration=calibration,
                training=training)  # fmt: skip
    return path


@pytest.fixture(scope="module")
def bundle(cohort, tmp_path_factory):
    """An untrained model that says it was trained on the first fold's train and val."""
    data = read_bags(labels=cohort.labels, features=cohort.features, splits=cohort.splits, fold=0)
    return bundle_of(
        cohort,
        tmp_path_factory.mktemp("model") / "model.slidenet",
        BinaryTask(("label",), ("0", "1")),
        calibration=Calibration(1.5, 0.4),
        training={"bag": "slide", "seen": seen_ids(data)},
    )


def changed(cohort, path, change):
    """The table of labels, each row changed (or left out, where None comes back)."""
    found = [row for row in map(change, rows_of(cohort.labels)) if row is not None]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(found[0]))
        writer.writeheader()
        writer.writerows(found)
    return path


def judged(bundle, labels, features, out, **more):
    settings = ExternalSettings(bundle=bundle, labels=labels, features=features, **more)
    return judge_elsewhere(
        settings, out, label_columns=(), patient_column=None, by_patient=False, runner=LOCAL
    )


@pytest.mark.slow
def test_labels_are_joined_and_what_the_model_brings_is_said(cohort, bundle, tmp_path):
    words = {"0": "negative", "1": "positive"}
    labels = changed(cohort, tmp_path / "t.csv", lambda row: row | {"label": words[row["label"]]})
    found = judged(bundle, labels, cohort.features, tmp_path / "out", site_column="site")
    truth = {row["slide_id"]: row["label"] for row in rows_of(cohort.labels)}
    written = rows_of(found.path)
    assert {row["bag_id"]: row["label"] for row in written} == truth
    for row in written:
        assert row["called"] == str(int(float(row["prob_1"]) >= 0.4))
    text = " ".join((*found.lines, *found.cautions))
    for part in ("negative as 0", "temperature of the model (1.500)", "own cut-off is 0.400",
                 "The model was trained on", "on them it is no test"):  # fmt: skip
        assert part in text
    seen = json.loads(found.path.with_suffix(".json").read_text())["origin"]
    assert (seen["verb"], seen["threshold"]) == ("evaluate", 0.4)
    sites = {row["slide_id"]: row["site"] for row in rows_of(cohort.labels)}
    assert [sites[bag] for bag in found.predictions.bag_ids] == found.sites
    other = bundle_of(cohort, tmp_path / "m.slidenet", BinaryTask(("label",), ("1", "0")))
    with pytest.raises(OutputError, match="made by something else"):
        judged(other, labels, cohort.features, tmp_path / "out")


@pytest.mark.slow
def test_the_command_reports_by_centre_and_says_what_failed(cohort, bundle, tmp_path, capsys):
    def change(row):
        return row | {"slide_id": "gone" if row["slide_id"] == "slide_000" else row["slide_id"]}

    labels = changed(cohort, tmp_path / "t.csv", change)
    flags = [f"--bundle={bundle}", f"--labels={labels}", f"--features={cohort.features}",
             "--site-column=site", "--num-bootstrap=20", f"--out={tmp_path / 'out'}"]  # fmt: skip
    assert main(["evaluate", *flags]) == 1
    text = capsys.readouterr().out
    assert "1 slide could not be predicted and is not judged: gone" in text
    report = (tmp_path / "out" / "report.md").read_text()
    assert "| the model's own | 0.400 |" in report
    assert "## By centre" in report
    sites = rows_of(tmp_path / "out" / "sites.csv")
    assert [row["site"] for row in sites] == ["site_0", "site_1", "site_2"]
    labelled = {row["slide_id"]: row for row in rows_of(labels)}
    here = [r for r in rows_of(tmp_path / "out" / "predictions.csv")
            if labelled[r["bag_id"]]["site"] == "site_1"]  # fmt: skip
    positive = [r for r in here if r["label"] == "1"]
    share = np.mean([r["called"] == "1" for r in positive])
    assert float(sites[1]["sensitivity"]) == pytest.approx(share)
    assert int(sites[1]["bags"]) == len(here)


@pytest.mark.slow
@pytest.mark.parametrize("only", ["0", "1"])
def test_bags_of_one_class_are_judged_by_how_many_are_called_so(cohort, bundle, tmp_path, only):
    labels = changed(cohort, tmp_path / "t.csv", lambda row: row if row["label"] == only else None)
    found = evaluate(
        out=tmp_path / "out", bundle=bundle, labels=labels, features=cohort.features,
        num_bootstrap=20,
    )  # fmt: skip
    rows = rows_of(tmp_path / "out" / "predictions.csv")
    share = np.mean([row["called"] == only for row in rows])
    word = "sensitivity" if only == "1" else "specificity"
    assert f"has a {word} of {share:.3f} (95 % interval" in found.sentence
    assert {"metric": "auroc"} not in rows_of(tmp_path / "out" / "metrics.csv")
    assert {row["metric"] for row in rows_of(tmp_path / "out" / "metrics.csv")} == {"brier", "ece"}
    assert "roc.png" not in found.files


@pytest.mark.slow
def test_fewer_classes_are_judged_by_those_there_are(cohort, tmp_path):
    task = MulticlassTask(("label",), ("0", "1", "2"))
    model = bundle_of(cohort, tmp_path / "m.slidenet", task)
    found = evaluate(
        out=tmp_path / "out", bundle=model, labels=cohort.labels, features=cohort.features,
        num_bootstrap=20,
    )  # fmt: skip
    metrics = {r["metric"]: r for r in rows_of(tmp_path / "out" / "metrics.csv")}
    mean = (float(metrics["auroc_0"]["value"]) + float(metrics["auroc_1"]["value"])) / 2
    assert f"Over 0, 1 alone it is {mean:.3f} (95 % interval" in found.sentence
    assert float(metrics["auroc, mean over 0, 1"]["value"]) == pytest.approx(mean)
    assert "does not say which slides it was trained on" in " ".join(found.cautions)


@pytest.mark.slow
def test_other_units_of_time_and_value_are_doubted(cohort, tmp_path):
    def change(row):
        return row | {"days": float(row["age"]) * 30, "dead": row["label"]}

    labels = changed(cohort, tmp_path / "t.csv", change)
    baseline = BreslowBaseline((40.0, 60.0, 80.0), (0.1, 0.3, 0.6), (60.0,))
    cox = bundle_of(cohort, tmp_path / "cox.slidenet", CoxTask(("days", "dead")),
                    calibration=Calibration(baseline=baseline))  # fmt: skip
    found = judged(cox, labels, cohort.features, tmp_path / "cox")
    assert "are these days and months?" in " ".join(found.cautions)
    same = changed(cohort, tmp_path / "s.csv", lambda row: change(row) | {"days": row["age"]})
    found = judged(cox, same, cohort.features, tmp_path / "same")
    assert "days and months" not in " ".join(found.cautions)
    value = bundle_of(cohort, tmp_path / "v.slidenet", RegressionTask(("days",)),
                      target_offset=60.0, target_scale=15.0)  # fmt: skip
    found = judged(value, labels, cohort.features, tmp_path / "value")
    assert "are they in the same unit?" in " ".join(found.cautions)
    assert len(read_predictions(found.path)) == len(rows_of(labels))


@pytest.mark.slow
def test_several_labels_some_of_which_nobody_took(cohort, tmp_path):
    task = MultilabelTask(("label", "other"))
    model = bundle_of(cohort, tmp_path / "m.slidenet", task)
    found = evaluate(
        out=tmp_path / "out", bundle=model, labels=cohort.labels, features=cohort.features,
        num_bootstrap=20,
    )  # fmt: skip
    assert "Over label alone it is" in found.sentence
    assert "no column 'other': not judged" in " ".join(found.lines)


@pytest.mark.slow
def test_slides_of_the_training_are_known_under_other_names(cohort, bundle, tmp_path):
    features = tmp_path / "features"
    features.mkdir()
    rows = rows_of(cohort.labels)[:4]
    for row in rows:
        source = cohort.features / f"{row['slide_id']}.h5"
        (features / f"new-{row['slide_id']}.h5").symlink_to(source)
    data = read_bags(labels=cohort.labels, features=cohort.features, splits=cohort.splits, fold=0)
    model = load_bundle(bundle)
    slides = [SlideRow(f"new-{row['slide_id']}", "", patient_id="x") for row in rows]
    files = {slide.slide_id: features / f"{slide.slide_id}.h5" for slide in slides}
    assert seen_doubts(model, slides) == []
    (doubt,) = renamed_doubts(model, slides, files)
    trained = {*data.split.train, *data.split.val}
    count = sum(row["slide_id"] in trained for row in rows)
    assert f"trained on {count} file" in doubt
    barcode = [SlideRow("TCGA-AA-0001-01Z-00-DX1", "")]
    assert patients_of(barcode) == ["TCGA-AA-0001"]


@pytest.mark.slow
def test_a_file_of_one_class_is_judged_like_a_cohort_of_one(cohort, bundle, tmp_path):
    path = tmp_path / "p.csv"
    cells = "".join(f"b{i},MSIH,{0.3 + i / 20}\n" for i in range(8))
    path.write_text("slide_id,label,p\n" + cells)
    found = evaluate(path, tmp_path / "out", task="binary", score_column="p",
                     class_names="MSS,MSIH", num_bootstrap=20)  # fmt: skip
    assert "a sensitivity of 0.500" in found.sentence
    with pytest.raises(PredictionsError, match="holds the class 'MSIH' only"):
        evaluate(path, tmp_path / "o", compare=path, task="binary", score_column="p",
                 class_names="MSS,MSIH")  # fmt: skip


@pytest.mark.slow
def test_one_of_several_targets_is_judged(cohort, bundle, tmp_path):
    targets = {"status": BinaryTask(("label",), ("0", "1")), "age": RegressionTask(("age",))}
    model = bundle_of(
        cohort, tmp_path / "m.slidenet", MultiTask((), targets=targets),
        calibration=Calibration(targets={"status": Calibration(threshold=0.3)}),
    )  # fmt: skip
    found = judged(model, cohort.labels, cohort.features, tmp_path / "out", target="status")
    assert found.path.name == "predictions_status.csv"
    assert found.threshold == 0.3
    assert {row["called"] for row in rows_of(found.path)} <= {"0", "1"}
    found = judged(model, cohort.labels, cohort.features, tmp_path / "out", target="age")
    assert found.predictions.task == targets["age"]
    with pytest.raises(ConfigError, match="--target is not given; expected one of status, age"):
        judged(model, cohort.labels, cohort.features, tmp_path / "out")
    with pytest.raises(ConfigError, match="expected a model of several targets"):
        judged(bundle, cohort.labels, cohort.features, tmp_path / "out", target="age")


@pytest.mark.slow
def test_patients_of_several_slides(cohort, bundle, tmp_path):
    out = tmp_path / "out"
    found = evaluate(
        out=out, bundle=bundle, labels=cohort.labels, features=cohort.features, by_patient=True,
        num_bootstrap=20,
    )  # fmt: skip
    patients = {row["patient_id"] for row in rows_of(cohort.labels)}
    assert {row["bag_id"] for row in rows_of(out / "predictions.csv")} == patients
    assert len(found.summary.predictions) == 12


@pytest.mark.slow
def test_labels_are_carried_through_predict(cohort, bundle, tmp_path, capsys):
    def change(row):
        return row | {"label": "" if row["slide_id"] == "slide_001" else row["label"]}

    labels = changed(cohort, tmp_path / "t.csv", change)
    flags = [f"--bundle={bundle}", f"--slides={labels}", f"--features={cohort.features}"]
    assert main(["predict", *flags, f"--out={tmp_path / 'p'}"]) == 0
    assert "The model was trained on" in capsys.readouterr().out
    truth = {row["slide_id"]: row["label"] for row in rows_of(labels)}
    predictions = tmp_path / "p" / "predictions.csv"
    assert {row["bag_id"]: row["label"] for row in rows_of(predictions)} == truth
    assert (
        main(["evaluate", str(predictions), f"--out={tmp_path / 'e'}", "--num-bootstrap=20"]) == 0
    )
    assert "Left out: 1 bag without a label: slide_001." in capsys.readouterr().out


@pytest.mark.slow
def test_ids_that_are_file_names_are_told(cohort, bundle, tmp_path):
    labels = changed(cohort, tmp_path / "t.csv",
                     lambda row: row | {"slide_id": row["slide_id"] + ".svs"})  # fmt: skip
    with pytest.raises(PredictionsError, match=r"is it 'slide_000'\?"):
        judged(bundle, labels, cohort.features, tmp_path / "out")


def test_what_is_missing_is_asked_for_before_anything_is_made(cohort, bundle, tmp_path):
    out = tmp_path / "out"
    for call, words in (
        ({}, "neither predictions nor --bundle"),
        ({"predictions": "p.csv", "bundle": bundle}, "predictions and --bundle"),
        ({"predictions": "p.csv", "features": cohort.features}, "--features with a file of pred"),
        ({"bundle": bundle}, "--bundle without --labels"),
        ({"bundle": bundle, "labels": cohort.labels}, "a column slide_path in --labels, --slides"),
    ):
        with pytest.raises(ConfigError, match=words):
            evaluate(out=out, **call)
    one = changed(cohort, tmp_path / "one.csv",
                  lambda row: row if row["slide_id"] == "slide_000" else None)  # fmt: skip
    with pytest.raises(LabelError, match="1 slide of 1 patient; expected two patients"):
        evaluate(out=out, bundle=bundle, labels=one, features=cohort.features)
    with pytest.raises(ConfigError, match="--out is missing"):
        evaluate("p.csv")
    assert not out.exists()


@pytest.mark.slow
def test_a_model_is_carried_to_another_hospital(tmp_path):
    """Trained at two centres, judged at a third that writes its table in words of its own."""
    cohort = write_feature_cohort(tmp_path / "cohort", num_patients=90, num_tiles=16, feature_dim=8)

    def here(row):
        return None if row["site"] == "site_2" else row

    def elsewhere(row):
        if row["site"] != "site_2":
            return None
        status = {"0": "MSS", "1": "MSI-H"}[row["label"]]
        return {"slide_id": row["slide_id"], "PATIENT": row["patient_id"], "Status": status,
                "Centre": f"clinic {int(row['scanner'][-1])}"}  # fmt: skip

    labels = changed(cohort, tmp_path / "own.csv", here)
    train(
        tmp_path / "run", labels=labels, features=cohort.features, network="mean", cache=True,
        learning_rate=0.05, max_epochs=8, accelerator="cpu", batch_size=8, probes=False,
    )  # fmt: skip
    flags = [f"--bundle={tmp_path / 'run' / 'model.slidenet'}", f"--features={cohort.features}",
             f"--labels={changed(cohort, tmp_path / 'external.csv', elsewhere)}",
             "--label-columns=Status", "--class-map=MSI-H=1,MSS=0", "--site-column=Centre",
             f"--out={tmp_path / 'report'}", "--num-bootstrap=200"]  # fmt: skip
    assert main(["evaluate", *flags]) == 0
    metrics = {row["metric"]: row for row in rows_of(tmp_path / "report" / "metrics.csv")}
    assert float(metrics["auroc"]["low"]) > 0.6
    text = (tmp_path / "report" / "report.md").read_text()
    assert "trained on" not in text  # nobody of these was
    assert "MSI-H as 1" in text
    assert len(rows_of(tmp_path / "report" / "sites.csv")) >= 2

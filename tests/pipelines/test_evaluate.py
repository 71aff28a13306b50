import csv
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from slidenet.cli.main import VERBS
from slidenet.core.errors import PredictionsError
from slidenet.evaluation import (
    Predictions,
    SummarySettings,
    read_predictions,
    write_predictions,
)
from slidenet.pipelines.evaluate import evaluate
from slidenet.tasks import BinaryTask, PredictionArrays

QUICK = SummarySettings(num_bootstrap=60)


def binary(path, signal, *, count=80, bags_per_patient=1, folds=4, first=0):
    """Predictions of the same bags with the same labels, whatever the signal."""
    targets = np.arange(count) % 2
    noise = np.random.default_rng(len(path.stem)).normal(size=count)
    score = 1 / (1 + np.exp(-(signal * (targets - 0.5) + noise)))
    predictions = Predictions(
        BinaryTask(("status",), ("no", "yes")),
        tuple(f"s{i + first}" for i in range(count)),
        tuple(f"p{(i + first) // bags_per_patient}" for i in range(count)),
        targets,
        PredictionArrays(np.stack([1 - score, score], axis=1).astype(np.float32)),
        np.arange(count) // bags_per_patient % folds if folds else None,
    )
    write_predictions(path, predictions)
    return path


def rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_a_binary_file_becomes_a_report_with_tables_and_pictures(tmp_path):
    found = evaluate(binary(tmp_path / "abmil.csv", 3.0), tmp_path / "out", settings=QUICK)
    assert found.exit_code == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(found.files)
    assert set(found.files) == {
        "report.md", "metrics.csv", "conformal.csv", "roc.png", "precision_recall.png",
        "calibration.png", "confusion.png",
    }  # fmt: skip
    text = (tmp_path / "out" / "report.md").read_text()
    assert re.match(
        r"abmil reaches an AUROC of 0\.9\d\d \(95 % interval 0\.\d+ to [01]\.\d+\) "
        r"on 80 bags of 80 patients\.\n",
        text,
    )
    assert found.table().startswith(text.split("\n")[0])
    metrics = {row["metric"]: row for row in rows(tmp_path / "out" / "metrics.csv")}
    assert float(metrics["auroc"]["value"]) == found.summary.headline.value
    assert {"auroc", "average_precision", "brier", "ece", "f1_macro"} <= set(metrics)
    sets = rows(tmp_path / "out" / "conformal.csv")
    assert len(sets) == 40
    assert {row["covered"] for row in sets} <= {"0", "1"}
    for name in found.files:
        if name.endswith(".png"):
            with Image.open(tmp_path / "out" / name) as image:
                assert min(image.size) > 400


def test_comparing_says_which_wins_by_how_much(tmp_path):
    good, bad = binary(tmp_path / "abmil.csv", 4.0), binary(tmp_path / "mean.csv", 0.5)
    found = evaluate(good, tmp_path / "a", compare=bad, settings=QUICK)
    assert re.match(
        r"abmil beats mean by 0\.\d+ AUROC \(95 % interval 0\.\d+ to 0\.\d+, p < 0\.001, "
        r"DeLong's test\) on 80 bags of 80 patients: 0\.9\d+ and 0\.[5-7]\d+\.$",
        found.sentence,
    )
    other_way = evaluate(bad, tmp_path / "b", compare=good, settings=QUICK)
    assert other_way.sentence == found.sentence
    table = {row["metric"]: row for row in rows(tmp_path / "a" / "comparison.csv")}
    row = table["auroc"]
    assert float(row["difference"]) == pytest.approx(float(row["first"]) - float(row["second"]))


@pytest.mark.slow
def test_equal_models_cannot_be_told_apart(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    one, two = binary(tmp_path / "one" / "p.csv", 2.0), binary(tmp_path / "two" / "p.csv", 2.0)
    found = evaluate(one, tmp_path / "out", compare=two, settings=QUICK)
    assert found.sentence.startswith("one and two cannot be told apart on 80 bags")
    assert "difference +0.000" in found.sentence
    assert "p = 1.000" in found.sentence


def test_several_bags_of_a_patient_are_compared_by_bootstrap(tmp_path):
    good = binary(tmp_path / "abmil.csv", 4.0, bags_per_patient=2)
    bad = binary(tmp_path / "mean.csv", 0.5, bags_per_patient=2)
    found = evaluate(good, tmp_path / "out", compare=bad, settings=QUICK)
    assert "paired bootstrap of 40 patients) on 80 bags of 40 patients" in found.sentence


@pytest.mark.slow
def test_slides_are_averaged_to_patients_where_asked(tmp_path):
    good = labelled_by_patient(tmp_path / "abmil.csv", 4.0)
    bad = labelled_by_patient(tmp_path / "mean.csv", 0.5)
    found = evaluate(good, tmp_path / "out", compare=bad, by_patient=True, settings=QUICK)
    assert "DeLong's test) on 40 bags of 40 patients" in found.sentence
    assert "A bag is a patient, not a slide." in (tmp_path / "out" / "report.md").read_text()
    slides = evaluate(good, tmp_path / "slides", settings=QUICK)
    assert len(slides.summary.predictions) == 80
    assert "A bag is a patient" not in (tmp_path / "slides" / "report.md").read_text()


def labelled_by_patient(path, signal):
    """Two slides of each of 40 patients, of one label."""
    found = read_predictions(binary(path, signal, bags_per_patient=2))
    order = np.concatenate([np.arange(0, 80, 2), np.arange(1, 80, 2)])
    sorted_by_label = found.take(order)
    patients = tuple(f"p{i // 2}" for i in range(80))
    write_predictions(path, replace(sorted_by_label, patient_ids=patients, folds=None))
    return path


@pytest.mark.slow
def test_cut_offs_come_from_the_validation_bags_where_given(tmp_path):
    judged = binary(tmp_path / "test.csv", 3.0, folds=0)
    validation = binary(tmp_path / "val.csv", 3.0, folds=0, first=100)
    found = evaluate(judged, tmp_path / "out", validation=validation, settings=QUICK)
    youden = found.summary.operating_points[1]
    assert youden.chosen_on == "80 validation bags"
    assert "80 validation bags" in (tmp_path / "out" / "report.md").read_text()
    with pytest.raises(PredictionsError, match="80 patients are in the validation predictions"):
        evaluate(judged, tmp_path / "out2", validation=judged, settings=QUICK)


def test_the_same_seed_gives_the_same_files(tmp_path):
    path = binary(tmp_path / "p.csv", 1.0)
    for name in ("a", "b"):
        evaluate(path, tmp_path / name, settings=QUICK)
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes(), file.name


SURVIVAL = "bag_id,patient_id,months,dead,risk\n" + "".join(
    f"s{i},p{i},{1 + (i * 7) % 40},{int(i % 3 > 0)},{-((i * 7) % 40) + (i % 5) * 3}\n"
    for i in range(40)
)
VALUES = "slide_id,y,predicted\n" + "".join(f"s{i},{i},{i + i % 3}\n" for i in range(20))
GRADES = "slide_id,grade,prob_0,prob_1,prob_2\n" + "".join(
    f"s{i},{i % 3},{0.6 if i % 3 == 0 else 0.2},{0.6 if i % 3 == 1 else 0.2},"
    f"{0.6 if i % 3 == 2 else 0.2}\n" for i in range(30)
)  # fmt: skip
LABELS = "slide_id,a,b,prob_a,prob_b\n" + "".join(
    f"s{i},{i % 2},{'' if i % 7 == 0 else i % 3 // 2},{0.2 + 0.5 * (i % 2)},{i % 10 / 10}\n"
    for i in range(40)
)


@pytest.mark.parametrize(
    ("text", "task", "sentence", "files"),
    [
        (SURVIVAL, None, "p reaches a c-index of 0.8", {"survival.png"}),
        (VALUES, None, "p reaches an R² of 0.9", {"agreement.png"}),
        (GRADES, "ordinal", "p reaches a quadratic weighted kappa of 1.000", {"confusion.png"}),
        (LABELS, None, "p reaches an AUROC of 0.", {"roc.png", "calibration.png"}),
    ],
)
def test_every_kind_of_task_has_its_report(text, task, sentence, files, tmp_path):
    (tmp_path / "p.csv").write_text(text)
    found = evaluate(tmp_path / "p.csv", tmp_path / "out", task=task, settings=QUICK)
    assert found.sentence.startswith(sentence)
    assert files <= set(found.files)
    report = (tmp_path / "out" / "report.md").read_text()
    for file in found.files:
        assert (tmp_path / "out" / file).exists()
        assert not file.endswith(".png") or f"]({file})" in report


def test_what_cannot_be_computed_is_said(tmp_path):
    (tmp_path / "p.csv").write_text(
        "slide_id,time,event,risk\n" + "".join(f"s{i},{i + 1},1,0\n" for i in range(9))
    )
    found = evaluate(tmp_path / "p.csv", tmp_path / "out", settings=QUICK)
    assert found.summary.survival is None
    report = (tmp_path / "out" / "report.md").read_text()
    assert "No risk groups: every bag has the same predicted risk" in report


def test_a_class_without_bags_leaves_its_metrics_undefined_and_says_so(tmp_path):
    (tmp_path / "p.csv").write_text(
        "bag_id,label,prob_a,prob_b,prob_c\n"
        + "".join(f"s{i},{'ab'[i % 2]},{0.6 - 0.3 * (i % 2)},0.3,{0.1 + 0.3 * (i % 2)}\n"
                  for i in range(20))
    )  # fmt: skip
    found = evaluate(tmp_path / "p.csv", tmp_path / "out", settings=QUICK)
    assert found.sentence == (
        "The AUROC of p is not defined on 20 bags: no bag of class c. Over a, b alone it is 0.750 "
        "(95 % interval 0.750 to 0.750)."
    )
    assert (
        "| AUROC of c | not defined | not defined | not defined |"
        in (tmp_path / "out" / "report.md").read_text()
    )
    metrics = {row["metric"]: row["value"] for row in rows(tmp_path / "out" / "metrics.csv")}
    assert metrics["auroc"] == ""
    assert float(metrics["auroc_a"]) == 1.0


def test_an_interval_without_width_is_not_certainty(tmp_path):
    (tmp_path / "p.csv").write_text(
        "bag_id,label,prob_0,prob_1\na,0,.9,.1\nb,1,.3,.7\nc,0,.8,.2\nd,1,.4,.6\n"
    )
    evaluate(tmp_path / "p.csv", tmp_path / "out", settings=QUICK)
    assert "An interval without width" in (tmp_path / "out" / "report.md").read_text()


@pytest.mark.slow
def test_folds_of_different_scales_are_not_quoted_pooled(tmp_path):
    lines = [f"s{i},{i % 3},{i // 3 % 2},{0.25 * (i % 3) + 0.1 * (i // 3 % 2)}" for i in range(60)]
    text = "bag_id,fold,label,prob_1\n" + "\n".join(lines) + "\n"
    (tmp_path / "p.csv").write_text(text)
    found = evaluate(tmp_path / "p.csv", tmp_path / "out", settings=QUICK)
    assert "AUROC of 0.667" in found.sentence
    report = (tmp_path / "out" / "report.md").read_text()
    warned = "Do not quote this AUROC: within the folds it is 1.000 on average (SD 0.000)"
    assert report.split("\n\n")[1].startswith(f"**{warned}")
    assert found.table().split("\n")[1].startswith(warned)
    assert evaluate(binary(tmp_path / "q.csv", 2.0), tmp_path / "q", settings=QUICK).cautions == ()


def test_a_guessed_order_of_classes_is_asked_about(tmp_path):
    (tmp_path / "p.csv").write_text(GRADES)
    found = evaluate(tmp_path / "p.csv", tmp_path / "out", settings=QUICK)
    assert "classes (0, 1, 2) have an order, say --task ordinal" in found.table()
    assert found.cautions[0] in (tmp_path / "out" / "report.md").read_text()
    told = evaluate(tmp_path / "p.csv", tmp_path / "out", task="multiclass", settings=QUICK)
    assert told.cautions == ()


def test_an_error_of_calibration_below_its_interval_is_explained(tmp_path):
    (tmp_path / "p.csv").write_text(
        "bag_id,label,prob_1\n"
        + "".join(f"s{i},{int(i % 4 < i // 20 + 1)},{(i // 20 + 1) / 4}\n" for i in range(60))
    )
    found = evaluate(tmp_path / "p.csv", tmp_path / "out", settings=QUICK)
    assert found.summary.metrics.values["ece"] == pytest.approx(0, abs=1e-6)
    report = (tmp_path / "out" / "report.md").read_text()
    assert "The expected calibration error can lie below its own interval" in report


def test_the_command_takes_its_flags_and_refuses_in_one_line(tmp_path, capsys):
    (tmp_path / "p.csv").write_text(
        "case,truth,p\n" + "".join(f"c{i},{'MT' if i % 2 else 'WT'},0.{i}\n" for i in range(1, 10))
    )
    flags = ["--task", "binary", "--bag-column", "case", "--label-columns", "truth",
             "--score-column", "p", "--class-names", "WT,MT", "--num-bootstrap", "20"]  # fmt: skip
    out = tmp_path / "out"
    arguments = [str(tmp_path / "p.csv"), "--out", str(out)]
    assert VERBS["evaluate"].call("evaluate", [*arguments, *flags]) == 0
    assert "p reaches an AUROC of" in capsys.readouterr().out
    assert VERBS["evaluate"].call("evaluate", arguments) == 2
    message = capsys.readouterr().err
    assert message.startswith("slidenet evaluate: error: which column of")
    assert message.count("\n") == 1

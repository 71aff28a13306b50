import re

import numpy as np

from slidenet.evaluation import Predictions
from slidenet.pipelines.crossval import CrossvalReport
from slidenet.pipelines.fitting.predictions import cut_off_section
from slidenet.pipelines.results.sections import Section, metrics_section, write_results
from slidenet.tasks import BinaryTask, PredictionArrays


def test_a_section_is_printed_and_written_alike(tmp_path):
    section = Section("Left out", ("2 slides.",), ("slide", "n"), (("a|b", "1"), ("c_d*<e>", "10")))
    assert section.text() == "Left out\n2 slides.\nslide     n\na|b       1\nc_d*<e>  10"
    text = write_results(tmp_path, "train", "trained x\nwith y", [section]).read_text()
    assert text.startswith(
        "# Results of train\n\ntrained x\n\nwith y\n\n## Left out\n\n2 slides.\n\n"
    )
    for line in text.splitlines()[-4:]:  # every line of the table has two cells
        assert len(re.findall(r"(?<!\\)\|", line)) == 3
    assert "<e>" not in text.replace(r"\<e\>", "")


def test_what_a_split_has_no_value_of_is_said_so():
    section = metrics_section("Metrics", {"val": {"auroc": 0.5}, "test": {"auroc": 1, "r2": 0.25}})
    assert section.rows == (("auroc", "0.500", "1.000"), ("r2", "nan", "0.250"))


def test_metrics_of_folds_that_lack_a_class_and_of_many_folds():
    folds = {i: {"auroc": float("nan") if i % 2 else 0.5 + i / 10, "ece": 0.1} for i in range(4)}
    section = CrossvalReport("x", folds, [], {"auroc": 0.7, "ece": 0.2}).metrics()
    assert section.rows[0] == ("auroc", "0.500", "nan", "0.700", "nan", "0.600 (0.141)", "0.700")
    assert section.lines == ("Means are over the folds in which the metric is defined.",)
    many = CrossvalReport("x", {i: {"auroc": 0.5} for i in range(11)}, []).metrics()
    assert many.header == ("metric", "mean (sd)")
    assert many.rows == (("auroc", "0.500 (0.000)"),)


def test_metrics_of_folds_of_one_patient_are_those_of_all_together():
    folds = {i: {"auroc": float("nan"), "balanced_accuracy": float(i % 2)} for i in range(4)}
    pooled = {"auroc": 0.1, "balanced_accuracy": 0.5}
    section = CrossvalReport("x", folds, [], pooled, one_patient_per_fold=True).metrics()
    assert section.rows == (("auroc", "0.100"), ("balanced_accuracy", "0.500"))
    assert "wrong way round" in section.lines[0]


def test_metrics_at_the_cut_off_stand_beside_those_at_a_half():
    probabilities = np.array([[0.9, 0.1], [0.7, 0.3], [0.6, 0.4], [0.2, 0.8]])
    task = BinaryTask(("msi",), ("no", "yes"))
    found = Predictions(
        task, tuple("abcd"), (None,) * 4, np.array([0, 0, 1, 1]), PredictionArrays(probabilities)
    )
    section = cut_off_section({"test": found}, 0.35)
    assert section.header == ("metric", "test at 0.5", "test at 0.35")
    assert {row[0]: row[1:] for row in section.rows} == {
        "balanced_accuracy": ("0.750", "1.000"),
        "f1_macro": ("0.733", "1.000"),
        "sensitivity": ("0.500", "1.000"),
        "specificity": ("1.000", "1.000"),
    }
    assert section.lines == ("The model calls 'yes' from 0.350 on, chosen on val.",)


def test_what_was_printed_before_the_run_is_written_only():
    section = Section("Cohort", ("patients: 3", "not in the split: 1 bag"), num_printed=1)
    assert section.text() == "Cohort\nnot in the split: 1 bag"
    assert "patients: 3" in section.markdown()
    assert Section("Cohort", ("patients: 3",), num_printed=1).text() == ""


def test_results_of_another_verb_in_the_same_folder_stay(tmp_path):
    first = write_results(tmp_path, "crossval", "folds", [])
    second = write_results(tmp_path, "train", "one model", [])
    assert (first.name, second.name) == ("results.md", "results_train.md")
    assert write_results(tmp_path, "crossval", "folds again", []) == first
    assert first.read_text().startswith("# Results of crossval\n\nfolds again")

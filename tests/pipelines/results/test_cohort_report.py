"""What a run says of its cohort: patients, the positive class, and who is left out and why."""

from types import SimpleNamespace

import numpy as np
import pytest

from slidenet import crossval
from slidenet.core.errors import LabelError, StoreError
from slidenet.data import make_task, read_label_table
from slidenet.data.cohort import BagCohort
from slidenet.data.datamodule import read_bags
from slidenet.evaluation import Predictions
from slidenet.pipelines.results.cohort_report import (
    cohort_section,
    words_of_unseen,
    write_left_out,
)
from slidenet.stores import FeatureMemory
from slidenet.tasks import PredictionArrays
from slidenet.testing import write_feature_cohort


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return write_feature_cohort(tmp_path_factory.mktemp("cohort"), num_patients=12, seed=1)


@pytest.fixture
def bags_of(cohort, tmp_path):
    """The bags of the cohort with another table, its rows changed."""

    def read(change, columns=("slide_id", "patient_id", "label"), **settings):
        lines = cohort.labels.read_text().splitlines()
        names = lines[0].split(",")
        rows = [dict(zip(names, line.split(","), strict=True)) for line in lines[1:]]
        kept = [row for i, row in enumerate(rows) if change(i, row) is not False]
        path = tmp_path / "labels.csv"
        text = [",".join(columns), *(",".join(row[c] for c in columns) for row in kept)]
        path.write_text("\n".join(text) + "\n")
        return read_bags(labels=path, features=cohort.features, unsplit=True, **settings)

    return read


def predictions_of(data):
    slides = data.label_table.slide_ids
    patients = tuple(data.label_table.row(s).patient_id for s in slides)
    shares = np.full((len(slides), 2), 0.5, np.float32)
    return Predictions(data.task_record, slides, patients, None, PredictionArrays(shares))


def test_slides_left_out_are_counted_by_name_and_reason_and_patients_named(bags_of, tmp_path):
    def change(i, row):
        row["patient_id"] = f"p{i // 2}"
        row["label"] = {0: "Unknown", 3: "#N/A"}.get(i, "abc"[: 1 + (i // 2) % 2])
        row["slide_id"] += "x" if i == 5 else ""

    data = bags_of(change, leave_out=["unknown"], drop_unlabelled=True, allow_missing=True)
    found = [(one.slide_id, one.patient_id, one.reason) for one in data.cohort.left_out]
    assert found == [
        ("slide_000", "p0", "label 'Unknown'"),
        ("slide_003", "p1", "no label (written #N/A)"),
        ("slide_005x", "p2", "no features file"),
    ]
    lines = cohort_section(data, [data.split]).lines
    assert "left out, label 'Unknown': 1 slide (slide_000)" in lines
    lost = "p0 (slide_000), p1 (slide_003), p2 (slide_005x)"
    assert f"3 patients have lost a slide and not all of them: {lost}" in lines
    (path,) = write_left_out(tmp_path, data)
    assert path.read_text().splitlines()[:2] == [
        "slide_id,patient_id,reason",
        "slide_000,p0,label 'Unknown'",
    ]


def test_words_left_out_do_not_excuse_other_missing_labels(bags_of):
    def change(i, row):
        row["label"] = {0: "unknown", 1: ""}.get(i, row["label"])

    with pytest.raises(LabelError, match=r"row 3 \(slide_001\): 1 of .* slides have no label"):
        bags_of(change, leave_out=["unknown"])


def test_ids_as_a_spreadsheet_spoils_them_are_told_with_the_file_that_is_meant(bags_of):
    def change(i, row):
        row["slide_id"] = f"slide_{i}.svs"

    with pytest.raises(StoreError, match=r"'slide_0.svs' as 'slide_000', and") as error:
        bags_of(change)
    assert "allow-missing" not in str(error.value)


@pytest.fixture
def table_only(tmp_path):
    """Stands for the bags where nothing but their table matters."""

    def read(text, positive=None):
        path = tmp_path / "labels.csv"
        path.write_text(text)
        table = read_label_table(path)
        task = make_task(table, "binary", ["label"], positive=positive)
        cohort = BagCohort(
            table,
            table,
            task,
            {},
            FeatureMemory(0),
            positive_given=frozenset() if positive is None else frozenset({""}),
        )
        return SimpleNamespace(cohort=cohort, label_table=table, task_record=task)

    return read


@pytest.mark.parametrize(
    ("text", "known", "words"),
    [
        ("slide_id,patient_id,label\na,p,1\nb,q,0\n", "all", "has not seen the patient"),
        ("slide_id,label\na,1\nb,0\n", "none", "has not seen the slide; the table names no pat"),
        ("slide_id,patient_id,label\na,p,1\nb,?,0\n", "some", "as the table names one; 1 bag"),
        ("slide_id,label\nTCGA-AA-0001-DX1,1\nTCGA-AA-0001-DX2,0\n", "proposed", "seen the slide"),
    ],
)
def test_nothing_is_claimed_of_patients_that_are_not_known(table_only, text, known, words):
    data = table_only(text)
    assert data.cohort.patients_known == known
    said = words_of_unseen(data, [predictions_of(data)])
    assert words in said
    assert (known == "all") == said.endswith("has not seen the patient")


def test_the_positive_class_is_always_said(table_only):
    text = "slide_id,label\na,MSS\nb,MSIH\n"
    lines = table_only(text).cohort.describe()
    assert any("'MSS', the last of" in line and "--data.positive MSIH" in line for line in lines)
    data = table_only(text, positive="MSIH")
    assert "positive class of 'label': 'MSIH'" in data.cohort.describe()


def test_bags_of_patients_need_patients(bags_of):
    with pytest.raises(LabelError, match=r"names no patients, and a bag is to hold all"):
        bags_of(lambda i, row: None, ("slide_id", "label"), bag="patient")


@pytest.mark.slow
def test_a_cross_validation_says_and_writes_it(cohort, tmp_path, capsys):
    lines = cohort.labels.read_text().replace("patient_id", "case_id").splitlines()
    lines[1] = lines[1].replace(",1,site", ",unknown,site").replace(",0,site", ",unknown,site")
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    report = crossval(
        tmp_path / "out", labels=tmp_path / "labels.csv", features=cohort.features, num_folds=2,
        network="mean", max_epochs=1, accelerator="cpu", leave_out=["unknown"], probes=False,
    )  # fmt: skip
    told = capsys.readouterr().err
    assert "by the column 'case_id'" in told
    assert "left out, label 'unknown': 1 slide (slide_000)" in told
    assert "each predicted by a model that has not seen the patient" in report.headline
    results = (tmp_path / "out" / "results.md").read_text()
    assert "left out, label 'unknown'" in results
    assert (tmp_path / "out" / "left_out.csv").read_text().count("\n") == 2


def test_sites_that_are_tested_together_are_named(bags_of):
    """A site is not left out alone where a patient has slides of another one, too."""

    def change(i, row):
        row["site"] = "ABCD"[i % 4]
        row["patient_id"] = "both" if i in (0, 1) else f"p{i}"

    data = bags_of(change, ("slide_id", "patient_id", "label", "site"))
    split = data.split
    assert cohort_section(data, [split], site_column="site").lines[-1] == (
        "tested together, as they share patients ('site'): A, B"
    )
    assert "tested together" not in " ".join(cohort_section(data, [split]).lines)

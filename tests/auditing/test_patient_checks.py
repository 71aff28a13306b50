"""Whose slides they are: an absent column is no independence, and one patient has one name."""

import pytest

from slidenet.auditing import audit_cohort
from slidenet.core.errors import AuditError
from slidenet.data import make_task, read_label_table
from slidenet.pipelines.audit import audit_or_raise


@pytest.fixture
def found(tmp_path):
    def look(text, kind="binary", columns=("y",), **keywords):
        path = tmp_path / "labels.csv"
        path.write_text(text)
        table = read_label_table(path, **keywords)
        task = make_task(table, kind, columns)
        return {f.code: f for f in audit_cohort(table, task) if f.code != "few-patients"}

    return look


def rows(header, cells):
    return "\n".join([header, *(",".join(map(str, row)) for row in cells)]) + "\n"


def test_a_table_without_patients_is_warned_of_and_refused_when_strict(found, tmp_path):
    finding = found(rows("slide_id,y", [("a", 0), ("b", 1)]))["no-patients"]
    assert finding.severity == "warning"
    assert "slides of one patient may be on both sides of a split" in finding.text
    assert "--data.patient-column slide_id" in finding.remedy
    table = read_label_table(tmp_path / "labels.csv")
    told = []
    audit_or_raise(table, None, None, [], warn=told.append)
    assert any("no-patients" in line and "To fix: add a column patient_id" in line for line in told)
    with pytest.raises(AuditError, match=r"names no patients.*--data.patient-column slide_id"):
        audit_or_raise(table, None, None, [], strict=True)


def test_whoever_says_that_slides_are_patients_is_believed(found):
    assert found(rows("slide_id,y", [("a", 0), ("b", 1)]), patient_column="slide_id") == {}


@pytest.mark.parametrize(
    ("text", "says", "remedy"),
    [
        (
            rows("slide_id,y", [(f"TCGA-AA-000{i // 2}-01Z-00-DX{i}", i % 2) for i in range(6)]),
            "TCGA barcodes of 3 cases",
            "--data.patient-column tcga",
        ),
        (
            rows("slide_id,block,y", [(f"s{i}", f"B{i // 2}", i % 2) for i in range(6)]),
            "'block' may be a column of them",
            "--data.patient-column block",
        ),
        (
            rows("slide_id,who,y", [(f"s{i}", f"X{i // 2}", i % 2) for i in range(6)]),
            "'who' may be",
            "--data.patient-column who",
        ),
        (
            rows("slide_id,y", [(f"P{i // 2:02d}_{i % 2}", i % 2) for i in range(8)]),
            "slide_ids such as P00_0 and P00_1 share their beginning",
            "add a column patient_id",
        ),
    ],
)
def test_where_patients_may_stand_is_offered_by_name(found, text, says, remedy):
    finding = found(text)["no-patients"]
    assert says in finding.text
    assert remedy in finding.remedy


def test_ids_that_differ_in_case_or_zeros_only(found):
    cells = [("a", "P1", 0), ("b", "p1", 1), ("c", "P01", 0), ("d", "P2", 1)]
    finding = found(rows("slide_id,patient_id,y", cells))["similar-ids"]
    assert "column 'patient_id'" in finding.text
    assert "'P1' and 'p1' and 'P01'" in finding.text
    cells = [("s1", "p", 0), ("s01", "q", 1)]
    assert "'s1' and 's01'" in found(rows("slide_id,patient_id,y", cells))["similar-ids"].text
    cells = [("A1", "a", 1), ("\u04101", "b", 0), ("B1", "c", 1)]  # Cyrillic
    assert "'A1' and '\u04101'" in found(rows("slide_id,patient_id,y", cells))["similar-ids"].text
    cells = [("1-11", "1-11", 0), ("11-1", "11-1", 1), ("111", "111", 0)]
    assert found(rows("slide_id,patient_id,y", cells)) == {}


def test_one_case_under_several_patients(found):
    cells = [("TCGA-AA-0001-DX1", "p", 0), ("TCGA-AA-0001-DX2", "q", 1), ("TCGA-AA-0002", "r", 1)]
    finding = found(rows("slide_id,patient_id,y", cells))["patient-of-two-names"]
    assert "TCGA-AA-0001: p and q" in finding.text
    assert finding.remedy.endswith("--data.patient-column tcga")
    cells = [("a", "p", "c", 0), ("b", "q", "c", 1), ("d", "r", "e", 1)]
    finding = found(rows("slide_id,patient_id,case_id,y", cells))["patient-of-two-names"]
    assert finding.remedy.endswith("--data.patient-column 'case_id'")


def test_classes_that_look_alike(found):
    cells = [(f"s{i}", f"p{i}", ("tumor", "tumour")[i % 2]) for i in range(4)]
    assert (
        "'tumor' and 'tumour'"
        in found(rows("slide_id,patient_id,y", cells))["similar-classes"].text
    )


def test_a_column_named_for_the_opposite_of_an_event(found):
    cells = [(f"s{i}", f"p{i}", i + 1, i % 2) for i in range(4)]
    text = rows("slide_id,patient_id,time,censorship", cells)
    finding = found(text, "cox", ("time", "censorship"))["event-column"]
    assert "1 is taken for an event" in finding.text
    cells = [(f"s{i}", f"p{i}", i + 1, ("alive", "dead")[i % 2]) for i in range(4)]
    assert found(rows("slide_id,patient_id,t,censoring", cells), "cox", ("t", "censoring")) == {}

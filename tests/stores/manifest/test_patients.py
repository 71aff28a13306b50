"""Which column says whose slide it is, and tables as spreadsheets write them."""

import pytest

from slidenet.core.errors import LabelError
from slidenet.data import read_label_table
from slidenet.stores import read_manifest
from slidenet.stores.manifest.patients import like_patients


@pytest.fixture
def table_of(tmp_path):
    def write(text, **keywords):
        path = tmp_path / "labels.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_label_table(path, **keywords)

    return write


@pytest.mark.parametrize("name", ["patient_id", "case_id", "PATIENT", "Patient_ID", "submitter_id"])
def test_a_column_of_patients_is_known_by_any_usual_name(table_of, name):
    table = table_of(f"slide_id,{name},y\na,p,1\nb,p,0\nc,,1\n")
    assert table.patient_column == name
    assert [row.patient_id for row in table.rows] == ["p", "p", None]
    assert table.patients_known == "some"
    assert table.column(name) == ["p", "p", ""]


def test_patients_that_nobody_knows_are_not_one_patient(table_of):
    table = table_of("slide_id,patient_id\na,NA\nb,unknown\nc,-\nd,#N/A\ne,p\n")
    assert [row.patient_id for row in table.rows] == [None, None, None, None, "p"]
    assert table.patient_of("a") == "a"


def test_an_empty_column_gives_way_to_another_one(table_of):
    assert table_of("slide_id,patient_id,case_id\na,,p\nb,,p\n").patient_column == "case_id"
    assert table_of("slide_id,patient_id,case_id\na,p,1\nb,q,1\n").patient_column == "patient_id"


def test_two_columns_that_disagree_are_refused_and_two_that_agree_are_not(table_of):
    assert table_of("slide_id,PATIENT,case_id\na,p,1\nb,p,1\nc,q,2\n").patient_column == "PATIENT"
    text = "slide_id,PATIENT,case_id\na,p,1\nb,p,2\n"
    with pytest.raises(LabelError, match=r"'PATIENT' and 'case_id'.*--data.patient-column"):
        table_of(text)
    assert table_of(text, patient_column="case_id").patients_known == "all"
    with pytest.raises(LabelError, match=r"no column 'cas'.*did you mean 'PATIENT' or 'case_id'"):
        table_of(text, patient_column="cas")


def test_barcodes_are_proposed_and_taken_only_when_asked_for(table_of):
    text = "slide_id,y\nTCGA-AA-0001-01Z-00-DX1,1\nTCGA-AA-0001-01Z-00-DX2,0\nTCGA-AA-0002-01,1\n"
    assert table_of(text).patients_known == "proposed"
    assert table_of(text).rows[0].patient_id is None
    table = table_of(text, patient_column="tcga")
    assert [r.patient_id for r in table.rows] == ["TCGA-AA-0001"] * 2 + ["TCGA-AA-0002"]
    alone = table_of(text, patient_column="slide_id")
    assert alone.patients_known == "all"
    assert len({row.patient_id for row in alone.rows}) == 3


@pytest.mark.parametrize(
    ("name", "cells"), [("case", "01"), ("case", ("case", "control")), ("Patient", ("yes", "no"))]
)
def test_a_column_that_says_yes_or_no_names_nobody(table_of, name, cells):
    rows = "".join(f"s{i},{cells[i % 2]}\n" for i in range(6))
    assert table_of(f"slide_id,{name}\n{rows}").patient_column is None


def test_a_manifest_knows_the_same_columns(tmp_path):
    path = tmp_path / "slides.csv"
    path.write_text("slide_path,PATIENT,case_id\na.svs,p,1\nb.svs,p,1\n")
    assert [row.patient_id for row in read_manifest(path)] == ["p", "p"]
    path.write_text("slide_path,PATIENT,case_id\na.svs,p,1\nb.svs,p,2\n")
    assert [row.patient_id for row in read_manifest(path)] == [None, None]
    assert [r.patient_id for r in read_manifest(path, patient_column="case_id")] == ["1", "2"]


def test_columns_that_look_like_patients_by_name_or_content():
    ids = ["A01", "A01", "B02", "B02", "C03", "D04", "E05"]
    columns = {"who": ids, "block": ["x"] * 7, "age": list("1234567"), "site": list("AABBAAB")}
    assert like_patients(columns) == ("who", "block")


def test_what_spreadsheets_add_says_nothing(table_of):
    plain = table_of("slide_id,y\na,1\nb,0\n")
    for text in ("slide_id,y,,\na,1,,\nb,0,,\n", "slide_id,y\na,1,\nb,0,,\n",
                 ",slide_id,y\n0,a,1\n1,b,0\n", "Unnamed: 0,slide_id,y\n0,a,1\n1,b,0\n",
                 ",slide_id,y\n1,a,1\n2,b,0\n"):  # fmt: skip
        table = table_of(text)
        assert table.columns == ("slide_id", "y")
        assert table.rows == plain.rows


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"PK\x03\x04rest", r"workbook of a spreadsheet \(.xlsx.*'CSV UTF-8"),
        (b"\xd0\xcf\x11\xe0", r"workbook of an old Excel"),
        (b"PAR1", r"a parquet file.*to_csv"),
        ("Slide_ID,y\na,1\n", r"rename the column 'Slide_ID' to 'slide_id'"),
        ("FILENAME,PATIENT,y\na,p,1\n", r"rename the column 'FILENAME' to 'slide_id'"),
        ("file_path,y\na/b.svs,1\n", r"rename the column 'file_path' to 'slide_path'"),
        ("image,scan,y\na,b,1\n", r"rename one of image, scan to 'slide_id'"),
        ("sep=;\nslide_id;y\na;1\n", r"delete the first line \('sep=;'\)"),
        ("My cohort,\nslide_id,y\na,1\n", r"delete the lines above row 2, which holds the names"),
        ('slide_id,y\na,1,5\n', r"row 2 has 3 cells.*decimal point"),
        ("slide_id,y\na,1\nb\n", r"row 3 has 1 cells; expected 2.*as many commas"),
        (",slide_id,y\n7,a,1\n9,b,0\n", r"column 1 has no name.*index=False"),
    ],
)  # fmt: skip
def test_tables_that_get_a_remedy_that_fits(table_of, text, message):
    with pytest.raises(LabelError, match=message):
        table_of(text)

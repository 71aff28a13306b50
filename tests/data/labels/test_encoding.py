"""The table of labels: what is read, and what is refused with file, row and column."""

import pytest

from slidenet.core.errors import LabelError
from slidenet.data import read_label_table


@pytest.fixture
def table_of(tmp_path):
    def write(text, encoding="utf-8"):
        path = tmp_path / "labels.csv"
        path.write_text(text, encoding=encoding)
        return read_label_table(path)

    return write


def test_a_table_is_read_with_its_free_columns(table_of):
    table = table_of(
        "slide_id,patient_id,mpp,site, grade \ns1,p1,0.25,A, high\ns2,,,B,low \n", "utf-8-sig"
    )
    assert table.slide_ids == ("s1", "s2")
    assert table.columns == ("slide_id", "patient_id", "mpp", "site", "grade")
    assert table.column("grade") == ["high", "low"]
    assert table.column("patient_id") == ["p1", ""]
    assert table.column("mpp") == ["0.25", ""]
    assert [table.patient_of(s) for s in table.slide_ids] == ["p1", "s2"]
    assert table.row("s2").mpp is None
    assert table.lines == (2, 3)


def test_the_manifest_is_a_table_of_labels_too(table_of):
    table = table_of("slide_path,label\nfolder/a.svs,1\n\nb.svs,0\n")
    assert table.slide_ids == ("a", "b")
    assert table.lines == (2, 4)
    assert table.row("a").slide_path.endswith("folder/a.svs")


def test_a_slide_path_may_be_empty_where_a_slide_id_is_given(table_of):
    assert table_of("slide_id,slide_path,y\na,,1\nb,x/b.svs,0\n").slide_ids == ("a", "b")


def test_select_keeps_the_order_asked_for(table_of):
    table = table_of("slide_id,y\na,1\nb,2\nc,3\n").select(["c", "a"])
    assert table.slide_ids == ("c", "a")
    assert table.lines == (4, 2)
    assert table.place([0, 1], "y").endswith("labels.csv, column 'y', rows 4, 2 (c, a)")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"labels.csv is empty; expected a header with a column slide_path or slide_id"),
        ("slide_id,y\n", r"has a header and no rows"),
        ("patient_id,y\np,1\n", r"expected a column slide_path or slide_id.*add .*slide_id"),
        ("slide_id;y\na;1\n", r"look separated by semicolons"),
        ("Slide_ID,slide_path,y\na,b,1\n", r"column 'Slide_ID'; expected 'slide_id'"),
        ("slide_id,y,y\na,1,1\n", r"2 columns named 'y'"),
        ("slide_id,y\na,1\nA,0\n", r"row 3, column 'slide_id': slide_id 'A' is already taken"),
        ("slide_id,y\n,1\n", r"row 2, column 'slide_id': slide_id is empty"),
        ("slide_id,y\na,1,2\n", r"row 2 has 3 cells; expected 2"),
        ("slide_id,mpp\na,zero\n", r"row 2, column 'mpp' is 'zero'"),
        (
            "slide_id,patient_id\na,b\nb,\n",
            r"'patient_id', row 3 \(b\) names no patient, and 'b' is the",
        ),
        ("slide_path,y\n,1\n", r"row 2, column 'slide_path' is ''"),
    ],
)
def test_tables_that_cannot_be_read(table_of, text, message):
    with pytest.raises(LabelError, match=message):
        table_of(text)


def test_a_missing_file_and_another_encoding(table_of, tmp_path):
    with pytest.raises(LabelError, match=r"none.csv cannot be read"):
        read_label_table(tmp_path / "none.csv")
    with pytest.raises(LabelError, match=r"not UTF-8"):
        table_of("slide_id,y\nä,1\n", "latin-1")


def test_unknown_slides_and_columns_propose_the_nearest(table_of):
    table = table_of("slide_id,grade\nslide_1,1\nslide_2,0\n")
    with pytest.raises(LabelError, match=r"slide 'slide_3': .*no row of this slide.*'slide_"):
        table.row("slide_3")
    with pytest.raises(LabelError, match=r"no column 'grad'; expected one of .*did you mean grade"):
        table.column("grad")

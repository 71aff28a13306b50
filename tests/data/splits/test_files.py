"""Splits on disk, ours and CLAM's."""

import pytest

from slidenet.core.errors import SplitError
from slidenet.data.labels.table import read_label_table
from slidenet.data.splits.files import read_splits, write_splits
from slidenet.data.splits.record import Split, check_split


def write(path, text):
    path.write_text(text)
    return path


@pytest.fixture
def table(tmp_path):
    rows = "slide_id,patient_id,label\na,p1,0\nb,p1,0\nc,p2,1\nd,p3,1\n"
    return read_label_table(write(tmp_path / "labels.csv", rows))


def test_what_is_written_is_read_back(tmp_path):
    splits = [Split(("a", "b"), ("c",), ("d",)), Split(("d",), (), ("a", "b"))]
    path = write_splits(tmp_path / "splits.csv", splits)
    assert path.read_text() == (
        "slide_id,fold_0,fold_1\na,train,test\nb,train,test\nc,val,\nd,test,train\n"
    )
    assert read_splits(path) == splits
    with pytest.raises(SplitError, match="slide 'a': fold 0 has the slide in train and test"):
        write_splits(path, [Split(("a",), (), ("a",))])


def test_one_column_of_words(tmp_path):
    path = write(tmp_path / "s.csv", "slide_id,split\na, train\nb,val\nc,test\nd,\n")
    assert read_splits(path) == [Split(("a",), ("b",), ("c",))]


def test_fold_numbers(tmp_path):
    path = write(tmp_path / "s.csv", "slide_id,fold\na,1\nb,0\nc,0\nd,2\n")
    assert read_splits(path) == [
        Split(("a", "d"), (), ("b", "c")),
        Split(("b", "c", "d"), (), ("a",)),
        Split(("b", "c", "a"), (), ("d",)),
    ]


def test_patients_stand_for_their_slides(tmp_path, table):
    path = write(tmp_path / "s.csv", "patient_id,fold_0,fold_1\np1,train,test\np2,test,train\n")
    wanted = [Split(("a", "b"), (), ("c",)), Split(("c",), (), ("a", "b"))]
    assert read_splits(path, table) == wanted
    with pytest.raises(SplitError, match="names patients only; expected a column slide_id"):
        read_splits(path)
    unknown = write(tmp_path / "u.csv", "patient_id,split\np9,train\n")
    with pytest.raises(SplitError, match="row 2, column 'patient_id' is 'p9'; expected a patient"):
        read_splits(unknown, table)


def test_clam(tmp_path):
    text = ",train,val,test\n0,a,c,d\n1,b,,\n"
    assert read_splits(write(tmp_path / "splits_0.csv", text)) == [
        Split(("a", "b"), ("c",), ("d",))
    ]
    write(tmp_path / "splits_10.csv", "train,val,test\nd,,a\n")
    write(tmp_path / "splits_2.csv", ",train,val,test\n0,b,,d\n")
    write(tmp_path / "splits_0_bool.csv", ",train,val,test\na,True,False,False\n")
    assert read_splits(tmp_path) == [
        Split(("a", "b"), ("c",), ("d",)),
        Split(("b",), (), ("d",)),
        Split(("d",), (), ("a",)),
    ]
    with pytest.raises(SplitError, match=r"not its splits_\{i\}_bool.csv"):
        read_splits(tmp_path / "splits_0_bool.csv")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "is empty"),
        ("slide_id,part\na,train\n", "expected a column split, fold"),
        ("slide_id,split\na,training\n", r"row 2, column 'split' is 'training'; expected train"),
        ("slide_id,fold\na,one\n", r"row 2, column 'fold' is 'one'; expected a fold number"),
        ("slide_id,split\n,train\n", r"row 2, column 'slide_id' is empty"),
        ("slide,split\na,train\n", "a column slide_id or patient_id"),
    ],
)
def test_refused(tmp_path, text, match):
    with pytest.raises(SplitError, match=match):
        read_splits(write(tmp_path / "s.csv", text))


def test_missing_files(tmp_path):
    with pytest.raises(SplitError, match="cannot be read"):
        read_splits(tmp_path / "none.csv")
    with pytest.raises(SplitError, match=r"holds no splits; expected files splits_0\.csv"):
        read_splits(tmp_path)


def test_splits_by_patient_may_call_them_as_the_table_does(tmp_path):
    labels, path = tmp_path / "labels.csv", tmp_path / "splits.csv"
    labels.write_text("slide_id,case_id,y\na,p,1\nb,p,0\nc,q,1\n")
    path.write_text("PATIENT,split\np,train\nq,test\n")
    (split,) = read_splits(path, read_label_table(labels))
    assert split == Split(("a", "b"), (), ("c",))


def test_slides_that_a_split_spells_otherwise_are_named_with_the_right_spelling(tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text("slide_id,y\nS01,1\nS02,0\n")
    with pytest.raises(SplitError, match=r"write them as the table does: 's1.svs' as 'S01'"):
        check_split(Split(("s1.svs", "S02")), read_label_table(labels))

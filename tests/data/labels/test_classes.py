"""Classes as people write them: doubtful words and spellings refused, the positive one chosen."""

import pytest

from slidenet.core.errors import ConfigError, LabelError
from slidenet.data import make_task, read_label_table
from slidenet.data.labels.left_out import blank_cells


@pytest.fixture
def table_of(tmp_path):
    def write(*cells):
        path = tmp_path / "labels.csv"
        path.write_text("slide_id,y\n" + "".join(f"s{i},{c}\n" for i, c in enumerate(cells)))
        return read_label_table(path)

    return write


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (("a", "b", "unknown"), r"row 4 \(s2\): 1 of 3 cells hold 'unknown'.*leave-out=unknown$"),
        (("a", "b", "?"), r"--data.leave-out='\?'$"),
        (("Tumour", "tumour", "no", "Tumour"), r"row 3 \(s1\) is 'tumour', elsewhere 'Tumour'"),
        (("non-tumour", "non tumour", "t"), r"differ in case, spaces or hyphens only"),
        (("tumor", "tumour", "normal"), r"3 classes.*'tumor' and 'tumour' alike if they are one"),
        (("a", "b", "c", "a", "b"), r"3 classes.*multiclass, leave some out, .*leave-out=c, or"),
        (("1", "1.0", "b"), r"row 2 \(s0\) is '1', elsewhere '1.0'.*or are one number"),
    ],
)  # fmt: skip
def test_classes_that_are_refused_with_a_remedy_that_is_no_trap(table_of, cells, message):
    with pytest.raises(LabelError, match=message):
        make_task(table_of(*cells), "binary", ["y"])


@pytest.mark.parametrize("cell", ["unknown", "?"])
def test_doubtful_words_are_no_class_of_any_task_unless_named(table_of, cell):
    table = table_of("a", "b", cell)
    with pytest.raises(LabelError, match=r"leave-out"):
        make_task(table, "multiclass", ["y"])
    with pytest.raises(LabelError, match=r"name all of them: --data.class-names="):
        make_task(table, "multiclass", ["y"])
    with pytest.raises(LabelError, match=r"with --data.class-names, the lowest first"):
        make_task(table, "ordinal", ["y"])
    names = ("a", "b", cell)
    assert make_task(table, "multiclass", ["y"], names).class_names == names


def test_a_remedy_of_a_class_that_is_written_otherwise(table_of):
    with pytest.raises(LabelError, match=r"write 'tumour' as the class 'Tumour' is written"):
        make_task(table_of("Tumour", "tumour", "b"), "binary", ["y"], ["b", "Tumour"])
    with pytest.raises(LabelError, match=r"leave such slides out with --data.leave-out=c"):
        make_task(table_of("a", "b", "c"), "binary", ["y"], ["a", "b"])


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (("high", "low", "medium"), r"give --data.class-names=low,medium,high, if that is"),
        (("a", "b", "c"), r"give all of them as --data.class-names, the lowest first"),
    ],
)
def test_an_order_of_ordinal_classes_is_proposed_only_where_it_is_sure(table_of, cells, message):
    with pytest.raises(LabelError, match=message):
        make_task(table_of(*cells), "ordinal", ["y"])


def test_the_positive_class_is_chosen(table_of):
    table = table_of("MSS", "MSIH", "MSS")
    assert make_task(table, "binary", ["y"]).class_names == ("MSIH", "MSS")
    for word in ("MSIH", "msi-h"):
        assert make_task(table, "binary", ["y"], positive=word).class_names == ("MSS", "MSIH")
    with pytest.raises(ConfigError, match=r"positive is 'MSI'; expected one of .*MSIH, MSS"):
        make_task(table, "binary", ["y"], positive="MSI")
    with pytest.raises(ConfigError, match=r"class_names put 'MSS' last"):
        make_task(table, "binary", ["y"], ["MSIH", "MSS"], positive="MSIH")
    with pytest.raises(ConfigError, match=r"for a multiclass task; expected a task binary"):
        make_task(table, "multiclass", ["y"], positive="MSIH")


def test_words_left_out_leave_no_label(table_of):
    table, words = blank_cells(table_of("a", "Un-known", "b", "?"), ["y"], ["unknown", "?"])
    assert table.column("y") == ["a", "", "b", ""]
    assert words == {"s1": "Un-known", "s3": "?"}
    with pytest.raises(LabelError, match=r"no cell of 'y' holds 'unknwon'.*that are there"):
        blank_cells(table_of("a", "unknown"), ["y"], ["unknwon"])
    # -1 is often written where nothing is known; it must not take the slides of class 1 with it.
    table, words = blank_cells(table_of("1", "-1", "0"), ["y"], ["-1"])
    assert table.column("y") == ["1", "", "0"]
    assert words == {table.slide_ids[1]: "-1"}
    with pytest.raises(ConfigError, match=r"leave_out is 'unknown'; expected a list"):
        blank_cells(table_of("a", "b"), ["y"], "unknown")


@pytest.mark.parametrize(
    ("kind", "cells", "message"),
    [
        ("regression", ("1,5", "2"), r"write numbers with a decimal point"),
        ("regression", ("unknown", "2", "3"), r"leave such slides out with .*leave-out=unknown"),
        ("multilabel", ("1", "0", "equivocal"), r"leave-out=equivocal"),
    ],
)
def test_numbers_get_a_remedy_that_fits(tmp_path, kind, cells, message):
    path = tmp_path / "labels.csv"
    path.write_text("slide_id,y\n" + "".join(f's{i},"{c}"\n' for i, c in enumerate(cells)))
    with pytest.raises(LabelError, match=message):
        make_task(read_label_table(path), kind, ["y"])


def test_events_coded_as_in_r_are_not_guessed(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("slide_id,t,e\na,1,1\nb,2,2\n")
    with pytest.raises(LabelError, match=r"if 2 means that it happened, as in R, write 1"):
        make_task(read_label_table(path), "cox", ["t", "e"])

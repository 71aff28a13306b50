"""Labels become tasks and targets of exact values, or are refused by file, column and row."""

import numpy as np
import pytest

from slidenet.core.errors import ConfigError, LabelError
from slidenet.data import (
    encode_bag_targets,
    encode_targets,
    labelled_rows,
    make_task,
    read_label_table,
)
from slidenet.tasks import CoxTask, MultilabelTask


@pytest.fixture
def table_of(tmp_path):
    def write(**columns):
        names = list(columns)
        lines = [",".join(["slide_id", *names])]
        rows = zip(*columns.values(), strict=True)
        lines += [",".join([f"s{i}", *map(str, row)]) for i, row in enumerate(rows)]
        path = tmp_path / "labels.csv"
        path.write_text("\n".join(lines) + "\n")
        return read_label_table(path)

    return write


def targets_of(task, table):
    return encode_targets(task, table, table.slide_ids)


def test_binary_classes_are_sorted_strings(table_of):
    table = table_of(y=["tumour", "normal", " tumour "])
    task = make_task(table, "binary", ["y"])
    assert task.class_names == ("normal", "tumour")
    targets = targets_of(task, table)
    assert targets.dtype == np.int64
    assert targets.tolist() == [1, 0, 1]
    assert encode_targets(task, table, ["s1", "s0"]).tolist() == [0, 1]


def test_given_class_names_give_the_order(table_of):
    table = table_of(y=["a", "b", "c"])
    task = make_task(table, "multiclass", ["y"], class_names=["c", "a", "b"])
    assert targets_of(task, table).tolist() == [1, 2, 0]


def test_numbers_are_sorted_by_value_and_1_0_is_1(table_of):
    table = table_of(y=["10", "2", "1.0", "1", "2.0"])
    task = make_task(table, "ordinal", ["y"])
    assert task.class_names == ("1", "2", "10")
    assert targets_of(task, table).tolist() == [2, 1, 0, 0, 1]


def test_ordinal_names_need_an_order(table_of):
    table = table_of(y=["low", "high", "mid"])
    with pytest.raises(
        LabelError, match=r"column 'y' holds .* whose order is not known.*class_nam"
    ):
        make_task(table, "ordinal", ["y"])
    task = make_task(table, "ordinal", ["y"], class_names=["low", "mid", "high"])
    assert targets_of(task, table).tolist() == [0, 2, 1]


def test_multilabel_leaves_missing_labels_as_nan(table_of):
    table = table_of(a=["1", "0", ""], b=["NA", "0.0", "True"])
    task = make_task(table, "multilabel", ["a", "b"])
    assert task.class_names == ("a", "b")
    targets = targets_of(task, table)
    assert targets.dtype == np.float32
    np.testing.assert_array_equal(targets, [[1, np.nan], [0, 0], [np.nan, 1]])


def test_words_for_0_and_1_and_for_nothing_are_those_of_every_table(table_of):
    table = table_of(a=["yes", "no", "none"], b=["n/a", "0.0", "TRUE"])
    task = make_task(table, "multilabel", ["a", "b"])
    np.testing.assert_array_equal(targets_of(task, table), [[1, np.nan], [0, 0], [np.nan, 1]])
    table = table_of(t=[3, 4, 5], e=["yes", "no", "true"])
    assert targets_of(make_task(table, "cox", ["t", "e"]), table)[:, 1].tolist() == [1, 0, 1]
    table = table_of(a=["none", "1", "0"])
    assert labelled_rows(table, "multilabel", ["a"]).slide_ids == ("s1", "s2")
    assert labelled_rows(table, "binary", ["a"]).slide_ids == ("s0", "s1", "s2")


def test_regression_and_survival(table_of):
    table = table_of(age=["61.5", "-2", "1e2"], t=["3", "0.5", "7.25"], e=["1", "0", "1.0"])
    regression = targets_of(make_task(table, "regression", ["age"]), table)
    assert (regression.dtype, regression.tolist()) == (np.float32, [61.5, -2.0, 100.0])
    survival = targets_of(make_task(table, "cox", ["t", "e"]), table)
    assert (survival.dtype, survival.tolist()) == (np.float32, [[3, 1], [0.5, 0], [7.25, 1]])


def test_time_edges_are_quantiles_of_the_events_of_the_training_rows(table_of):
    table = table_of(t=[1, 2, 3, 4, 100, 50, 1000], e=[1, 1, 1, 1, 0, 1, 1])
    training = ["s0", "s1", "s2", "s3", "s4"]
    task = make_task(table, "discrete_time", ["t", "e"], training_ids=training)
    assert task.time_edges == tuple(np.quantile([1, 2, 3, 4], [0.25, 0.5, 0.75, 1]))
    assert task.time_edges[-1] == 4.0
    assert make_task(table, "discrete_time", ["t", "e"], num_time_bins=2).time_edges == (
        3.5,
        1000.0,
    )
    given = make_task(table, "discrete_time", ["t", "e"], time_edges=[5, 10])
    assert given.time_edges == (5.0, 10.0)


def test_ties_of_events_merge_bins(table_of):
    table = table_of(t=[2, 2, 2, 2, 9], e=[1, 1, 1, 1, 1])
    assert make_task(table, "discrete_time", ["t", "e"]).time_edges == (2.0, 9.0)


@pytest.mark.parametrize(
    ("kind", "columns", "labels", "message"),
    [
        (
            "binary",
            ["y"],
            {"y": ["a", "a"]},
            r"column 'y' holds one class only \(a\); expected two",
        ),
        ("binary", ["y"], {"y": ["a", "b", "c"]}, r"holds 3 classes \(a, b, c\).*task multiclass"),
        ("multiclass", ["y"], {"y": ["", ""]}, r"holds 0 classes \(no label\)"),
        (
            "multilabel",
            ["y", "z"],
            {"y": [1, 0], "z": [1, 1]},
            r"column 'z' holds 1 only; expected both 0 and 1",
        ),
        (
            "multilabel",
            ["y"],
            {"y": [1, 2, 0]},
            r"'y', row 3 \(s1\) is '2'; expected 0, 1, or noth",
        ),
        (
            "regression",
            ["y"],
            {"y": ["1", "x", "2"]},
            r"'y', row 3 \(s1\) is 'x'; expected a number",
        ),
        ("regression", ["y"], {"y": ["1", "inf"]}, r"row 3 \(s1\) is 'inf'; expected a number"),
        ("regression", ["y"], {"y": ["4", "4"]}, r"holds one value only \(4\)"),
        (
            "cox",
            ["t", "e"],
            {"t": [1, -2], "e": [1, 0]},
            r"column 't', row 3 \(s1\) is '-2'; expect",
        ),
        ("cox", ["t", "e"], {"t": [1, 0], "e": [1, 0]}, r"row 3 \(s1\) is '0'; expected a time ab"),
        ("cox", ["t", "e"], {"t": [1, "x"], "e": [1, 0]}, r"'x'; expected a time above 0"),
        (
            "cox",
            ["t", "e"],
            {"t": [1, 2], "e": [1, 2]},
            r"'e', row 3 \(s1\) is '2'; expected 1 \(hap",
        ),
        ("cox", ["t", "e"], {"t": [1, 2], "e": [0, 0]}, r"column 'e' holds no event"),
        ("discrete_time", ["t", "e"], {"t": [1, 2], "e": [1, 0]}, r"1 different times of events"),
        ("binary", ["z"], {"y": ["a", "b"]}, r"no column 'z'; expected one of slide_id, y"),
    ],
)
def test_labels_that_make_no_task(table_of, kind, columns, labels, message):
    with pytest.raises(LabelError, match=message):
        make_task(table_of(**labels), kind, columns)


def test_classes_that_were_not_named_are_unknown(table_of):
    with pytest.raises(LabelError, match=r"'y', rows 3, 4 \(s1, s2\) is 'B', 'c'; .*classes a, b"):
        make_task(table_of(y=["a", "B", "c", "b"]), "binary", ["y"], class_names=["a", "b"])


def test_columns_that_do_not_fit_the_kind(table_of):
    with pytest.raises(ConfigError, match=r"two columns, time and event"):
        make_task(table_of(t=[1, 2]), "discrete_time", ["t"])


def test_missing_labels_are_refused_or_left_out(table_of):
    table = table_of(y=["a", "", "b", "NA", "nan"])
    task = make_task(table, "binary", ["y"])
    message = r"'y', rows 3, 5, 6 \(s1, s3, s4\): 3 of 5 slides have no label \(written NA, nan\)"
    with pytest.raises(LabelError, match=message):
        targets_of(task, table)
    kept = labelled_rows(table, "binary", ["y"])
    assert kept.slide_ids == ("s0", "s2")
    assert targets_of(task, kept).tolist() == [0, 1]


def test_a_class_may_be_called_na_where_it_is_named(table_of):
    table = table_of(y=["NA", "EU", "NA"])
    task = make_task(table, "binary", ["y"], class_names=["EU", "NA"])
    assert targets_of(task, table).tolist() == [1, 0, 1]


def test_a_multilabel_row_without_any_label_is_refused(table_of):
    table = table_of(a=["1", "", "0"], b=["0", "na", "1"])
    with pytest.raises(
        LabelError, match=r"'a', row 3 \(s1\) and the other label columns are empty"
    ):
        encode_targets(MultilabelTask(("a", "b")), table, table.slide_ids)
    assert labelled_rows(table, "multilabel", ["a", "b"]).slide_ids == ("s0", "s2")
    with pytest.raises(LabelError, match=r"no row has a label in the column c"):
        labelled_rows(table_of(c=["", "NA"]), "binary", ["c"])


def test_slides_of_a_patient_must_agree(table_of):
    table = table_of(patient_id=["p", "p", "q"], y=["a", "b", "b"])
    task = make_task(table, "binary", ["y"])
    assert encode_bag_targets(task, table, [["s1", "s2"], ["s0"]]).tolist() == [1, 0]
    message = r"column 'y': the slides of patient 'p' have different labels \(s0: 'a', s1: 'b'\)"
    with pytest.raises(LabelError, match=message):
        encode_bag_targets(task, table, [["s0", "s1"]])


def test_survival_of_a_patient_must_agree_in_time_and_event(table_of):
    table = table_of(t=[1, 1, 2], e=[1, 0, 1])
    task = CoxTask(("t", "e"))
    with pytest.raises(LabelError, match=r"column 'e'"):
        encode_bag_targets(task, table, [["s0", "s1"]])
    with pytest.raises(LabelError, match=r"column 't'"):
        encode_bag_targets(task, table, [["s0", "s2"]])


def test_what_is_known_of_one_slide_counts_for_the_patient(table_of):
    table = table_of(a=["1", "", "0"], b=["", "0", "0"])
    task = MultilabelTask(("a", "b"))
    merged = encode_bag_targets(task, table, [["s0", "s1"], ["s2"], ["s1"]])
    np.testing.assert_array_equal(merged, [[1, 0], [0, 0], [np.nan, 0]])
    with pytest.raises(LabelError, match=r"column 'a'"):
        encode_bag_targets(task, table, [["s0", "s2"]])

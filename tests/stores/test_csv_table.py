"""What a cell of a table means: one rule for labels and predictions."""

import math
import os

import numpy as np
import pytest

from slidenet.core.errors import PredictionsError
from slidenet.core.vocabulary import as_number, as_truth, is_missing, is_missing_number
from slidenet.stores.csv_table import read_csv_table


@pytest.mark.parametrize("cell", ["", "NA", "na", "N/A", "n/a", "NaN", "null", "NULL"])
def test_words_that_mean_not_known(cell):
    assert is_missing(cell)
    assert is_missing_number(cell)


def test_none_is_a_class_and_no_number():
    assert is_missing_number("none")
    assert is_missing_number("None")
    assert not is_missing("none")
    assert not is_missing("NA", class_names=("NA", "high"))


@pytest.mark.parametrize(("cell", "number"), [("1", 1), ("1.0", 1), ("-2e3", -2000), (" 4 ", 4)])
def test_numbers(cell, number):
    assert as_number(cell) == number


@pytest.mark.parametrize("cell", ["inf", "-inf", "nan", "x", "", "1,5"])
def test_what_is_no_finite_number(cell):
    assert math.isnan(as_number(cell))


@pytest.mark.parametrize(
    ("cells", "truth"), [(("0", "0.0", "False", "no"), 0), (("1", "1.0", "TRUE", "Yes"), 1)]
)
def test_words_for_0_and_1(cells, truth):
    assert [as_truth(cell) for cell in cells] == [truth] * len(cells)


@pytest.mark.parametrize("cell", ["2", "maybe", "", "n/a"])
def test_what_is_neither_0_nor_1(cell):
    assert math.isnan(as_truth(cell))


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("id,score,kras\na,0.5,1\nb,-1,n/a\n\nc,inf,yes\n")
    return read_csv_table(path, error=PredictionsError)


def test_columns(table):
    assert len(table) == 3
    assert table.cells("id") == ["a", "b", "c"]
    truths = table.truths("kras", may_be_missing=True)
    np.testing.assert_array_equal(truths, [1, math.nan, 1])


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (lambda t: t.numbers("score"), r"p.csv, row 5, column 'score' is 'inf'; expected a finite"),
        (lambda t: t.truths("kras"), r"p.csv, row 3, column 'kras' is 'n/a'; expected 0 or 1"),
        (lambda t: t.truths("score", may_be_missing=True), r"row 2, .* is '0.5'; .*or nothing"),
        (lambda t: t.cells("KRAS"), r"p.csv has no column 'KRAS'; expected one of 'id', 'score'"),
    ],
)
def test_errors_name_row_and_column(table, read, message):
    with pytest.raises(PredictionsError, match=message):
        read(table)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "slides.csv")
    with pytest.raises(PredictionsError, match="is a pipe, a device or a socket"):
        read_csv_table(tmp_path / "slides.csv", error=PredictionsError)

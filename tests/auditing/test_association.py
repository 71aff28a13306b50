"""The test behind "this column alone tells the label", and the codes it works on."""

import numpy as np
import pytest
from scipy.stats import hypergeom
from scipy.stats.contingency import association as cramer

from slidenet.auditing.association import association
from slidenet.auditing.shortcut_checks import column_codes
from slidenet.data.labels.encoding import encode_targets
from slidenet.tasks import CoxTask
from slidenet.tasks.targets import quarters


def test_p_is_that_of_the_exact_test():
    known = np.repeat([0, 1], [9, 11])
    label = np.array([1] * 8 + [0] + [1] * 2 + [0] * 9)
    p = np.mean([association(known, label, level=0.001, seed=s).p for s in range(12)])
    found = association(known, label, level=0.001)
    table = [[1, 8], [9, 2]]
    # Permuting the labels keeps both margins: the first cell is hypergeometric.
    first = np.arange(10)
    expected = 9 * 10 / 20
    extreme = np.abs(first - expected) >= abs(1 - expected)
    assert p == pytest.approx(hypergeom(20, 10, 9).pmf(first)[extreme].sum(), rel=0.15)
    assert found.effect == pytest.approx(cramer(np.array(table), method="cramer"))
    assert found.num_patients == 20


def test_chance_is_found_as_often_as_it_should_be():
    rng = np.random.default_rng(0)
    p = [
        association(rng.integers(0, 4, 60), rng.integers(0, 2, 60), level=0.05).p
        for _ in range(200)
    ]
    assert 0.015 < np.mean(np.array(p) < 0.05) < 0.09


def test_a_column_that_tells_everything():
    label = np.array([0, 1, 2] * 10)
    found = association(5 - label, label, level=0.01)
    assert found.effect == pytest.approx(1)
    assert found.auroc == 1.0
    assert found.p < 0.001


def test_missing_and_constant_columns_tell_nothing():
    label = np.array([0, 1] * 20)
    assert association(np.full(40, -1), label, level=0.01).p == 1.0
    assert association(np.zeros(40, int), label, level=0.01).effect == 0.0
    half = association(np.where(np.arange(40) < 20, -1, label), label, level=0.01)
    assert half.num_patients == 20


def test_codes_of_columns():
    assert column_codes(["a", "b", "", "a", "b", "a", "a"]).tolist() == [1, 2, -1, 1, 2, 1, 1]
    numbers = [str(v) for v in range(12)]
    assert column_codes([*numbers, "NA"]).tolist() == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3 + [-1]
    assert column_codes([f"barcode {i}" for i in range(12)]) is None
    assert column_codes(["same"] * 5) is None
    assert quarters(np.array([1.0, 1.0, 1.0, np.nan, 1.0, 9.0])).tolist() == [0, 0, 0, -1, 0, 3]


def test_survival_codes_are_quarters_of_martingale_residuals(tmp_path):
    from slidenet.data.labels.table import read_label_table

    path = tmp_path / "labels.csv"
    path.write_text("slide_id,time,event\na,1,1\nb,2,0\nc,3,1\nd,4,1\n")
    table = read_label_table(path)
    task = CoxTask(("time", "event"))
    codes = task.codes(encode_targets(task, table, table.slide_ids))
    # Hazards 1/4, then 1/2, then 1: residuals 3/4, -1/4, 1/4, -3/4.
    assert codes["time and event"].tolist() == [3, 1, 2, 0]


def test_a_strict_level_is_tested_in_a_second():
    known, label = np.repeat([0, 1], 15), np.repeat([0, 1, 0, 1], [12, 3, 3, 12])
    # Thousands of permutations, one after the other, took seconds for every such column.
    found = association(known, label, level=1e-4)
    extreme = np.r_[0:4, 12:16]
    exact = hypergeom(30, 15, 15).pmf(extreme).sum()
    assert found.p == pytest.approx(exact, rel=0.3)

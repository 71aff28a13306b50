"""Splits by patient: what holds for every cohort, and what is refused."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slidenet.core.errors import ConfigError, LabelError, SplitError
from slidenet.core.records import SlideRow
from slidenet.data.labels.table import LabelTable
from slidenet.data.splits.make import (
    hold_out_validation,
    make_folds,
    make_split,
)
from slidenet.data.splits.record import Split, check_split
from slidenet.tasks import TASKS, BinaryTask, MulticlassTask, MultilabelTask, RegressionTask

BINARY = BinaryTask(("label",), ("0", "1"))


def make_table(patients, *, columns=("label",), sites=None, slides=lambda i: 1):
    """`patients`: one tuple of labels per patient; each has `slides(i)` slides."""
    rows = []
    for i, labels in enumerate(patients):
        cells = dict(zip(columns, map(str, labels), strict=True))
        if sites is not None:
            cells["site"] = sites[i]
        for _ in range(slides(i)):
            rows.append(SlideRow(f"s{len(rows)}", f"s{len(rows)}.svs", None, f"p{i}", cells))
    names = ("slide_id", "patient_id", *columns, *(() if sites is None else ("site",)))
    lines = tuple(range(2, len(rows) + 2))
    return LabelTable(Path("labels.csv"), names, tuple(rows), lines)


def patients_of(table, slides):
    return {table.patient_of(s) for s in slides}


@st.composite
def cohorts(draw):
    num_folds = draw(st.integers(2, 5))
    num_classes = draw(st.integers(2, 4))
    counts = [draw(st.integers(2 * num_folds, 20)) for _ in range(num_classes)]
    labels = [(c,) for c, count in enumerate(counts) for _ in range(count)]
    draw(st.randoms(use_true_random=False)).shuffle(labels)
    extra = draw(st.lists(st.integers(1, 4), min_size=len(labels), max_size=len(labels)))
    task = MulticlassTask(("label",), tuple(map(str, range(num_classes))))
    return make_table(labels, slides=lambda i: extra[i]), task, num_folds


@settings(max_examples=40, deadline=None)
@given(cohorts(), st.integers(0, 10**6), st.sampled_from([0.0, 0.1, 0.25]))
def test_folds_of_any_cohort(cohort, seed, val_fraction):
    table, task, num_folds = cohort
    folds = make_folds(
        table, task, num_folds=num_folds, num_repeats=2, seed=seed, val_fraction=val_fraction
    )
    assert len(folds) == 2 * num_folds
    for repeat in (folds[:num_folds], folds[num_folds:]):
        tested = [s for fold in repeat for s in fold.test]
        assert sorted(tested) == sorted(table.slide_ids)  # each slide once
    for fold in folds:
        parts = [fold.train, fold.val, fold.test]
        assert sorted(s for part in parts for s in part) == sorted(table.slide_ids)
        patients = [patients_of(table, part) for part in parts]
        assert not patients[0] & patients[1] | patients[0] & patients[2] | patients[1] & patients[2]
        for part in parts:
            if part:
                assert set(table.select(part).column("label")) == set(task.class_names)
        assert bool(fold.val) == (val_fraction > 0)
        check_split(fold, table)


def test_patients_with_many_slides_leave_enough_of_a_rare_class_for_val():
    """Proportional by slides, one fold would test three of the four patients of class 1."""
    slides = [1, 1, 1, 1, 4, 1, 1, 1]
    table = make_table([(0,)] * 4 + [(1,)] * 4, slides=lambda i: slides[i])
    task = MulticlassTask(("label",), ("0", "1"))
    for fold in make_folds(table, task, num_folds=2, val_fraction=0.1):
        for part in (fold.train, fold.val, fold.test):
            assert set(table.select(part).column("label")) == {"0", "1"}


@settings(max_examples=20, deadline=None)
@given(cohorts(), st.integers(0, 10**6))
def test_one_split_of_any_cohort(cohort, seed):
    table, task, _ = cohort
    split = make_split(table, task, seed=seed)
    check_split(split, table)
    assert sorted(split.train + split.val + split.test) == sorted(table.slide_ids)
    for part in (split.train, split.val, split.test):
        assert set(table.select(part).column("label")) == set(task.class_names)
    assert split == make_split(table, task, seed=seed)


def test_shares_are_kept_exactly_where_they_can_be():
    table = make_table([(i % 2,) for i in range(100)])
    split = make_split(table, BINARY, val_fraction=0.1, test_fraction=0.2, seed=1)
    for part, count in ((split.train, 35), (split.val, 5), (split.test, 10)):
        assert Counter(table.select(part).column("label")) == {"0": count, "1": count}
    for fold in make_folds(table, BINARY, num_folds=5, val_fraction=0.25, seed=3):
        for part, count in ((fold.train, 30), (fold.val, 10), (fold.test, 10)):
            assert Counter(table.select(part).column("label")) == {"0": count, "1": count}


def test_repeats_and_seeds_differ_and_the_same_seed_does_not():
    table = make_table([(i % 2,) for i in range(40)], slides=lambda i: 1 + i % 3)
    first = make_folds(table, BINARY, num_folds=4, num_repeats=2, seed=0)
    assert first == make_folds(table, BINARY, num_folds=4, num_repeats=2, seed=0)
    assert {f.test for f in first[:4]}.isdisjoint({f.test for f in first[4:]})
    assert {f.test for f in first}.isdisjoint(
        {f.test for f in make_folds(table, BINARY, num_folds=4, seed=1)}
    )
    # the first repeat does not depend on how many there are
    assert first[:4] == make_folds(table, BINARY, num_folds=4, seed=0)


@pytest.mark.parametrize("seed", range(5))
def test_no_two_parts_share_a_patient_by_another_column(seed):
    table = make_table([(i % 2,) for i in range(24)], sites=[f"block{i // 2}" for i in range(24)])
    for fold in make_folds(table, BINARY, num_folds=3, seed=seed, group_column="site"):
        sides = [set(table.select(part).column("site")) for part in (fold.train, fold.val)]
        assert not sides[0] & sides[1]
        check_split(fold, table, group_column="site")


@pytest.mark.parametrize("seed", range(5))
def test_sites_stay_together(seed):
    rng = np.random.default_rng(seed)
    sites = [f"site{s}" for s in rng.integers(0, 12, 120)]
    table = make_table([(int(v),) for v in rng.integers(0, 2, 120)], sites=sites)
    folds = make_folds(table, BINARY, num_folds=4, seed=seed, site_column="site")
    tested = Counter(s for fold in folds for s in set(table.select(fold.test).column("site")))
    assert set(tested.values()) == {1}
    for fold in folds:
        learned = set(table.select(fold.train + fold.val).column("site"))
        assert learned.isdisjoint(table.select(fold.test).column("site"))
        assert 0.12 < len(fold.test) / 120 < 0.4
        check_split(fold, table)


def test_sites_that_share_a_patient_are_one_group():
    rows = []
    for i in range(12):
        for j in range(2):
            site = f"site{(i + j) // 4}" if i != 11 else "site2"
            rows.append(
                SlideRow(f"s{i}_{j}", "", None, f"p{i}", {"label": str(i % 2), "site": site})
            )
    columns = ("slide_id", "patient_id", "label", "site")
    table = LabelTable(Path("labels.csv"), columns, tuple(rows), tuple(range(2, 26)))
    with pytest.raises(SplitError, match="2 folds of 1 groups by site"):
        make_folds(table, BINARY, num_folds=2, site_column="site")


def test_multilabel_every_label_of_both_values_in_every_part():
    rng = np.random.default_rng(0)
    patients = [tuple(int(v) for v in rng.random(3) < (0.5, 0.2, 0.8)) for _ in range(150)]
    patients[7] = ("", 1, 0)
    task = MultilabelTask(("a", "b", "c"))
    table = make_table(patients, columns=("a", "b", "c"))
    for fold in make_folds(table, task, num_folds=5, seed=2):
        for part, share in ((fold.train, 0.64), (fold.val, 0.16), (fold.test, 0.2)):
            assert len(part) / 150 == pytest.approx(share, abs=0.07)
            for column in ("a", "b", "c"):
                counts = Counter(table.select(part).column(column))
                whole = Counter(table.column(column))
                assert counts["1"] / whole["1"] == pytest.approx(share, abs=0.09)


@pytest.mark.parametrize("kind", ["cox", "discrete_time"])
def test_survival_keeps_events_in_proportion(kind):
    rng = np.random.default_rng(1)
    patients = [(round(float(t), 2), int(i < 20)) for i, t in enumerate(rng.exponential(5, 100))]
    edges = (2.0, 5.0) if kind == "discrete_time" else ()
    task = TASKS[kind](("time", "event"), (), edges)
    table = make_table(patients, columns=("time", "event"))
    for fold in make_folds(table, task, num_folds=5, seed=0):
        events = [table.select(part).column("event").count("1") for part in (fold.test, fold.val)]
        assert events == [4, 3]


def test_regression_spreads_the_values():
    table = make_table([(i,) for i in range(80)])
    for fold in make_folds(table, RegressionTask(("label",)), num_folds=4, seed=0):
        values = np.array(table.select(fold.test).column("label"), float)
        assert [((values >= low) & (values < low + 20)).sum() for low in (0, 20, 40, 60)] == [5] * 4


def test_few_values_of_a_regression_are_no_error():
    table = make_table([(v,) for v in (1, 1, 1, 1, 1, 1, 9)])
    folds = make_folds(table, RegressionTask(("label",)), num_folds=3, seed=0)
    assert [len(fold.test) for fold in folds] == [3, 2, 2]


def test_hold_out_validation_leaves_the_test_part_alone():
    table = make_table([(i % 2,) for i in range(40)], slides=lambda i: 2)
    fold = make_folds(table, BINARY, num_folds=4, val_fraction=0)[1]
    found = hold_out_validation(fold, table, BINARY, val_fraction=0.2, seed=3)
    assert found.test == fold.test
    assert sorted(found.train + found.val) == sorted(fold.train)
    assert Counter(table.select(found.val).column("label")) == {"0": 6, "1": 6}
    with pytest.raises(SplitError, match="val of 12 slides already"):
        hold_out_validation(found, table, BINARY)


def test_more_folds_than_patients_of_the_rarest_class():
    table = make_table([(int(i < 3),) for i in range(30)], slides=lambda i: 4)
    message = (
        "class label '1' has 3 patients, fewer than 5 folds; expected every class in every fold. "
        "To fix: ask for at most 3 folds, or merge or leave out the class"
    )
    with pytest.raises(SplitError) as caught:
        make_folds(table, BINARY, num_folds=5)
    assert str(caught.value) == message


def test_a_fold_without_a_class_is_named():
    # Two sites hold all of class 1, one of them nearly everything: three folds cannot all have it.
    sites = ["big"] * 20 + ["small"] * 4 + ["third"] * 6
    labels = [(1,)] * 10 + [(0,)] * 10 + [(1,)] * 2 + [(0,)] * 2 + [(0,)] * 6
    table = make_table(labels, sites=sites)
    with pytest.raises(SplitError, match=r"class label '1' has 2 sites, fewer than 3 folds"):
        make_folds(table, BINARY, num_folds=3, site_column="site")


def test_one_patient_of_a_class_left_for_train_and_val():
    table = make_table([(int(i < 2),) for i in range(12)])
    with pytest.raises(
        SplitError,
        match=r"fold 0, held out: no patient of class label '1', which has 1 patient to draw",
    ):
        make_folds(table, BINARY, num_folds=2, val_fraction=0.2)
    assert len(make_folds(table, BINARY, num_folds=2, val_fraction=0)) == 2


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"num_folds": 1}, "num_folds is 1; expected a whole number of at least 2"),
        ({"num_repeats": 0}, "num_repeats is 0"),
        ({"val_fraction": 1.0}, r"val_fraction is 1.0; expected a share of at least 0 and below 1"),
        ({"val_fraction": -0.1}, "val_fraction is -0.1"),
    ],
)
def test_numbers_out_of_range(settings, match):
    with pytest.raises(ConfigError, match=match):
        make_folds(make_table([(i % 2,) for i in range(10)]), BINARY, **settings)
    with pytest.raises(ConfigError, match="leave nothing to train on"):
        make_split(make_table([(0,), (1,)]), BINARY, val_fraction=0.5, test_fraction=0.5)


def test_missing_columns_and_sites_are_named():
    table = make_table([(i % 2,) for i in range(10)], sites=["a"] * 9 + [""])
    with pytest.raises(LabelError, match="no column 'centre'"):
        make_folds(table, BINARY, num_folds=2, site_column="centre")
    with pytest.raises(SplitError, match=r"labels.csv, column 'site', row 11 \(s9\) is empty"):
        make_folds(table, BINARY, num_folds=2, site_column="site")


@pytest.mark.parametrize(
    ("split", "match"),
    [
        (Split((), (), ("s0",)), "has no slide to train on"),
        (Split(("s0", "x9"), (), ("s2",)), "names slide 'x9' that labels.csv has no row of"),
        (Split(("s0", "s2"), (), ("s2",)), "has slide 's2' in train and test at once"),
        (Split(("s0",), (), ("s1",)), "has slides of patient 'p0' in train and test"),
    ],
)
def test_splits_that_leak_are_refused(split, match):
    table = make_table([(0,), (1,)], slides=lambda i: 2)
    with pytest.raises(SplitError, match=f"fold 1 {match}"):
        check_split(split, table, name="fold 1")
    check_split(Split(("s0", "s1"), (), ("s2",)), table)


def test_every_patient_is_left_out_once():
    table = make_table([(i % 2,) for i in range(8)], slides=lambda i: 1 + i % 2)
    folds = make_folds(table, BINARY, leave_one_out="patient", seed=3)
    assert [patients_of(table, fold.test) for fold in folds] == [{f"p{i}"} for i in range(8)]
    for fold in folds:
        check_split(fold, table)
        assert len(patients_of(table, fold.val)) == 2  # one of each class
        assert Counter({*fold.train, *fold.val, *fold.test}) == Counter(table.slide_ids)


def test_every_site_is_left_out_once_even_with_one_class():
    sites = ["b", "a", "b", "a", "c", "c", "a", "b"]
    labels = [(0,), (0,), (1,), (1,), (1,), (1,), (0,), (0,)]
    table = make_table(labels, sites=sites)
    folds = make_folds(table, BINARY, leave_one_out="site", site_column="site", val_fraction=0)
    tested = [{table.row(s).labels["site"] for s in fold.test} for fold in folds]
    assert tested == [{"b"}, {"a"}, {"c"}]
    assert len(folds[2].test) == 2


def test_leaving_one_out_is_refused_where_it_cannot_be():
    table = make_table([(0,), (0,), (1,), (0,)], sites=["a", "a", "b", "a"])
    with pytest.raises(ConfigError, match=r"give --folds.site-column"):
        make_folds(table, BINARY, leave_one_out="site")
    with pytest.raises(ConfigError, match=r"num_repeats is 2 with leave_one_out 'patient'"):
        make_folds(table, BINARY, leave_one_out="patient", num_repeats=2)
    with pytest.raises(
        SplitError, match=r"fold 0, all but its site: no patient of class label '0'"
    ):
        make_folds(table, BINARY, leave_one_out="site", site_column="site", val_fraction=0)
    alone = make_table([(0,), (1,)], sites=["a", "a"])
    with pytest.raises(SplitError, match=r"all slides are of one site"):
        make_folds(alone, BINARY, leave_one_out="site", site_column="site", val_fraction=0)

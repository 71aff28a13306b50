"""Covariates out of a table: kinds, missing cells, patients, and what is refused."""

import numpy as np
import pytest

from slidenet.core.errors import ConfigError, LabelError
from slidenet.core.records import SlideRow
from slidenet.data import DataSettings
from slidenet.data.covariates import (
    contradicting_patients,
    describe_missing,
    find_kinds,
    read_covariates,
)
from slidenet.mil.covariates import category_code

AGES = ["50", "", "70", "NA", "61.5"]
STAGES = ["I", "II", "unknown", "I", "?"]


def rows(**columns):
    count = len(next(iter(columns.values())))
    return [
        SlideRow(f"s{i}", "", labels={name: cells[i] for name, cells in columns.items()})
        for i in range(count)
    ]


def test_numbers_and_categories_are_told_apart_and_missing_words_are_missing():
    table = rows(age=AGES, stage=STAGES)
    kinds = find_kinds(table, ["age", "stage"], (), source="t.csv")
    assert kinds == {"age": False, "stage": True}
    found = read_covariates(table, kinds, source="t.csv")
    values = np.stack(list(found.values.values()))
    np.testing.assert_array_equal(values[:, 0], [50, np.nan, 70, np.nan, 61.5])
    codes = [category_code("I"), category_code("II"), np.nan, category_code("I"), np.nan]
    np.testing.assert_array_equal(values[:, 1], codes)
    assert found.categories == {"age": None, "stage": ("I", "II")}
    assert (
        "'stage': not known of 2 slides" in describe_missing(found, [[s] for s in found.values])[1]
    )


def test_a_number_may_be_a_category_also_as_spreadsheets_write_it():
    table = rows(stage=["1", "2.0", "1.0", "", "2"])
    kinds = find_kinds(table, ["stage"], ["stage"], source="t.csv")
    assert read_covariates(table, kinds, source="t.csv").categories == {"stage": ("1", "2")}


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (["60", "70", "80", "old"], "holds numbers and 'old'"),
        (["6,5", "7,5", "8", "9", "10", "11"], "decimal point"),
        (["M", "F", "m", "F"], "holds 'M' and 'm'"),
        (["1", "2", "1e39"], "a number up to 1e"),
        (["F", "F", "F", ""], "one value only"),
        (["", "NA", "", "?"], "no value"),
        ([f"code {i}" for i in range(40)], "40 different categories"),
        ([f"2020-01-{i % 9 + 1:02d}" for i in range(30)], "9 different categories in 30 slides"),
    ],
)
def test_columns_that_are_no_covariate_are_refused(cells, words):
    table = rows(x=cells)
    with pytest.raises(LabelError, match=words):
        read_covariates(table, find_kinds(table, ["x"], (), source="t.csv"), source="t.csv")


def test_a_column_that_is_not_there_gets_the_nearest_name():
    with pytest.raises(LabelError, match="did you mean age"):
        find_kinds(rows(age=AGES), ["aeg"], (), source="t.csv")
    with pytest.raises(LabelError, match="did you mean AGE"):
        find_kinds(rows(AGE=AGES, stage=STAGES), ["age"], (), source="t.csv")
    with pytest.raises(LabelError, match="which slide or patient"):
        find_kinds(rows(age=AGES), ["patient_id"], (), source="t.csv")


def test_stages_that_differ_by_a_hyphen_are_two():
    table = rows(stage=["I-II", "III", "I-II", "III"])
    kinds = find_kinds(table, ["stage"], (), source="t.csv")
    assert read_covariates(table, kinds, source="t.csv").categories["stage"] == ("I-II", "III")


def test_slides_of_a_patient_complete_each_other_or_contradict():
    table = rows(age=AGES, stage=STAGES)
    found = read_covariates(table, {"age": False, "stage": True}, source="t.csv")
    np.testing.assert_array_equal(found.of_bag(["s1", "s4"]), [61.5, category_code("II")])
    with pytest.raises(LabelError, match="different values"):
        found.of_bag(["s0", "s2"])
    patients = {"p": ["s0", "s1"], "q": ["s2", "s4"]}
    assert contradicting_patients(found, patients) == {"stage": ["p"], "age": ["q"]}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"covariates": ["label"]}, "is a label column"),
        ({"covariates": ["age", "age"]}, "named twice"),
        ({"covariates": "age"}, "a list"),
        ({"categorical": ["stage"]}, "no covariate"),
        ({"more_features": ["f"]}, "names a folder twice"),
        ({"more_features": ["g"], "bag": "region"}, "bags of kind 'region'"),
    ],
)
def test_settings_that_contradict_each_other(settings, words):
    with pytest.raises(ConfigError, match=words):
        DataSettings(labels="l.csv", features="f", **settings)


def test_a_category_is_read_as_the_model_spells_it():
    table = rows(sex=["m ", "F", "X"], stage=["1", "2", ""])
    kinds = {"sex": True, "stage": True}
    found = read_covariates(table, kinds, source="t.csv", spelled={"sex": {"M", "F"}})
    assert found.categories["sex"] == ("F", "M", "X")
    assert found.notes == ("covariate 'sex': 'm' as 'M', as in training",)


def test_what_is_estimated_follows_from_the_training_bags_alone():
    table = rows(age=["50", "60", "70", "999", ""], stage=["I", "II", "I", "IV", "II"])
    kinds = {"age": False, "stage": True}
    train = [["s0"], ["s1"], ["s2"]]
    first = read_covariates(table, kinds, source="t.csv").fit(train)
    for row in table[3:]:
        row.labels.update(age="-40", stage="III")
    assert read_covariates(table, kinds, source="t.csv").fit(train) == first
    assert first[1].categories == ("I", "II")
    table[0].labels["age"] = "51"
    assert read_covariates(table, kinds, source="t.csv").fit(train) != first

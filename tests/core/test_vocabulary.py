"""Words of tables: what is missing, doubtful, a number, an event, one id in two spellings."""

import math

import pytest

from slidenet.core.vocabulary import (
    as_event,
    as_number,
    as_truth,
    id_spelling,
    is_doubtful,
    is_missing,
    is_missing_number,
    is_no_id,
    look_alike,
    names_patients,
    names_slides,
    spelling,
    tcga_case,
    usual_order,
)

# `pandas.read_csv`, na_values, but for the empty cell.
PANDAS = ("#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN",
          "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null")  # fmt: skip


@pytest.mark.parametrize("cell", ["", *PANDAS, "#VALUE!", "#DIV/0!", "#REF!", "#NV", "NaT"])
def test_missing_in_every_kind_of_column(cell):
    assert is_missing(cell)
    assert is_missing_number(cell)
    assert is_no_id(cell)
    assert not is_doubtful(cell)
    assert not is_missing(cell, class_names=(cell,))


@pytest.mark.parametrize(
    "cell", ["unknown", "Unknown", "?", "-", "[Not Available]", "not_reported", "Equivocal", "'--"]
)
def test_doubtful_words_are_no_class_by_themselves(cell):
    assert is_doubtful(cell)
    assert not is_missing(cell)
    assert is_no_id(cell)


@pytest.mark.parametrize("cell", ["none", "negative", "0", "A", "x", "normal", "unknown primary"])
def test_words_that_may_be_classes(cell):
    assert not is_missing(cell)
    assert not is_doubtful(cell)


def test_a_number_has_no_underscores_and_no_decimal_comma():
    assert as_number("1e3") == 1000
    for cell in ("1_2", "1,5", "inf", "x"):
        assert math.isnan(as_number(cell))


@pytest.mark.parametrize(
    ("cells", "event"),
    [
        (("1", "1.0", "True", "yes", "DECEASED", "1:DECEASED", "dead", "Died", "event",
          "1:Recurred/Progressed", "1:some words of a registry"), 1),
        (("0", "0.0", "False", "no", "LIVING", "0:LIVING", "alive", "censored", "0:DiseaseFree",
          "event-free", "No Relapse"), 0),
    ],
)  # fmt: skip
def test_events_in_numbers_and_words(cells, event):
    assert [as_event(cell) for cell in cells] == [event] * len(cells)


def test_events_that_contradict_themselves_or_are_of_another_coding():
    for cell in ("0:DECEASED", "1:LIVING", "2", "dead of disease", "", "-1"):
        assert math.isnan(as_event(cell))


def test_words_for_0_and_1_of_a_label():
    assert [as_truth(cell) for cell in ("positive", "MUT", "Present", "T")] == [1] * 4
    assert [as_truth(cell) for cell in ("negative", "wild-type", "absent", "F")] == [0] * 4
    assert math.isnan(as_truth("dead"))


def test_spellings_of_one_word_and_of_one_id():
    assert spelling("Non-Tumour") == spelling("non tumour ") == spelling("non_tumour")
    assert spelling("Tumour\u200b") == spelling("\ufefftumour")  # characters that nobody sees
    assert spelling("a") != spelling("b")
    # A hyphen that says something: a sign, or the reach of a range.
    for one, other in (("-1", "1"), ("ER-", "ER"), ("I-II", "III"), ("1-2", "12"), ("T1-2", "T12")):
        assert spelling(one) != spelling(other)
    assert spelling("ER \u2212") == spelling("er-")
    assert spelling("I \u2013 II") == spelling("i-ii")
    assert spelling("HER-2") == spelling("her2")
    assert [spelling(mark) for mark in ("-", "?", "_", "")] == ["-", "?", "_", ""]
    alike = ("P1", "p1", "P 1", "P01", "P-1")
    assert {id_spelling(name) for name in alike[:4]} == {"p1"}
    assert id_spelling("12.0") == id_spelling("012") == "12"
    assert id_spelling("é") == id_spelling("é")  # one letter, or a letter and an accent
    assert id_spelling("S1.svs", file_name=True) == id_spelling("s1", file_name=True)
    different = ("1-11", "11-1", "111", "1 1 1", "P10", "P1", "P100", "1.0.1")
    assert len({id_spelling(name) for name in different}) == len(different)


def test_words_that_look_mistyped():
    for pair in (("tumor", "tumour"), ("ductal", "dcutal"), ("Lobular", "lobularr"),
                 ("pos", "pos."), ("\u0141\u00f3d\u017a", "Lodz"), ("lung", "luung")):  # fmt: skip
        assert look_alike(*pair)
    for pair in (("typical", "atypical"), ("stageI", "stageII"), ("MSI", "MSS"), ("A1", "A11"),
                 ("3", "3+"), ("low", "lows"), ("gradeA", "gradeB")):  # fmt: skip
        assert not look_alike(*pair)


@pytest.mark.parametrize(
    ("names", "order"),
    [
        (("high", "low", "medium"), ("low", "medium", "high")),
        (("Severe", "mild", "None"), ("None", "mild", "Severe")),
        (("G10", "G2", "G1"), ("G1", "G2", "G10")),
        (("III", "I", "II"), ("I", "II", "III")),
        (("2+", "3+", "1+"), ("1+", "2+", "3+")),
        (("stage IV", "stage II"), ("stage II", "stage IV")),
        (("adenoma", "carcinoma"), ()),
        (("low", "adenoma"), ()),
        (("G1", "T2"), ()),
    ],
)
def test_an_order_is_proposed_only_where_it_is_sure(names, order):
    assert usual_order(names) == order


def test_columns_of_patients_and_slides_in_any_spelling():
    for name in ("patient_id", "PATIENT", "Patient ID", "case_id", "submitter_id", "CaseID",
                 "case_submitter_id", "bcr_patient_barcode", "case", "pat_id", "patient no",
                 "SubjectID", "PatID"):  # fmt: skip
        assert names_patients(name)
    for name in ("case_type", "patient_age", "label", "slide_id", "site"):
        assert not names_patients(name)
    assert all(map(names_slides, ("Slide_ID", "FILENAME", "slide", "image_id")))
    assert not names_slides("label")


def test_the_case_of_a_tcga_barcode():
    assert tcga_case("TCGA-AA-3495-01Z-00-DX1.uuid") == "TCGA-AA-3495"
    assert tcga_case("tcga-aa-3495") == "TCGA-AA-3495"
    assert tcga_case("TCGA-AA-34955") is None
    assert tcga_case("slide_1") is None

import pytest

from slidenet.core.text import count_of, name_some, plural, text_table, words_of_loss

ROWS = [("a", "1", "short"), ("bcd", "22", "a sentence")]


def test_the_first_names_stand_for_all():
    assert name_some([]) == ""
    assert name_some(["a", "b"]) == "a, b"
    assert name_some(range(1, 6)) == "1, 2, 3, 4, 5"
    assert name_some(range(1, 8)) == "1, 2, 3, 4, 5 and 2 more"
    assert name_some(iter("abc"), most=1) == "a and 2 more"


@pytest.mark.parametrize(
    ("noun", "number", "text"),
    [("slide", 0, "0 slides"), ("slide", 1, "1 slide"), ("class", 2, "2 classes")],
)
def test_nouns_follow_their_number(noun, number, text):
    assert count_of(noun, number) == text
    assert plural(noun, number) == text.split()[1]


def test_columns_are_as_wide_as_their_widest_cell():
    assert text_table(("name", "n", "detail"), ROWS, right=[1]).splitlines() == [
        "name   n  detail",
        "----  --  ----------",
        "a      1  short",
        "bcd   22  a sentence",
    ]


def test_sentences_do_not_widen_the_line_of_dashes():
    lines = text_table(("name", "n", "detail"), ROWS, ragged=True).splitlines()
    assert lines[1] == "----  --  ------"
    assert text_table(("name", "n", "detail"), [], rule=False) == "name  n  detail"


def test_no_rows_and_empty_cells():
    assert text_table(("a", "bc"), []) == "a  bc\n-  --"
    assert text_table(("a", "b"), [("x", ""), ("", "y")], rule=False) == "a  b\nx\n   y"


def test_a_table_without_a_header():
    assert text_table(None, ROWS, right=[1]) == "a     1  short\nbcd  22  a sentence"
    assert text_table(None, []) == ""


def test_every_row_has_all_columns():
    with pytest.raises(ValueError, match=r"shorter|longer"):
        text_table(("a", "b"), [("x",)])


def test_slides_that_lost_tiles_are_named_the_worst_first():
    assert words_of_loss({"a": (0, 9)}) == []
    assert words_of_loss({"a": (1, 100), "b": (0, 5), "c": (2, 10)}) == [
        "3 tiles of 2 slides could not be read: c (2 of 10), a (1 of 100)"
    ]


def test_columns_stay_straight_whatever_is_written_in_them():
    table = text_table(("id", "n"), [("e\u0301", "1"), ("\u75c5\u7406", "2"), ("abcd", "3")])
    assert table.splitlines() == [
        "id    n",
        "----  -",
        "e\u0301     1",
        "\u75c5\u7406  2",
        "abcd  3",
    ]

from slidenet.core.text_table import text_table

ROWS = [("a", "1", "short"), ("bcd", "22", "a sentence")]


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

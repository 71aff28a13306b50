import pytest

from slidenet.core.words import count_of, name_some, plural


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

import pytest

from slidenet.core.errors import UnknownNameError
from slidenet.core.registry import Registry


@pytest.fixture
def animals():
    registry = Registry("animal")
    for name in ("zebra", "cat", "dog"):
        registry.add(name, name.upper())
    return registry


def test_reads_like_a_sorted_mapping(animals):
    assert list(animals) == ["cat", "dog", "zebra"]
    assert animals["cat"] == "CAT"
    assert "cow" not in animals
    assert len(animals) == 3


def test_unknown_names_propose_the_nearest(animals):
    with pytest.raises(UnknownNameError, match=r"unknown animal 'zebrra'. To fix: did you mean ze"):
        animals["zebrra"]


def test_unknown_names_far_from_all_list_all(animals):
    with pytest.raises(UnknownNameError, match="expected one of cat, dog, zebra"):
        animals["x"]


def test_names_that_others_use_are_answered_with_ours(animals):
    animals.add_other_names({"house_cat": "'cat' (a small one)"})
    with pytest.raises(UnknownNameError) as error:
        animals["House cat"]
    assert str(error.value) == (
        "unknown animal 'House cat'. To fix: 'House cat' is called 'cat' (a small one) here"
    )


def test_a_name_is_given_once(animals):
    with pytest.raises(AssertionError, match="twice"):
        animals.add("cat", "again")

import pytest

from slidenet.core.errors import MissingExtraError
from slidenet.core.extras import data_frame, require_extra


def test_imports_what_is_there():
    assert require_extra("json", extra="x", purpose="reading").loads("1") == 1


def test_says_what_to_install():
    with pytest.raises(MissingExtraError, match=r"drawing needs .*pip install 'slidenet\[plots\]'"):
        require_extra("no_such_package", extra="plots", purpose="drawing")


def test_rows_of_different_keys_become_one_table():
    table = data_frame([{"a": 1}, {"b": 2, "a": 3}])
    assert list(table.columns) == ["a", "b"]
    assert list(table["a"]) == [1, 3]
    assert list(data_frame([]).columns) == []

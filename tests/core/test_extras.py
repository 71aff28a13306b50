import pytest

from slidenet.core.errors import MissingExtraError
from slidenet.core.extras import require_extra


def test_imports_what_is_there():
    assert require_extra("json", extra="x", purpose="reading").loads("1") == 1


def test_says_what_to_install():
    with pytest.raises(MissingExtraError, match=r"drawing needs .*pip install 'slidenet\[plots\]'"):
        require_extra("no_such_package", extra="plots", purpose="drawing")

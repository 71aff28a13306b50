import numpy as np
import pytest

from slidenet.core.checks import (
    check_choice,
    check_not_negative,
    check_positive,
    check_share,
    check_whole,
    refused,
)
from slidenet.core.errors import ConfigError, ParallelError

NAN, INF = float("nan"), float("inf")


def test_what_is_allowed_passes():
    check_whole(a=1, b=np.int64(3), c=10**30)
    check_whole(least=0, a=0)
    check_whole(least=-2, a=-2)
    check_whole(or_none=True, a=None, b=1)
    check_positive(a=1, b=1e-300, c=np.float32(0.5))
    check_not_negative(a=0, b=0.0, c=np.float64(2))
    check_share(a=0, b=1, c=0.5)
    check_share(above_zero=True, a=1, b=1e-300)
    check_share(below_one=True, a=0, b=0.999)
    check_choice(("x", "y"), a="x")
    check_choice(iter(("x", "y")), a="x", b="y")
    check_whole()


@pytest.mark.parametrize("value", [0, -1, 2.5, 1.0, True, "3", None, NAN, [1]], ids=str)
def test_whole_numbers(value):
    with pytest.raises(ConfigError, match=r"^a is .*; expected a whole number of at least 1$"):
        check_whole(a=value)


def test_whole_numbers_of_at_least_something_or_none():
    with pytest.raises(ConfigError, match=r"^folds is 1; expected a whole number of at least 2$"):
        check_whole(least=2, good=2, folds=1)
    with pytest.raises(ConfigError, match=r"^a is 0; expected .* of at least 1, or none$"):
        check_whole(or_none=True, a=0)


@pytest.mark.parametrize("value", [0, 0.0, -1, NAN, INF, True, "3", None], ids=str)
def test_positive_numbers(value):
    with pytest.raises(ConfigError, match=r"^a is .*; expected a finite number above 0$"):
        check_positive(a=value)


@pytest.mark.parametrize("value", [-1e-300, NAN, INF, -INF, False, "0", None], ids=str)
def test_numbers_that_are_not_negative(value):
    with pytest.raises(ConfigError, match=r"^a is .*; expected a finite number of at least 0$"):
        check_not_negative(a=value)


@pytest.mark.parametrize(
    ("ends", "value", "expected"),
    [
        ({}, -0.1, "a share from 0 to 1"),
        ({}, 1.1, "a share from 0 to 1"),
        ({}, NAN, "a share from 0 to 1"),
        ({}, "0.5", "a share from 0 to 1"),
        ({"below_one": True}, 1, "a share of at least 0 and below 1"),
        ({"above_zero": True}, 0, "a share above 0 and at most 1"),
        ({"above_zero": True, "below_one": True}, 1.0, "a share above 0 and below 1"),
    ],
)
def test_shares(ends, value, expected):
    with pytest.raises(ConfigError) as caught:
        check_share(**ends, a=value)
    assert caught.value.expected == expected


def test_choices():
    with pytest.raises(ConfigError, match=r"^how is 'z'; expected one of x, y$"):
        check_choice(("x", "y"), how="z")
    with pytest.raises(ConfigError, match=r"^how is None; expected one of x, y$"):
        check_choice(("x", "y"), how=None)


def test_the_first_setting_out_of_range_is_named_and_the_error_is_the_rooms():
    with pytest.raises(ParallelError, match=r"^b is -1;"):
        check_whole(error=ParallelError, a=1, b=-1, c=0)
    error = refused("inks", ["pink"], "some of blue, green", ParallelError)
    assert isinstance(error, ParallelError)
    assert str(error) == "inks is ['pink']; expected some of blue, green"


def test_numbers_of_numpy_are_shown_as_numbers():
    with pytest.raises(ConfigError, match=r"^a is 0;"):
        check_whole(a=np.int64(0))

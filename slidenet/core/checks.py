"""Checks of arguments and settings, in one dialect: "NAME is VALUE; expected ...".

Every check takes the settings as keywords, so that a message names them as the caller does, and an
error class, so that a room raises its own kind of `SlidenetError`.
"""

import math
from collections.abc import Iterable

from slidenet.core.errors import ConfigError, SlidenetError

ErrorClass = type[SlidenetError]


def check_whole(*, least: int = 1, error: ErrorClass = ConfigError, **settings: object) -> None:
    """Refuses anything but whole numbers of at least `least`; bools are no numbers.

    Raises:
        ConfigError: (or `error`) Naming the setting and its value.
    """
    for name, value in settings.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise refused(name, value, f"a whole number of at least {least}", error)


def check_positive(*, error: ErrorClass = ConfigError, **settings: float) -> None:
    """Refuses numbers that are not finite and above zero.

    Raises:
        ConfigError: (or `error`) Naming the setting and its value.
    """
    for name, value in settings.items():
        if not (value > 0 and math.isfinite(value)):
            raise refused(name, value, "a positive number", error)


def check_not_negative(*, error: ErrorClass = ConfigError, **settings: float) -> None:
    """Refuses numbers below zero, infinite ones and NaN.

    Raises:
        ConfigError: (or `error`) Naming the setting and its value.
    """
    for name, value in settings.items():
        if not (value >= 0 and math.isfinite(value)):
            raise refused(name, value, "a finite number of at least 0", error)


def check_share(
    *, below_one: bool = False, error: ErrorClass = ConfigError, **settings: float
) -> None:
    """Refuses anything outside [0, 1], or outside [0, 1) where all of it makes no sense.

    Raises:
        ConfigError: (or `error`) Naming the setting and its value.
    """
    for name, value in settings.items():
        if not (0 <= value < 1 or (value == 1 and not below_one)):
            expected = "a share of at least 0 and below 1" if below_one else "a share from 0 to 1"
            raise refused(name, value, expected, error)


def check_choice(
    choices: Iterable[str], *, error: ErrorClass = ConfigError, **settings: object
) -> None:
    """Refuses values that are none of `choices`.

    Raises:
        ConfigError: (or `error`) Naming the setting and its value.
    """
    choices = tuple(choices)
    for name, value in settings.items():
        if value not in choices:
            raise refused(name, value, f"one of {', '.join(choices)}", error)


def refused(
    name: str, value: object, expected: str, error: ErrorClass = ConfigError
) -> SlidenetError:
    """The error for a setting that is out of range, for checks that stand alone."""
    return error(f"{name} is {value!r}", expected=expected)

"""Checks of arguments and settings, in one dialect: "NAME is VALUE; expected ...".

Every check takes the settings as keywords, so that a message names them as the caller does, and an
error class, so that a room raises its own kind of `SlidenetError`. Settings come from files and
command lines too: a value of another type is refused like one out of range, and NaN always is.
"""

import math
from collections.abc import Iterable
from dataclasses import fields
from numbers import Integral, Real
from typing import Any, TypeGuard

import numpy as np

from slidenet.core.errors import ConfigError, SlidenetError

ErrorClass = type[SlidenetError]


def check_whole(
    *, least: int = 1, or_none: bool = False, error: ErrorClass = ConfigError, **settings: object
) -> None:
    """Refuses anything but whole numbers of at least `least`; bools are no numbers.

    Args:
        least: The smallest number that is allowed.
        or_none: Whether None (not given) is allowed, too.
        error: What to raise.
        **settings: Names and values.

    Raises:
        ConfigError: (or `error`) Naming the setting and its value.
    """
    for name, value in settings.items():
        if value is None and or_none:
            continue
        if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
            expected = f"a whole number of at least {least}{', or none' if or_none else ''}"
            raise refused(name, value, expected, error)


def check_positive(*, error: ErrorClass = ConfigError, **settings: object) -> None:
    """Refuses anything but finite numbers above zero.

    Raises:
        ConfigError: (or `error`) Naming the setting and its value.
    """
    for name, value in settings.items():
        if not _is_finite(value) or value <= 0:
            raise refused(name, value, "a finite number above 0", error)


def check_not_negative(*, error: ErrorClass = ConfigError, **settings: object) -> None:
    """Refuses anything but finite numbers of at least zero.

    Raises:
        ConfigError: (or `error`) Naming the setting and its value.
    """
    for name, value in settings.items():
        if not _is_finite(value) or value < 0:
            raise refused(name, value, "a finite number of at least 0", error)


def check_share(
    *,
    above_zero: bool = False,
    below_one: bool = False,
    error: ErrorClass = ConfigError,
    **settings: object,
) -> None:
    """Refuses anything outside [0, 1].

    Args:
        above_zero: Refuses 0, where nothing of it makes no sense.
        below_one: Refuses 1, where all of it makes no sense.
        error: What to raise.
        **settings: Names and values.

    Raises:
        ConfigError: (or `error`) Naming the setting and its value.
    """
    for name, value in settings.items():
        inside = _is_finite(value) and 0 <= value <= 1
        if not inside or (above_zero and value == 0) or (below_one and value == 1):
            expected = "a share from 0 to 1"
            if above_zero or below_one:
                low = "above 0" if above_zero else "of at least 0"
                expected = f"a share {low} and {'below 1' if below_one else 'at most 1'}"
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


def plain_numbers(settings: Any) -> None:
    """Turns whole numbers of NumPy in the fields of a frozen dataclass into Python's own.

    Settings are written into files and graphs as text, where both must be the same.
    """
    for field in fields(settings):
        value = getattr(settings, field.name)
        if isinstance(value, np.integer):
            object.__setattr__(settings, field.name, int(value))


def refused(
    name: str, value: object, expected: str, error: ErrorClass = ConfigError
) -> SlidenetError:
    """The error for a setting that is out of range, for checks that stand alone."""
    shown = repr(value) if isinstance(value, str) else str(value)
    return error(f"{name} is {shown}", expected=expected)


def _is_finite(value: object) -> TypeGuard[float]:
    return not isinstance(value, bool) and isinstance(value, Real) and math.isfinite(value)

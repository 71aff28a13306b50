"""Checks of the settings a pattern is made with."""

from collections.abc import Sequence

from slidenet.core.errors import AttentionError


def check_at_least(least: int, pattern: object, *settings: str) -> None:
    """Refuses settings of `pattern` that are not whole numbers of at least `least`.

    Raises:
        AttentionError: Naming the pattern, the setting and its value.
    """
    for setting in settings:
        value = getattr(pattern, setting)
        if not _is_whole(value) or value < least:
            raise _bad(pattern, setting, f"a whole number of at least {least}")


def check_choice(pattern: object, setting: str, choices: Sequence[str]) -> None:
    """Refuses a setting of `pattern` that is none of `choices`.

    Raises:
        AttentionError: Naming the pattern, the setting and its value.
    """
    if getattr(pattern, setting) not in choices:
        raise _bad(pattern, setting, "one of " + ", ".join(map(repr, choices)))


def check_positions(pattern: object, setting: str) -> None:
    """Refuses a tuple of token positions with a negative, fractional or repeated one.

    Raises:
        AttentionError: Naming the pattern, the setting and its value.
    """
    positions = getattr(pattern, setting)
    whole = all(_is_whole(x) and x >= 0 for x in positions)
    if not whole or len(set(positions)) < len(positions):
        raise _bad(pattern, setting, "distinct positions, counted from 0")


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _bad(pattern: object, setting: str, expected: str) -> AttentionError:
    return AttentionError(
        f"{setting} of {type(pattern).__name__} is {getattr(pattern, setting)!r}", expected=expected
    )

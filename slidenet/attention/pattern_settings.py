"""Checks of the numbers a pattern is set up with."""

from slidenet.core.errors import AttentionError


def check_at_least(least: int, pattern: object, *settings: str) -> None:
    """Refuses settings of `pattern` that are not whole numbers of at least `least`.

    Raises:
        AttentionError: Naming the pattern, the setting and its value.
    """
    for setting in settings:
        value = getattr(pattern, setting)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise AttentionError(
                f"{setting} of {type(pattern).__name__} is {value!r}",
                expected=f"a whole number of at least {least}",
            )

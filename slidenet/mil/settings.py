"""Ranges of the settings of models on bags, with one wording for all of them."""

from slidenet.core.errors import ConfigError


def check_positive(**settings: int) -> None:
    """Refuses anything but whole numbers of at least 1.

    Raises:
        ConfigError: Naming the setting and its value.
    """
    for name, value in settings.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ConfigError(f"{name}={value!r}", expected="a whole number of at least 1")


def check_share(**settings: float) -> None:
    """Refuses anything outside [0, 1).

    Raises:
        ConfigError: Naming the setting and its value.
    """
    for name, value in settings.items():
        if not 0 <= value < 1:
            raise ConfigError(f"{name}={value!r}", expected="a share in [0, 1)")


def check_not_negative(**settings: float) -> None:
    """Refuses numbers below zero, infinite ones and NaN.

    Raises:
        ConfigError: Naming the setting and its value.
    """
    for name, value in settings.items():
        if not 0 <= value < float("inf"):
            raise ConfigError(f"{name}={value!r}", expected="a finite number of at least 0")


def check_choice(choices: tuple[str, ...], **settings: str) -> None:
    """Refuses values that are none of `choices`.

    Raises:
        ConfigError: Naming the setting and its value.
    """
    for name, value in settings.items():
        if value not in choices:
            raise ConfigError(
                f"{name}={value!r}", expected=f"one of {', '.join(map(repr, choices))}"
            )

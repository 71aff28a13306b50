"""What the width of an attention window counts, and how files say which meaning they were made in.

At first a causal window of w was w // 2 + 1 keys wide, and `strided` had a window of 128 unless
told otherwise ("half"). Now a causal window of w holds w keys, as in Mistral, and `strided` takes
the window it needs ("keys"). Files of the patterns concerned carry the rule from then on; settings
in a file that says nothing are older, and mean "half".

Slide encoders are never causal, so that for them the two rules differ in one thing only: the
window of `strided` where none is given.
"""

from collections.abc import Mapping
from typing import Any, Literal

from slidenet.core.provenance import Identity

WindowRule = Literal["keys", "half"]

RULE = "window_rule"
"""The setting of a pattern, and the mark in files."""

WINDOW_PATTERNS = ("bigbird", "longformer", "sliding_window", "strided")
"""Names of the patterns that have the setting."""

_SETTINGS = "attention_settings"


def with_rule(pattern: object, settings: Mapping[str, Any], rule: WindowRule) -> dict[str, Any]:
    """Settings of a pattern that say the rule, where it has one; `rule` where they did not.

    Args:
        pattern: Its name; anything else is left as it is.
        settings: Of the pattern, by name.
        rule: "keys" for settings of today, "half" for those of a file without the mark.
    """
    return {RULE: rule, **settings} if pattern in WINDOW_PATTERNS else dict(settings)


def network_with_rule(network_settings: Mapping[str, Any], rule: WindowRule) -> dict[str, Any]:
    """`with_rule` for the settings of a bag model that name an attention pattern."""
    settings, pattern = dict(network_settings), network_settings.get("attention")
    if pattern in WINDOW_PATTERNS:
        settings[_SETTINGS] = with_rule(pattern, settings.get(_SETTINGS) or {}, rule)
    return settings


def rule_of_text(text: str) -> WindowRule:
    """The rule of a run that goes on: "half" where the file that says what it is has no mark.

    Args:
        text: Of that file (JSON).
    """
    return "keys" if RULE in text else "half"


def without_idle_rule(identity: Identity) -> dict[str, Any]:
    """An identity to compare with one of another age: without marks that change no number.

    "half" is what an identity without the mark means. "keys" means the same in a slide encoder,
    unless its pattern is `strided` without a window. The sampling "fixed" is "periodic" by now.

    Args:
        identity: Of an embedding or a run, at any depth.
    """
    plain: dict[str, Any] = {}
    for key, value in identity.items():
        plain[key] = without_idle_rule(value) if isinstance(value, Mapping) else value
    settings = plain.get(_SETTINGS)
    if isinstance(settings, dict):
        needs_rule = identity.get("attention") == "strided" and settings.get("window") is None
        if settings.get(RULE) == "half" or not needs_rule:
            settings.pop(RULE, None)
        if settings.get("sampling") == "fixed":
            settings["sampling"] = "periodic"
        if not settings:
            del plain[_SETTINGS]
    return plain

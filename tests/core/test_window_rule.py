"""The mark of what a window counts: written for the patterns concerned, missing in old files."""

import inspect

import pytest

from slidenet.attention import ATTENTION_PATTERNS
from slidenet.core.window_rule import (
    RULE,
    WINDOW_PATTERNS,
    network_with_rule,
    rule_of_text,
    with_rule,
    without_idle_rule,
)


def test_the_patterns_concerned_are_those_with_the_setting():
    having = [n for n, p in ATTENTION_PATTERNS.items() if RULE in inspect.signature(p).parameters]
    assert tuple(having) == WINDOW_PATTERNS


def test_only_they_are_marked_and_what_is_said_stays():
    assert with_rule("strided", {"window": 3}, "keys") == {"window": 3, RULE: "keys"}
    assert with_rule("strided", {RULE: "half"}, "keys") == {RULE: "half"}
    assert with_rule("dilated", {"padding": "masked"}, "half") == {"padding": "masked"}
    assert network_with_rule({"attention": "longformer"}, "half") == {
        "attention": "longformer",
        "attention_settings": {RULE: "half"},
    }
    assert network_with_rule({"attention": None, "depth": 2}, "half") == {
        "attention": None,
        "depth": 2,
    }


def test_a_run_goes_on_as_it_was_begun():
    assert rule_of_text('{"attention":"strided"}') == "half"
    settings = '{"attention":"strided","attention_settings":{"window_rule":"keys"}}'
    assert rule_of_text(settings) == "keys"


@pytest.mark.parametrize(
    ("pattern", "old", "new", "alike"),
    [
        ("sliding_window", {"window": 5}, {"window": 5, RULE: "keys"}, True),
        ("longformer", {}, {RULE: "half"}, True),
        ("strided", {"window": 5}, {"window": 5, RULE: "keys"}, True),
        ("strided", {}, {RULE: "keys"}, False),
        ("strided", {}, {RULE: "half"}, True),
        ("strided", {"window": 5}, {"window": 6, RULE: "keys"}, False),
        ("strided", {"sampling": "fixed"}, {"sampling": "periodic", RULE: "half"}, True),
        ("dilated", {}, {}, True),
    ],
)
def test_identities_of_both_ages_are_alike_where_the_numbers_are(pattern, old, new, alike):
    def identity(settings):
        return {"slide_encoder": {"attention": pattern, "attention_settings": settings}}

    assert (without_idle_rule(identity(old)) == without_idle_rule(identity(new))) == alike

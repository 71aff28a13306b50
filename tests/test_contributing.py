"""CONTRIBUTING.md names files: each of them must be there, or the recipe is not true."""

import re
from pathlib import Path

import pytest

from slidenet.core.plugins import PLUGIN_GROUPS

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
PATHS = sorted(set(re.findall(r"`((?:slidenet|tests|docs|configs|scripts)/[\w./-]*)`", TEXT)))


@pytest.mark.parametrize("path", PATHS)
def test_what_it_names_is_there(path):
    assert (ROOT / path).exists()


def test_it_has_a_recipe_for_twenty_changes():
    assert [int(n) for n in re.findall(r"^### (\d+)\. ", TEXT, re.MULTILINE)] == list(range(1, 21))


def test_it_names_every_group_of_plugins():
    assert all(f"`{group}`" in TEXT for group in PLUGIN_GROUPS)

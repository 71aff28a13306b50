"""Classes as QuPath and ASAP write them, and which of them take their area out."""

import re
from collections.abc import Collection

from slidenet.core.errors import SlideError
from slidenet.tissue.regions.contents import shown

MAX_NAME = 200
"""Longest class or name, characters."""

_DERIVED = ": "
_EXCLUDING = re.compile(
    r"ignored?\b.*|excluded?|exclusion|(?:.*[\s_-])?art[ei]facts?[\s_-]?\d*", re.IGNORECASE
)
_TRAINING_ONLY = "region*"
"""QuPath's class for areas of training pictures: its star does not say "ignore"."""


def class_of(value: object, label: str) -> str | None:
    """The class in `properties.classification`; derived ones as "Tumor: Positive".

    Raises:
        SlideError: It is neither a text, nor an object with `name` or `names`.
    """
    if isinstance(value, dict):
        names = value.get("names")
        if names is None or names == []:
            value = value.get("name")
        elif isinstance(names, list) and all(isinstance(name, str) for name in names):
            value = _DERIVED.join(names)
        else:
            raise SlideError(
                f"{label} has a class with names that are {shown(names)}",
                expected="an array of texts",
            )
    return text_of(value, f"the class of {label}")


def text_of(value: object, what: str) -> str | None:
    """A class or a name as one line; None where it is missing or empty.

    Raises:
        SlideError: It is no text, or a page long.
    """
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or len(value) > MAX_NAME:
        raise SlideError(
            f"{what} is {shown(value)}", expected=f"a text of at most {MAX_NAME} characters"
        )
    # What cannot be printed would reach the terminal, tables and pages.
    return " ".join("".join(c if c.isprintable() else " " for c in value).split()) or None


def belongs_to(classification: str | None, wanted: str) -> bool:
    """Whether it is that class or derived from it ("Tumor: Positive" from "Tumor")."""
    return classification is not None and (
        classification == wanted or classification.startswith(wanted + _DERIVED)
    )


def says_exclude(classification: str | None, name: str | None) -> bool:
    """Whether the class or the name of a region says that its area is not to be used.

    "Ignore*", artefacts in both spellings and ASAP's "Exclusion"; of derived classes any part.
    Also every other class that ends in a star, as QuPath marks what it ignores ("Region*", its
    class for areas of training, excepted).
    """
    parts = [part.strip() for part in (classification or "").split(_DERIVED.strip())]
    if any(part.endswith("*") and part.lower() != _TRAINING_ONLY for part in parts):
        return True
    return any(_EXCLUDING.fullmatch(text.rstrip("*").strip()) for text in (*parts, name or ""))


def is_named(classification: str | None, classes: Collection[str]) -> bool:
    """Whether one of `classes` is meant, whatever the case of its letters."""
    folded = None if classification is None else classification.casefold()
    return any(belongs_to(folded, name.casefold()) for name in classes)

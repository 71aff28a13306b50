"""Classes as QuPath and ASAP write them, and which of them take their area out."""

import re
import unicodedata
from collections.abc import Collection

from slidenet.core.errors import SlideError
from slidenet.tissue.regions.contents import shown

MAX_NAME = 200
"""Longest class or name, characters."""

_DERIVED = ": "
_SAYS_IGNORE = r"ignored?\b.*|excluded?|exclusion"
_NOT_WITHOUT = r"(?!(?:no|non|without)[\s_-])"
_EXCLUDING_CLASS = re.compile(
    rf"{_SAYS_IGNORE}|{_NOT_WITHOUT}(?:.*[\s_-])?art[ei]facts?(?![a-z]|[\s_-]*free).*",
    re.IGNORECASE,
)
# A name is free text: "tumour with artefacts" is a tumour.
_EXCLUDING_NAME = re.compile(
    rf"{_SAYS_IGNORE}|{_NOT_WITHOUT}(?:\w+[\s_-])?art[ei]facts?[\s_-]?\d*", re.IGNORECASE
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
    # One spelling of an accent, however it was typed. What cannot be printed would reach the
    # terminal, tables and pages.
    value = unicodedata.normalize("NFC", value)
    return " ".join("".join(c if c.isprintable() else " " for c in value).split()) or None


def belongs_to(classification: str | None, wanted: str) -> bool:
    """Whether it is that class or derived from it ("Tumor: Positive" from "Tumor")."""
    wanted = unicodedata.normalize("NFC", wanted)
    return classification is not None and (
        classification == wanted or classification.startswith(wanted + _DERIVED)
    )


def class_excludes(classification: str | None) -> bool:
    """Whether a class says that its areas are not to be used.

    "Ignore*", artefacts in both spellings and ASAP's "Exclusion"; of derived classes any part.
    Also every other class that ends in a star, as QuPath marks what it ignores ("Region*", its
    class for areas of training, excepted).
    """
    parts = [part.strip() for part in (classification or "").split(_DERIVED.strip())]
    return any(
        (part.endswith("*") and part.lower() != _TRAINING_ONLY)
        or _EXCLUDING_CLASS.fullmatch(part.rstrip("*").strip())
        for part in parts
    )


def name_excludes(name: str | None) -> bool:
    """Whether the name of a region says no more than to ignore it, or that it is an artefact."""
    return bool(_EXCLUDING_NAME.fullmatch((name or "").rstrip("*").strip()))


def is_named(classification: str | None, classes: Collection[str]) -> bool:
    """Whether one of `classes` is meant, whatever the case of its letters."""
    folded = None if classification is None else classification.casefold()
    return any(belongs_to(folded, name.casefold()) for name in classes)

"""Names and numbers as they stand in messages: `a, b, c and 7 more`, `3 slides`."""

from collections.abc import Iterable

MOST_NAMED = 5


def name_some(names: Iterable[object], *, most: int = MOST_NAMED) -> str:
    """The first names, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(map(str, listed[:most])) + more


def plural(noun: str, number: int) -> str:
    """The noun as it follows the number: `slide` after 1, `slides` and `classes` after others."""
    if number == 1:
        return noun
    return f"{noun}es" if noun.endswith("s") else f"{noun}s"


def count_of(noun: str, number: int) -> str:
    """`1 slide`, `25 slides`, `3 classes`."""
    return f"{number} {plural(noun, number)}"

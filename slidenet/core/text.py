"""Text as messages and verbs show it: `a, b, c and 7 more`, `3 slides`, tables."""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from slidenet.core.escapes import MOST_LETTERS, in_terminal, shorten

MOST_NAMED = 5


def name_some(
    names: Iterable[object], *, most: int = MOST_NAMED, longest: int = MOST_LETTERS
) -> str:
    """The first names, each cut to `longest` letters, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(shorten(str(name), longest) for name in listed[:most]) + more


def plural(noun: str, number: int) -> str:
    """The noun as it follows the number: `slide` after 1, `slides` and `classes` after others."""
    if number == 1:
        return noun
    return f"{noun}es" if noun.endswith("s") else f"{noun}s"


def count_of(noun: str, number: int) -> str:
    """`1 slide`, `25 slides`, `3 classes`."""
    return f"{number} {plural(noun, number)}"


def words_of_loss(tiles: Mapping[str, tuple[int, int]]) -> list[str]:
    """Which slides lack how many tiles: one line, or none where all could be read.

    Args:
        tiles: Of each slide, how many could not be read, of how many.
    """
    hurt = {slide: counts for slide, counts in tiles.items() if counts[0]}
    if not hurt:
        return []
    worst = sorted(hurt, key=lambda slide: -hurt[slide][0] / hurt[slide][1])
    named = name_some(f"{slide} ({hurt[slide][0]} of {hurt[slide][1]})" for slide in worst)
    total = count_of("tile", sum(lost for lost, _ in hurt.values()))
    return [f"{total} of {count_of('slide', len(hurt))} could not be read: {named}"]


def text_table(
    header: Sequence[str] | None,
    rows: Sequence[Sequence[str]],
    *,
    right: Sequence[int] = (),
    rule: bool = True,
    ragged: bool = False,
) -> str:
    """Columns as wide as their widest cell, two spaces apart, without spaces at the end of lines.

    Args:
        header: Names of the columns; None for a table without.
        rows: Cells, as many per row as there are columns.
        right: Columns aligned to the right (numbers).
        rule: Whether a line of dashes stands under the header.
        ragged: The last column holds sentences: the line of dashes ends where its name does.
    """
    given = [*([] if header is None else [header]), *rows]
    lines = [[in_terminal(cell) for cell in line] for line in given]
    widths = [max(map(_width, cells)) for cells in zip(*lines, strict=True)]
    if header is not None and rule:
        dashes = ["-" * width for width in widths]
        if ragged:
            dashes[-1] = "-" * len(header[-1])
        lines.insert(1, dashes)
    return "\n".join(
        "  ".join(
            _pad(cell, width) + cell if column in right else cell + _pad(cell, width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _pad(cell: str, width: int) -> str:
    return " " * (width - _width(cell))


def _width(text: str) -> int:
    """Columns of a terminal: two for East Asian signs and emoji, none for accents of their own."""
    if text.isascii():
        return len(text)
    return sum(
        0
        if unicodedata.category(sign) in ("Mn", "Me")
        else 1 + (unicodedata.east_asian_width(sign) in "WF")
        for sign in text
    )

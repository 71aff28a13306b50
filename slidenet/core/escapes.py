"""Names that others chose, on their way to programs that read signs as commands.

One function per reader: a terminal, a figure of matplotlib, markdown, HTML, a spreadsheet, QuPath.
Names of classes, columns, slides, sites and files come from tables and files, and may hold
anything.
"""

import html
import re
import unicodedata

MOST_LETTERS = 100
"""Of a name in a message, a figure or a table; longer ones are cut."""

_MARKDOWN = re.compile(r"([\\`*{}\[\]<>#|~&$]|(?<!\w)_|_(?!\w))")  # not in snake_case
_ITEM = re.compile(r"^(\d*)([-+=.)])(?=\s|$)")
_FORMULA = re.compile(r"'*[=+\-@\t\r]")


def shorten(text: str, most: int = MOST_LETTERS) -> str:
    """The text, cut where it is longer than `most` letters."""
    return text if len(text) <= most else text[: most - 1] + "…"


def in_terminal(text: str, *, keep: str = "") -> str:
    """Text for a terminal, on one line.

    What moves the cursor, sets colours, turns the direction of writing or ends the line is shown as
    Python writes it in a text: a backslash and a letter, or a number.

    Args:
        text: Anything.
        keep: Signs to leave as they are, such as the ends of lines.
    """
    if text.isprintable():
        return text
    return "".join(
        sign
        if sign.isprintable() or sign in keep or unicodedata.category(sign) == "Zs"
        else sign.encode("unicode_escape").decode()
        for sign in text
    )


def in_markdown(text: str) -> str:
    """Text that markdown shows as it is, on one line."""
    line = _MARKDOWN.sub(r"\\\1", in_terminal(" ".join(text.split())))
    return _ITEM.sub(r"\1\\\2", line)


def in_html(text: str) -> str:
    """Text that HTML shows as it is, in elements and quoted attributes."""
    return html.escape(in_terminal(text), quote=True)


def in_qupath(text: str) -> str:
    """The name of a class that QuPath takes as one name.

    QuPath refuses ends of lines in the name of a class, reads a colon as the step to a derived
    class, and a star at the end as "ignore this class".
    """
    line = " ".join(in_terminal(text).split()).replace(":", "\u2236")  # the sign of a ratio
    return line + "." if line.endswith("*") else line


def in_spreadsheet(cell: str) -> str:
    """A cell that a spreadsheet takes for text, and slidenet for the same text.

    A spreadsheet calculates what begins with = + - or @, and drops a leading apostrophe, which says
    that text follows. So such cells get an apostrophe. Numbers stay numbers.
    """
    if _FORMULA.match(cell) and not _is_number(cell):
        return "'" + cell
    return cell


def from_spreadsheet(cell: str) -> str:
    """The cell as it was given to `in_spreadsheet`."""
    if cell.startswith("'") and _FORMULA.match(cell):
        return cell[1:]
    return cell


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True

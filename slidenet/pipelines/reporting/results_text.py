"""`results.md` and `report.md` as parts of the page: headings, sentences, lists and tables.

This reads what `pipelines.results.sections` and `evaluation.report.markdown` write, and is no
reader of markdown: whatever else stands in the file is shown as text.
"""

import re
from pathlib import Path

from slidenet.visualisation.html import (
    Column,
    Html,
    element,
    figure,
    listing,
    note,
    paragraph,
    picture_of_file,
    table,
)

MOST_BYTES, MOST_ROWS = 2_000_000, 500

_ESCAPED = re.compile(r"\\([\\`*{}\[\]<>#|~&$_\-+=.)])")
_CELL_END = re.compile(r" \| ")
_PICTURE = re.compile(r"!\[(.*)\]\(([\w-]+\.png)\)")


def shown_results(path: Path) -> list[Html]:
    """The content of a file of results but for its pictures; nothing where it cannot be read."""
    parts: list[Html] = []
    for block in _blocks(path):
        lines = block.splitlines()
        if block.startswith("|") and len(lines) > 1:
            parts.append(_table(lines))
        elif block.startswith("## "):
            parts.append(element("h4", _plain(block[3:])))
        elif block.startswith("**") and block.endswith("**"):
            parts.append(note("bad", _plain(block[2:-2])))
        elif block.startswith("- "):
            parts.append(listing(_plain(line.removeprefix("- ")) for line in lines))
        elif block and not block.startswith("# ") and not _PICTURE.fullmatch(block):
            parts.append(paragraph(_plain(" ".join(lines))))
    return parts


def shown_pictures(path: Path, *, longest: int) -> list[Html]:
    """The pictures that a file of results names, which lie beside it.

    Args:
        path: The file.
        longest: Pixels of the longer side, at most.
    """
    named = filter(None, map(_PICTURE.fullmatch, _blocks(path)))
    pictures = [(picture_of_file(path.parent / m[2], longest=longest), _plain(m[1])) for m in named]
    return [figure(picture, caption, caption) for picture, caption in pictures]


def first_words(path: Path) -> str:
    """The first paragraph, which is the result; "" where it cannot be read."""
    return next((_plain(" ".join(b.splitlines())) for b in _blocks(path) if b[:1] not in "#|!"), "")


def _blocks(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            text = file.read(MOST_BYTES).decode("utf-8", errors="replace")
    except OSError:
        return []
    return re.split(r"\n{2,}", text.strip())


def _table(lines: list[str]) -> Html:
    rows = [[_plain(cell) for cell in _cells(line)] for line in (lines[0], *lines[2:])]
    width = len(rows[0])
    rows = [(row + [""] * width)[:width] for row in rows[: MOST_ROWS + 1]]
    columns = [Column(name, number > 0) for number, name in enumerate(rows[0])]
    return table(columns, rows[1:], caption="As it was reported")


def _cells(line: str) -> list[str]:
    return _CELL_END.split(line.strip().removeprefix("| ").removesuffix(" |"))


def _plain(text: str) -> str:
    """Text of markdown as it was before it was escaped."""
    return _ESCAPED.sub(r"\1", text).strip()

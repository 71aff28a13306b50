"""`results.md` as a part of the page: headings, sentences and tables, as slidenet writes them.

This reads what `pipelines.results.sections` writes, and is no reader of markdown: whatever else
stands in the file is shown as text.
"""

import re
from pathlib import Path

from slidenet.visualisation.html import Column, Html, element, paragraph, table

MOST_BYTES, MOST_ROWS = 2_000_000, 500

_ESCAPED = re.compile(r"\\([\\`*{}\[\]<>#|~&$_\-+=.)])")
_CELL_END = re.compile(r" \| ")


def shown_results(path: Path) -> list[Html]:
    """The content of a file of results; nothing where it cannot be read."""
    try:
        with path.open("rb") as file:
            text = file.read(MOST_BYTES).decode("utf-8", errors="replace")
    except OSError:
        return []
    parts: list[Html] = []
    for block in re.split(r"\n{2,}", text.strip()):
        lines = block.splitlines()
        if block.startswith("|") and len(lines) > 1:
            parts.append(_table(lines))
        elif block.startswith("## "):
            parts.append(element("h4", _plain(block[3:])))
        elif not block.startswith("# "):
            parts.append(paragraph(_plain(" ".join(lines))))
    return parts


def _table(lines: list[str]) -> Html:
    rows = [[_plain(cell) for cell in _cells(line)] for line in (lines[0], *lines[2:])]
    width = len(rows[0])
    rows = [(row + [""] * width)[:width] for row in rows[: MOST_ROWS + 1]]
    columns = [Column(name, number > 0) for number, name in enumerate(rows[0])]
    return table(columns, rows[1:], caption="As the run reported it")


def _cells(line: str) -> list[str]:
    return _CELL_END.split(line.strip().removeprefix("| ").removesuffix(" |"))


def _plain(text: str) -> str:
    """Text of markdown as it was before it was escaped."""
    return _ESCAPED.sub(r"\1", text).strip()

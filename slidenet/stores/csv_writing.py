"""Tables as CSV: for people and spreadsheets, and read back as they were (`csv_table`)."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from slidenet.core.escapes import in_spreadsheet
from slidenet.stores.atomic import atomic_path


def csv_text(header: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """A table as CSV, with texts that a spreadsheet does not calculate (`in_spreadsheet`).

    `csv_lines` reads the same texts back.
    """
    return "".join(
        _line([in_spreadsheet(c) if isinstance(c, str) else c for c in cells])
        for cells in (header, *rows)
    )


def joined_csv(texts: Sequence[str]) -> str:
    """Tables of one header below each other; a cell may hold the end of a line."""
    parts = [list(csv.reader(io.StringIO(text, newline=""))) for text in texts]
    assert all(part[0] == parts[0][0] for part in parts), (
        "tables of one run differ in their columns"
    )
    return "".join(map(_line, [parts[0][0], *(row for part in parts for row in part[1:])]))


def _line(cells: Sequence[object]) -> str:
    """One line of CSV. The writer of Python leaves a carriage return without quotes."""
    texts = ["" if cell is None else str(cell) for cell in cells]
    quoted = [
        '"' + t.replace('"', '""') + '"' if any(sign in t for sign in ',"\r\n') else t
        for t in texts
    ]
    return (",".join(quoted) if texts != [""] else '""') + "\n"


def write_csv(path: Path, header: Sequence[object], rows: Iterable[Sequence[object]]) -> None:
    """Writes `csv_text` in UTF-8, whole or not at all.

    Raises:
        OutputError: The folder is read-only or full.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(csv_text(header, rows), encoding="utf-8", newline="")

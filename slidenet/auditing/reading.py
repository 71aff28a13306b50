"""Reading a table as an audit does: rows that come twice are found, not refused."""

import os
import unicodedata
from dataclasses import replace
from pathlib import Path

from slidenet.auditing.finding import Finding
from slidenet.core.errors import LabelError
from slidenet.core.text import count_of, name_some
from slidenet.data.labels.table import LabelTable
from slidenet.stores import SLIDE_COLUMNS, CsvRow, read_csv_table, slide_rows


def read_table_leniently(path: str | os.PathLike[str]) -> tuple[LabelTable, list[Finding]]:
    """The table of labels with the first row of every slide, and the rows that come again.

    Raises:
        LabelError: The table cannot be read for any other reason.
    """
    found = read_csv_table(
        path, error=LabelError, one_of=("slide_path", "slide_id"), known=SLIDE_COLUMNS
    )
    first: dict[str, CsvRow] = {}
    again: list[CsvRow] = []
    for row in found.rows:
        key = unicodedata.normalize("NFC", _slide_id(row)).casefold()
        if key and key in first:
            again.append(row)
        else:
            first[key or str(row.line)] = row
    kept = replace(found, rows=tuple(first.values()))
    rows = tuple(slide_rows(kept))
    table = LabelTable(found.path, found.columns, rows, tuple(row.line for row in kept.rows))
    if not again:
        return table, []
    where = name_some(f"row {row.line} ({_slide_id(row)})" for row in again)
    finding = Finding(
        "duplicate-row",
        "error",
        f"{found.path}: {count_of('row', len(again))} of slides that have one already: {where}",
        "keep one row per slide",
    )
    return table, [finding]


def _slide_id(row: CsvRow) -> str:
    if "slide_id" in row.cells:
        return row.cells["slide_id"].strip()
    return Path(row.cells["slide_path"].strip()).stem

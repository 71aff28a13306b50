"""Tables people write by hand or in a spreadsheet: CSV read strictly, refused by row and column.

UTF-8 with or without a byte-order mark, separated by commas, a header with a name for every column.
Rows without anything in them are skipped. The number of a row is the line of the file it ends on.

What a cell means is said by `slidenet.core.vocabulary`. What spreadsheets add without a meaning is
left out: columns with neither name nor content, and an index that only counts the rows.
"""

import csv
import os
import re
import stat
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from slidenet.core.arrays import Float64Array
from slidenet.core.errors import SlidenetError
from slidenet.core.escapes import from_spreadsheet
from slidenet.core.vocabulary import (
    as_event,
    as_number,
    as_truth,
    is_missing_number,
    names_patients,
    names_slides,
    number_remedy,
)

ErrorKind = type[SlidenetError]


@dataclass(frozen=True, slots=True)
class CsvRow:
    """One row of a table.

    Attributes:
        line: Line of the file it ends on; the header is line 1.
        cells: The text of each column, as written.
    """

    line: int
    cells: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class CsvTable:
    """A table as text.

    Attributes:
        path: The file.
        columns: Names of the columns, in order.
        rows: Its rows, in order; at least one.
        error: Class of the errors raised about it.
    """

    path: Path
    columns: tuple[str, ...]
    rows: tuple[CsvRow, ...]
    error: ErrorKind

    def __len__(self) -> int:
        return len(self.rows)

    def require(self, column: str, *, remedy: str = "") -> str:
        """`column`, if the table has it.

        Raises:
            SlidenetError: Of class `error`: it has not.
        """
        if column not in self.columns:
            raise self.error(
                f"{self.path} has no column {column!r}",
                expected=f"one of {', '.join(map(repr, self.columns))}",
                remedy=remedy,
            )
        return column

    def cells(self, column: str) -> list[str]:
        """The text of one column, without spaces around it.

        Raises:
            SlidenetError: Of class `error`: there is no such column.
        """
        self.require(column)
        return [row.cells[column].strip() for row in self.rows]

    def numbers(self, column: str) -> Float64Array:
        """One column as float64 (N,).

        Raises:
            SlidenetError: Of class `error`: no such column, or a cell holds no finite number.
        """
        values = np.array([as_number(cell) for cell in self.cells(column)], dtype=np.float64)
        for row in np.flatnonzero(np.isnan(values)):
            remedy = number_remedy([self.cells(column)[row]])
            raise self.cell_error(int(row), column, expected="a finite number", remedy=remedy)
        return values

    def truths(self, column: str, *, may_be_missing: bool = False) -> Float64Array:
        """One column of 0 and 1 as float64 (N,), NaN where missing.

        Args:
            column: Which.
            may_be_missing: Whether a cell may hold nothing.

        Raises:
            SlidenetError: Of class `error`: no such column, or a cell is neither 0 nor 1.
        """
        cells = self.cells(column)
        values = np.array([as_truth(cell) for cell in cells], dtype=np.float64)
        for row in np.flatnonzero(np.isnan(values)):
            if not (may_be_missing and is_missing_number(cells[row])):
                expected = "0 or 1" + (" or nothing" if may_be_missing else "")
                raise self.cell_error(int(row), column, expected=expected)
        return values

    def events(self, column: str) -> Float64Array:
        """One column of events (1) and censored rows (0), by number or word, as float64 (N,).

        Raises:
            SlidenetError: Of class `error`: no such column, or a cell that is neither.
        """
        values = np.array([as_event(cell) for cell in self.cells(column)], dtype=np.float64)
        for row in np.flatnonzero(np.isnan(values)):
            raise self.cell_error(
                int(row), column, expected="0 or 1, or a word such as alive or dead"
            )
        return values

    def cell_error(
        self, row: int, column: str, *, found: str = "", expected: str = "", remedy: str = ""
    ) -> SlidenetError:
        """The error about one cell; `found` says of it what its text alone does not."""
        at = self.rows[row]
        found = found or f"is {at.cells[column].strip()!r}"
        return self.error(f"{self.place(at, column)} {found}", expected=expected, remedy=remedy)

    def place(self, row: CsvRow, column: str = "") -> str:
        """Where a cell stands, for messages: `labels.csv, row 3, column 'grade'`."""
        place = f"{self.path}, row {row.line}"
        return f"{place}, column {column!r}" if column else place


def read_csv_table(
    path: str | os.PathLike[str],
    *,
    error: ErrorKind,
    one_of: Sequence[str] = (),
    known: Collection[str] = (),
    unnamed_first: bool = False,
) -> CsvTable:
    """Reads a table with a header.

    Args:
        path: The file.
        error: Class of the errors raised.
        one_of: At least one of these columns must be there.
        known: Names with a meaning; a column that differs from one only in the case of its letters
            is refused.
        unnamed_first: Whether the first column may have no name, as an index pandas wrote has none.

    Raises:
        SlidenetError: Of class `error`, naming the file, the row and the column at fault.
    """
    path = Path(path)
    lines = csv_lines(path, error=error)
    needed = f"a column {' or '.join(one_of)}" if one_of else "a name for every column"
    if not lines:
        raise error(f"{path} is empty", expected=f"a header with {needed}")
    header = [name.strip() for name in lines[0][1]]
    place = f"{path}, row {lines[0][0]}"
    if one_of and not set(one_of) & set(header):
        raise error(
            f"{place} has the columns {', '.join(map(repr, header))}",
            expected=needed,
            remedy=_header_remedy(lines, one_of),
        )
    rest = lines[1:]
    for number, cells in rest:
        beyond = cells[len(header) :]
        if len(cells) < len(header) or any(cell.strip() for cell in beyond):
            raise error(
                f"{path}, row {number} has {len(cells)} cells",
                expected=f"{len(header)}, one per column",
                remedy="put cells that hold commas in double quotes (and write numbers with a "
                "decimal point)"
                if beyond
                else "end the row with as many commas as the header has",
            )
    kept = [i for i in range(len(header)) if not _says_nothing(i, header, rest, unnamed_first)]
    names = [header[i] for i in kept]
    _check_names(names, place, error, known, unnamed_first)
    if not rest:
        raise error(f"{path} has a header and no rows", expected="at least one row")
    rows = [CsvRow(number, {header[i]: cells[i] for i in kept}) for number, cells in rest]
    return CsvTable(path, tuple(names), tuple(rows), error)


def csv_lines(path: str | os.PathLike[str], *, error: ErrorKind) -> list[tuple[int, list[str]]]:
    """The lines that hold anything, each with its number, without a meaning given to any.

    Raises:
        SlidenetError: Of class `error`: missing, not UTF-8, or no CSV.
    """
    path = Path(path)
    try:
        kind = path.stat().st_mode
        if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):  # a pipe would be waited for for ever
            raise error(
                f"{path} is a pipe, a device or a socket",
                expected="a file, which is read twice",
                remedy="write the table into a file",
            )
        with path.open("rb") as binary:
            start = binary.read(8)
        for signature, (words, remedy) in _NO_TEXT.items():
            if start.startswith(signature):
                raise error(f"{path} is {words}, not a CSV", remedy=remedy)
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            return [
                (reader.line_num, [from_spreadsheet(cell) for cell in cells])
                for cells in reader
                if any(cell.strip() for cell in cells)
            ]
    except UnicodeDecodeError as failure:
        raise error(
            f"{path} is not UTF-8 text ({failure.reason} at byte {failure.start})",
            remedy="save it as 'CSV UTF-8'",
        ) from failure
    except csv.Error as failure:
        raise error(
            f"{path}, row {reader.line_num} is no CSV ({failure})", remedy="check its quotes"
        ) from failure
    except OSError as failure:
        raise error(f"{path} cannot be read ({failure.strerror})") from failure


_TITLE_ROWS = 6
_AS_CSV = "open it in the spreadsheet and save the sheet as 'CSV UTF-8 (comma separated)'"
_NO_TEXT = {
    b"PK\x03\x04": ("a workbook of a spreadsheet (.xlsx, .ods), or another zip file", _AS_CSV),
    b"\xd0\xcf\x11\xe0": ("a workbook of an old Excel (.xls)", _AS_CSV),
    b"\xff\xfe": ("text in UTF-16, as Excel's 'Unicode Text'", _AS_CSV),
    b"\xfe\xff": ("text in UTF-16, as Excel's 'Unicode Text'", _AS_CSV),
    b"PAR1": ("a parquet file", "write it with pandas' to_csv(..., index=False)"),
    b"\x1f\x8b": ("compressed with gzip", "unpack it"),
}
"""How files begin that people give for a CSV: what they are, and what to do."""


def _header_remedy(lines: list[tuple[int, list[str]]], one_of: Sequence[str]) -> str:
    """What to do about a header without a column that is needed."""
    header = [name.strip() for name in lines[0][1]]
    for number, cells in lines[1:_TITLE_ROWS]:
        if set(one_of) & {cell.strip() for cell in cells}:
            return f"delete the lines above row {number}, which holds the names of the columns"
    if header[0].lower().startswith("sep="):
        return f"delete the first line ({header[0]!r}), which is for Excel only, and use commas"
    for sign, name in ((";", "semicolons"), ("\t", "tabs")):
        if any(sign in cell for cell in header):
            return f"separate the columns with commas; these look separated by {name}"
    slides = [name for name in header if names_slides(name)]
    if not slides:
        return f"add the column {one_of[-1]}"
    wanted = "slide_path" if "path" in slides[0].lower() else "slide_id"
    wanted = wanted if wanted in one_of else one_of[0]
    which = f"the column {slides[0]!r}" if len(slides) == 1 else f"one of {', '.join(slides)}"
    return f"rename {which} to {wanted!r}"


_NAMELESS = re.compile(r"(Unnamed: \d+)?")  # what pandas calls a column without a name


def _says_nothing(
    column: int, header: list[str], rows: list[tuple[int, list[str]]], unnamed_first: bool
) -> bool:
    """Whether a column without a name is empty, or only counts the rows as pandas' index does."""
    if not _NAMELESS.fullmatch(header[column]) or not rows:
        return False
    cells = [row[column].strip() for _, row in rows]
    if not any(cells):
        return True
    counts = [[str(start + i) for i in range(len(cells))] for start in (0, 1)]
    return column == 0 and not unnamed_first and cells in counts


def _check_names(
    header: list[str], place: str, error: ErrorKind, known: Collection[str], unnamed_first: bool
) -> None:
    for name in header:
        # It would be taken for a label; columns of patients are known by any spelling.
        if name not in known and name.lower() in known and not names_patients(name):
            raise error(
                f"{place} has a column {name!r}",
                expected=f"{name.lower()!r}, in small letters",
                remedy="rename the column",
            )
    named = 1 if unnamed_first else 0  # from this column on
    if "" in header[named:]:
        column = header.index("", named) + 1
        index = "; if it is pandas' index, write the table with index=False" if column == 1 else ""
        raise error(f"{place}, column {column} has no name", remedy=f"name it{index}")
    for name, count in Counter(header).items():
        if count > 1:
            raise error(f"{place} has {count} columns named {name!r}")

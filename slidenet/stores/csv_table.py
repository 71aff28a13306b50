"""Tables people write by hand or in a spreadsheet: CSV read strictly, refused by row and column.

UTF-8 with or without a byte-order mark, separated by commas, a header with a name for every column.
Rows without anything in them are skipped. The number of a row is the line of the file it ends on.

What a cell means is decided here alone, for tables of labels and of predictions alike: which words
say that nothing is known (`is_missing`), which numbers a cell may hold (`as_number`), and which
words stand for 0 and 1 (`as_truth`).
"""

import csv
import math
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from slidenet.core.arrays import Float64Array
from slidenet.core.errors import SlidenetError

ErrorKind = type[SlidenetError]

MISSING = ("", "na", "n/a", "nan", "null")
"""Cells that mean "not known", whatever the case of their letters."""

MISSING_NUMBER = (*MISSING, "none")
"""The same where a number or 0 and 1 are expected; a class may well be called none."""

TRUTH = {"0": 0.0, "1": 1.0, "false": 0.0, "true": 1.0, "no": 0.0, "yes": 1.0}
"""Words for 0 and 1, whatever the case of their letters."""


def is_missing(cell: str, class_names: Collection[str] = ()) -> bool:
    """Whether a cell holds no class. A class may be called NA where `class_names` says so."""
    return cell.casefold() in MISSING and cell not in class_names


def is_missing_number(cell: str) -> bool:
    """Whether a cell that should hold a number, or 0 or 1, holds none."""
    return cell.casefold() in MISSING_NUMBER


def as_number(cell: str) -> float:
    """The finite number a cell holds, NaN where it holds none."""
    try:
        value = float(cell)
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan


def as_truth(cell: str) -> float:
    """0.0 or 1.0 as a cell says it, by a word of `TRUTH` or a number such as 1.0; else NaN."""
    value = TRUTH.get(cell.casefold(), as_number(cell))
    return value if value in (0.0, 1.0) else math.nan


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
            raise self.cell_error(int(row), column, expected="a finite number")
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
            remedy=_separator_remedy(header) or f"add the column {one_of[-1]}",
        )
    _check_names(header, place, error, known, unnamed_first)
    rows = []
    for number, cells in lines[1:]:
        if len(cells) != len(header):
            raise error(
                f"{path}, row {number} has {len(cells)} cells",
                expected=f"{len(header)}, one per column",
                remedy="put cells that hold commas in double quotes",
            )
        rows.append(CsvRow(number, dict(zip(header, cells, strict=True))))
    if not rows:
        raise error(f"{path} has a header and no rows", expected="at least one row")
    return CsvTable(path, tuple(header), tuple(rows), error)


def csv_lines(path: str | os.PathLike[str], *, error: ErrorKind) -> list[tuple[int, list[str]]]:
    """The lines that hold anything, each with its number, without a meaning given to any.

    Raises:
        SlidenetError: Of class `error`: missing, not UTF-8, or no CSV.
    """
    path = Path(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            return [(reader.line_num, c) for c in reader if any(cell.strip() for cell in c)]
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


def _separator_remedy(header: list[str]) -> str:
    for sign, name in ((";", "semicolons"), ("\t", "tabs")):
        if any(sign in cell for cell in header):
            return f"separate the columns with commas; these look separated by {name}"
    return ""


def _check_names(
    header: list[str], place: str, error: ErrorKind, known: Collection[str], unnamed_first: bool
) -> None:
    for name in header:
        if name not in known and name.lower() in known:  # would be taken for a label
            raise error(
                f"{place} has a column {name!r}", expected=f"{name.lower()!r}, in small letters"
            )
    named = 1 if unnamed_first else 0  # from this column on
    if "" in header[named:]:
        column = header.index("", named) + 1
        raise error(f"{place}, column {column} has no name", remedy="name it")
    for name in header:
        if header.count(name) > 1:
            raise error(f"{place} has {header.count(name)} columns named {name!r}")

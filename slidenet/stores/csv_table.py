"""Tables people write by hand or in a spreadsheet: CSV read strictly, refused by row and column.

UTF-8 with or without a byte-order mark, separated by commas, a header with a name for every column.
Rows without anything in them are skipped. The number of a row is the line of the file it ends on.
"""

import csv
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from slidenet.core.errors import SlidenetError

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
    """

    path: Path
    columns: tuple[str, ...]
    rows: tuple[CsvRow, ...]

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
    return CsvTable(path, tuple(header), tuple(rows))


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

"""The columns of a CSV as numbers, with errors that name file, row and column."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from slidenet.core.errors import PredictionsError
from slidenet.stores import CsvTable, read_csv_table

_MISSING = ("", "na", "nan", "none")


@dataclass(frozen=True)
class CsvColumns:
    """A table read by column.

    Attributes:
        table: The cells.
    """

    table: CsvTable

    @classmethod
    def read(cls, path: Path) -> "CsvColumns":
        """Reads the file; its first column may have no name, as an index pandas wrote has none.

        Raises:
            PredictionsError: It is no CSV with a header and at least one row.
        """
        return cls(read_csv_table(path, error=PredictionsError, unnamed_first=True))

    def __len__(self) -> int:
        return len(self.table.rows)

    @property
    def names(self) -> tuple[str, ...]:
        """The columns, in order."""
        return self.table.columns

    def require(self, name: str, *, remedy: str = "") -> str:
        """`name`, if there is such a column.

        Raises:
            PredictionsError: There is none.
        """
        if name not in self.names:
            raise PredictionsError(
                f"{self.table.path} has no column {name!r}",
                expected=f"one of {', '.join(map(repr, self.names))}",
                remedy=remedy,
            )
        return name

    def cells(self, name: str) -> list[str]:
        """The text of one column, without spaces around it.

        Raises:
            PredictionsError: There is no such column.
        """
        self.require(name)
        return [row.cells[name].strip() for row in self.table.rows]

    def numbers(self, name: str, *, may_be_missing: bool = False) -> npt.NDArray[np.float64]:
        """One column as float64 (N,); NaN for an empty cell where that is allowed.

        Raises:
            PredictionsError: A cell holds no finite number.
        """
        values = np.empty(len(self))
        for row, cell in enumerate(self.cells(name)):
            values[row] = as_number(cell)
            missing = may_be_missing and cell.lower() in _MISSING
            if not (missing or math.isfinite(values[row])):
                raise self.error(row, name, expected="a finite number")
        return values

    def error(
        self, row: int, column: str, *, found: str = "", expected: str = "", remedy: str = ""
    ) -> PredictionsError:
        """The error about one cell."""
        place = self.table.place(self.table.rows[row], column)
        cell = self.table.rows[row].cells[column].strip()
        return PredictionsError(
            f"{place} {found or f'is {cell!r}'}", expected=expected, remedy=remedy
        )


def as_number(cell: str) -> float:
    """The number a cell holds, or NaN."""
    try:
        return float(cell)
    except ValueError:
        return math.nan

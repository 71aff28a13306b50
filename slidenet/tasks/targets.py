"""Targets of N bags, and what tables, splits and audits ask of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from slidenet.core.arrays import BoolArray, FloatArray, IntArray

if TYPE_CHECKING:
    from slidenet.tasks.task import Task

Targets = npt.NDArray[Any]
"""First axis the bags; shape and type as `slidenet.tasks.task` says for each kind of task."""

NUM_QUARTERS = 4


class LabelCells(Protocol):
    """Columns of a table of labels as arrays; a cell that does not fit is refused by row."""

    def __len__(self) -> int: ...

    def labelled(self, task: "Task") -> IntArray:
        """int64 (M,), the rows that have a label of a task."""
        ...

    def take(self, rows: IntArray) -> Self:
        """Some of the rows."""
        ...

    def classes(self, column: str, class_names: Sequence[str]) -> IntArray:
        """int64 (N,), index into `class_names`."""
        ...

    def flags(self, columns: Sequence[str]) -> FloatArray:
        """(N, len(columns)) of 0, 1 and NaN where missing."""
        ...

    def values(self, column: str) -> FloatArray:
        """(N,), finite."""
        ...

    def times(self, column: str) -> FloatArray:
        """(N,), above 0."""
        ...

    def events(self, column: str) -> FloatArray:
        """(N,) of 1 (happened) and 0 (censored)."""
        ...


@dataclass(frozen=True, eq=False)
class Stratum:
    """Bags that a split keeps in proportion.

    Attributes:
        name: In messages: "grade 'high'".
        members: bool (N,).
        needed: Whether every split needs one.
        only_in_train: Of what is needed, whether val and test can do without: a rare label of
            several, whose metrics are then not defined there.
        absence: What a split without one lacks: "bag of class 'high' (grade)".
    """

    name: str
    members: BoolArray
    needed: bool = True
    only_in_train: bool = False
    absence: str = ""


@dataclass(frozen=True)
class Lack:
    """Why nothing can be learned from, or judged on, these targets.

    Attributes:
        column: The label column.
        found: What it holds.
        expected: What it should hold.
    """

    column: str
    found: str
    expected: str


def quarters(values: npt.NDArray[np.float64]) -> IntArray:
    """Which quarter of the values each is in, 0 to 3; -1 for NaN. Equal values stay together."""
    known = ~np.isnan(values)
    edges = np.quantile(values[known], np.linspace(0, 1, NUM_QUARTERS + 1)[1:-1])
    return np.where(known, np.searchsorted(edges, values), -1).astype(np.int64)

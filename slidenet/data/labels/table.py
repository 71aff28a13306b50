"""The table of labels: one row per slide, read and checked before anything is trained.

`labels.csv` follows the rules of the manifest (`slides.csv`) and may be the same file: UTF-8,
commas, a header; `slide_id`, or `slide_path` whose file name without suffix is the slide_id;
`patient_id` (or a column that means the same, see `slidenet.stores.manifest.patients`) and `mpp`
may be there and may be empty; every other column is free (labels, site, scanner).
"""

import difflib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal
from unicodedata import normalize

import numpy as np
import numpy.typing as npt

from slidenet.core.errors import LabelError
from slidenet.core.records import SlideRow
from slidenet.core.text import MOST_NAMED, name_some, plural
from slidenet.stores import SLIDE_COLUMNS, CsvRow, CsvTable, read_csv_table, slide_rows
from slidenet.stores.manifest.patients import barcodes, find_patient_column

PatientsKnown = Literal["all", "some", "none", "proposed"]
"""Of all slides, of some, of none; or of none, but slide_ids are TCGA barcodes, which name them."""

REGION_COLUMN = "region"
"""Where it is there and bags are regions or tiles, rows are about regions: slide_id and region."""


@dataclass(frozen=True, eq=False)
class LabelTable:
    """Slides with whatever is known about them.

    Attributes:
        path: The file the rows come from.
        columns: Every column, in order of the file.
        rows: One per slide, each slide once; the free columns are in `SlideRow.labels`.
        lines: Line of the file of each row, for messages.
        patient_column: The column that says whose slide it is, or `tcga` where barcodes do, or
            `slide_id` where every slide is of another patient; None where nothing says it.
    """

    path: Path
    columns: tuple[str, ...]
    rows: tuple[SlideRow, ...]
    lines: tuple[int, ...]
    patient_column: str | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def slide_ids(self) -> tuple[str, ...]:
        """The slides, in order of the file."""
        return tuple(row.slide_id for row in self.rows)

    @cached_property
    def index(self) -> Mapping[str, int]:
        """Position in `rows` of each slide_id."""
        return {row.slide_id: position for position, row in enumerate(self.rows)}

    def row(self, slide_id: str) -> SlideRow:
        """The row of one slide.

        Raises:
            LabelError: There is none.
        """
        if slide_id not in self.index:
            near = difflib.get_close_matches(slide_id, self.index, n=1)
            raise LabelError(
                f"{self.path} has no row of this slide",
                expected="one row per slide",
                remedy=f"add one{f', or is it {near[0]!r}?' if near else ''}",
                slide=slide_id,
            )
        return self.rows[self.index[slide_id]]

    def check_column(self, name: str, flag: str = "") -> None:
        """Refuses a column the file does not have, proposing the nearest name.

        Args:
            name: The column.
            flag: What names it, for the remedy.

        Raises:
            LabelError: There is no such column.
        """
        if name not in self.columns:
            near = difflib.get_close_matches(name, self.columns, n=3)
            like = f"did you mean {' or '.join(near)}?" if near else ""
            way = f"name the column with {flag}" if flag else ""
            raise LabelError(
                f"{self.path} has no column {name!r}",
                expected=f"one of {', '.join(self.columns)}",
                remedy=" ".join(filter(None, (like, way))),
            )

    def column(self, name: str) -> list[str]:
        """The cells of one column, one per row, without spaces around; "" where empty.

        Args:
            name: Any column of the file, `slide_id`, `slide_path`, `patient_id` and `mpp` included.

        Raises:
            LabelError: There is no such column.
        """
        self.check_column(name)
        if name not in SLIDE_COLUMNS:
            return [row.labels[name].strip() for row in self.rows]
        values = [getattr(row, name) for row in self.rows]
        return ["" if value is None else str(value) for value in values]

    def patient_of(self, slide_id: str) -> str:
        """The patient of a slide; a slide of an unknown one counts as a patient of its own.

        Raises:
            LabelError: The table has no row of this slide.
        """
        return self.row(slide_id).patient_id or slide_id

    @property
    def patients_known(self) -> "PatientsKnown":
        """Of which slides the table says whose they are."""
        known = [row.patient_id is not None for row in self.rows]
        if all(known):
            return "all"
        if any(known):
            return "some"
        return "proposed" if barcodes(self.slide_ids) else "none"

    def select(self, slide_ids: Iterable[str]) -> "LabelTable":
        """The table of these slides only, in the order given.

        Raises:
            LabelError: The table has no row of one of them.
        """
        rows = tuple(self.row(slide_id) for slide_id in slide_ids)
        lines = tuple(self.lines[self.index[row.slide_id]] for row in rows)
        return replace(self, rows=rows, lines=lines)

    def take(self, rows: npt.NDArray[Any]) -> "LabelTable":
        """The table of some rows, by index or bool mask, in that order."""
        kept = np.arange(len(self))[rows].tolist()
        return replace(
            self,
            rows=tuple(self.rows[i] for i in kept),
            lines=tuple(self.lines[i] for i in kept),
        )

    def place(self, positions: Sequence[int], column: str) -> str:
        """Where cells stand, for messages: `labels.csv, column 'grade', rows 3, 7 (s1, s5)`."""
        lines = name_some(self.lines[i] for i in positions)
        names = ", ".join(self.rows[i].slide_id for i in positions[:MOST_NAMED])
        return f"{self.path}, column {column!r}, {plural('row', len(positions))} {lines} ({names})"


def read_label_table(
    path: str | os.PathLike[str], *, patient_column: str | None = None
) -> LabelTable:
    """Reads a table of labels; what the labels mean is asked later, by `make_task`.

    Args:
        path: A CSV with a column `slide_id` or `slide_path`.
        patient_column: Says whose slide it is; found by its name where not given.

    Returns:
        One row per slide, in order of the file.

    Raises:
        LabelError: Naming the file, the row (line of the file) and the column at fault.
    """
    table = read_csv_table(
        path, error=LabelError, one_of=("slide_path", "slide_id"), known=SLIDE_COLUMNS
    )
    labels = labels_of(table, find_patient_column(table, patient_column))
    _check_unnamed_patients(labels)
    return labels


def labels_of(table: CsvTable, patient_column: str | None) -> LabelTable:
    """The rows of a CSV as a table of labels.

    Args:
        table: Each slide once.
        patient_column: As `find_patient_column` gives it.

    Raises:
        LabelError: Naming the file, the row and the column at fault.
    """
    rows, lines = tuple(slide_rows(table, patient_column)), tuple(row.line for row in table.rows)
    return LabelTable(table.path, table.columns, rows, lines, patient_column)


def read_region_table(
    path: str | os.PathLike[str], *, patient_column: str | None = None
) -> tuple[LabelTable, LabelTable | None]:
    """Reads a table of labels that may have a row for each region of a slide.

    Args:
        path: A CSV with a column `slide_id` or `slide_path`, and perhaps `region`.
        patient_column: Says whose slide it is; found by its name where not given.

    Returns:
        One row per slide, the first of each; and one row per slide and region, with
        `{slide_id}:{region}` as `slide_id`, or None where the file has no column `region`.

    Raises:
        LabelError: Naming the file, the row and the column at fault.
    """
    table = read_csv_table(
        path, error=LabelError, one_of=("slide_path", "slide_id"), known=SLIDE_COLUMNS
    )
    patients = find_patient_column(table, patient_column)
    if REGION_COLUMN not in table.columns:
        return read_label_table(path, patient_column=patient_column), None
    first: dict[str, tuple[SlideRow, CsvRow]] = {}
    by_region: dict[str, tuple[SlideRow, CsvRow]] = {}
    for row, cells in zip(slide_rows(table, patients, repeats=True), table.rows, strict=True):
        place = table.place(cells, REGION_COLUMN)
        region = normalize("NFC", row.labels[REGION_COLUMN].strip())  # as in region files
        other, _ = first.setdefault(row.slide_id, (row, cells))
        name = f"{row.slide_id}:{region}"
        if not region or name in by_region:
            raise LabelError(
                f"{place} is {region!r}"
                + (f", as in row {by_region[name][1].line} of the same slide" if region else ""),
                expected="one row per region of a slide, named as in its features",
                remedy="correct the cell; if the column means something else, rename it",
                slide=row.slide_id,
            )
        if row.patient_id != other.patient_id:
            raise LabelError(
                f"{place}: the slide is of patient {row.patient_id!r} here and of "
                f"{other.patient_id!r} in row {first[row.slide_id][1].line}",
                expected="one patient per slide",
                slide=row.slide_id,
            )
        by_region[name] = (replace(row, slide_id=name), cells)
    slides, regions = (
        LabelTable(
            table.path,
            table.columns,
            tuple(row for row, _ in found.values()),
            tuple(cells.line for _, cells in found.values()),
            patients,
        )
        for found in (first, by_region)
    )
    _check_unnamed_patients(slides)
    return slides, regions


def _check_unnamed_patients(labels: LabelTable) -> None:
    """Refuses a slide without patient, so one of its own by its name, if that name is taken."""
    patients = {row.patient_id for row in labels.rows}
    for position, row in enumerate(labels.rows):
        if row.patient_id is None and row.slide_id in patients:
            raise LabelError(
                f"{labels.place([position], str(labels.patient_column))} names no patient, and "
                f"{row.slide_id!r} is the patient of other slides",
                expected="a patient, or a slide_id that is no patient",
                remedy="fill the cell",
            )

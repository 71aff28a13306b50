"""Splits on disk: our own table, CLAM's columns, and folders of either.

Read as they are found, one file or a folder of files named `splits_0.csv`, `splits_1.csv`, ...:

- a column `slide_id` and a column `split` with train, val or test (empty: in no split);
- a column `slide_id` and columns `fold_0`, `fold_1`, ... with the same words, one split each: what
  `write_splits` writes;
- a column `slide_id` and a column `fold` with a number: one split per number, which tests on it and
  trains on all others, without val;
- `patient_id` (or a column that means the same) instead of `slide_id` in any of these: all slides
  the table has of that patient;
- columns `train`, `val` and `test` that list slide_ids below each other, as CLAM writes them.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from slidenet.core.errors import SplitError
from slidenet.core.vocabulary import PATIENT_COLUMN, names_patients
from slidenet.data.labels.table import LabelTable
from slidenet.data.splits.record import SPLIT_NAMES, Split
from slidenet.stores import CsvRow, CsvTable, csv_lines, read_csv_table
from slidenet.stores.csv_writing import write_csv

_NUMBERED_FILE = re.compile(r"splits_(\d+)\.csv")
_FOLD_COLUMN = re.compile(r"fold_(\d+)")


def read_splits(path: str | os.PathLike[str], table: LabelTable | None = None) -> list[Split]:
    """Reads splits written by `write_splits`, by CLAM, or by hand.

    Whether the slides exist and patients leak is asked by `check_split`.

    Args:
        path: A CSV, or a folder of `splits_{i}.csv`.
        table: The slides of each patient, needed where the file names patients only.

    Returns:
        The splits, in order of the columns, fold numbers or file numbers.

    Raises:
        SplitError: Naming the file, row and column at fault.
    """
    path = Path(path)
    if not path.is_dir():
        return _read_file(path, table)
    numbered = {int(m[1]): p for p in path.iterdir() if (m := _NUMBERED_FILE.fullmatch(p.name))}
    if not numbered:
        raise SplitError(f"{path} holds no splits", expected="files splits_0.csv, splits_1.csv ...")
    return [split for _, file in sorted(numbered.items()) for split in _read_file(file, table)]


def write_splits(path: str | os.PathLike[str], splits: Sequence[Split]) -> Path:
    """Writes splits as one table: a row per slide, a column `fold_0`, `fold_1`, ... per split.

    Raises:
        SplitError: A slide is in two splits at once.
        OutputError: The folder cannot be written.
    """
    path = Path(path)
    columns = [split.by_slide() for split in splits]
    for number, column in enumerate(columns):
        for slide_id, names in column.items():
            if len(names) > 1:
                raise SplitError(
                    f"fold {number} has the slide in {' and '.join(names)}",
                    expected="each slide in one split",
                    slide=slide_id,
                )
    slide_ids = dict.fromkeys(slide_id for column in columns for slide_id in column)
    header = ["slide_id", *(f"fold_{i}" for i in range(len(splits)))]
    rows = [[s, *(column.get(s, [""])[0] for column in columns)] for s in slide_ids]
    write_csv(path, header, rows)
    return path


def _read_file(path: Path, table: LabelTable | None) -> list[Split]:
    lines = csv_lines(path, error=SplitError)
    header = {cell.strip() for cell in lines[0][1]} if lines else set()
    patients = [name for name in header if names_patients(name)]
    if "train" in header and "slide_id" not in header and not patients:
        return [_read_clam(path, lines)]
    found = read_csv_table(
        path, error=SplitError, one_of=("slide_id", *(patients or [PATIENT_COLUMN]))
    )
    folds = {int(m[1]): c for c in found.columns if (m := _FOLD_COLUMN.fullmatch(c))}
    columns = ["split"] if "split" in found.columns else [folds[i] for i in sorted(folds)]
    if columns:
        return [_split_of(found, column, table) for column in columns]
    if "fold" in found.columns:
        return _splits_of_numbers(found, table)
    raise SplitError(
        f"{path} has the columns {', '.join(map(repr, found.columns))}",
        expected="a column split, fold, or fold_0, fold_1 ...; or CLAM's train, val and test",
    )


def _read_clam(path: Path, lines: list[tuple[int, list[str]]]) -> Split:
    """Columns of slide_ids below each other, the shorter ones padded; the first may be an index."""
    header = [cell.strip() for cell in lines[0][1]]
    listed: dict[str, list[str]] = {name: [] for name in SPLIT_NAMES}
    for number, cells in lines[1:]:
        for name, cell in zip(header, cells, strict=False):
            if name in SPLIT_NAMES and cell.strip():
                if cell.strip() in ("True", "False"):
                    raise SplitError(
                        f"{path}, row {number}, column {name!r} is {cell.strip()!r}",
                        expected="slide_ids",
                        remedy="give CLAM's splits_{i}.csv, not its splits_{i}_bool.csv",
                    )
                listed[name].append(cell.strip())
    return Split(**{name: tuple(dict.fromkeys(slides)) for name, slides in listed.items()})


def _split_of(found: CsvTable, column: str, table: LabelTable | None) -> Split:
    listed: dict[str, list[str]] = {name: [] for name in SPLIT_NAMES}
    for row in found.rows:
        word = row.cells[column].strip()
        if word and word not in SPLIT_NAMES:
            raise SplitError(
                f"{found.place(row, column)} is {word!r}", expected="train, val, test or nothing"
            )
        if word:
            listed[word] += _slides_of(found, row, table)
    return Split(**{name: tuple(dict.fromkeys(slides)) for name, slides in listed.items()})


def _splits_of_numbers(found: CsvTable, table: LabelTable | None) -> list[Split]:
    tested: dict[int, list[str]] = {}
    for row in found.rows:
        text = row.cells["fold"].strip()
        if not text.isdecimal():
            raise SplitError(f"{found.place(row, 'fold')} is {text!r}", expected="a fold number")
        tested.setdefault(int(text), []).extend(_slides_of(found, row, table))
    splits = []
    for number in sorted(tested):
        rest = [s for other in sorted(tested) if other != number for s in tested[other]]
        splits.append(Split(tuple(dict.fromkeys(rest)), (), tuple(dict.fromkeys(tested[number]))))
    return splits


def _slides_of(found: CsvTable, row: CsvRow, table: LabelTable | None) -> list[str]:
    if "slide_id" in found.columns:
        slide_id = row.cells["slide_id"].strip()
        if not slide_id:
            raise SplitError(f"{found.place(row, 'slide_id')} is empty", expected="a slide_id")
        return [slide_id]
    if table is None:
        raise SplitError(
            f"{found.path} names patients only",
            expected="a column slide_id",
            remedy="give the table of labels along with it",
        )
    column = min(filter(names_patients, found.columns), key=lambda name: name != PATIENT_COLUMN)
    patient = row.cells[column].strip()
    slides = [slide.slide_id for slide in table.rows if slide.patient_id == patient]
    if not slides:
        raise SplitError(
            f"{found.place(row, column)} is {patient!r}",
            expected=f"a patient of {table.path}",
        )
    return slides

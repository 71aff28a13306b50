"""Covariates: what a table knows of a slide or patient beside its labels, as numbers for a model.

A column is a number (age) or a category (sex, stage). Which of the two it is follows from the whole
table; everything that is estimated (`slidenet.mil.covariates`) follows from the training bags.
"""

import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from slidenet.core.arrays import FloatArray
from slidenet.core.errors import LabelError
from slidenet.core.records import SlideRow
from slidenet.core.text import count_of, name_some
from slidenet.core.vocabulary import as_number, is_doubtful, is_missing, number_remedy
from slidenet.mil.covariates import CovariateColumn, category_code, fit_column
from slidenet.stores import SLIDE_COLUMNS

MOST_NUMBER = 1e30
"""Larger ones have no standard deviation in float32, and are mistakes."""

MOST_CATEGORIES = 30
LEAST_PER_CATEGORY = 4
"""Slides per category on the average, below which a column names rather than describes."""


@dataclass(frozen=True, eq=False)
class CovariateTable:
    """The covariates of slides (or parts of slides).

    Attributes:
        categories: By covariate, in order: the categories in the table, None for a number.
        values: By slide_id float32 (V,), as in `BagBatch.covariates`.
        notes: What to know about them, a line each.
    """

    categories: Mapping[str, tuple[str, ...] | None]
    values: Mapping[str, FloatArray]
    notes: tuple[str, ...] = field(default=())

    @property
    def names(self) -> tuple[str, ...]:
        """The covariates, in order."""
        return tuple(self.categories)

    @property
    def kinds(self) -> dict[str, str]:
        """Each covariate, and whether it is a "number" or a "category"."""
        return {n: "number" if c is None else "category" for n, c in self.categories.items()}

    def of_bag(self, slide_ids: Sequence[str]) -> FloatArray:
        """float32 (V,) of a bag of slides; what is known of one of them is known of the bag.

        Raises:
            LabelError: Slides of the bag contradict each other.
        """
        rows = np.stack([self.values[slide_id] for slide_id in slide_ids])
        wrong = _contradicting(rows)
        if wrong.any():
            name = self.names[int(np.flatnonzero(wrong)[0])]
            raise LabelError(
                f"column {name!r}: the slides {name_some(slide_ids)} of one patient have different "
                "values",
                expected="one value of a covariate per patient",
                remedy="correct the rows, or make bags of slides instead of patients",
            )
        merged: FloatArray = np.full(rows.shape[1], np.nan, np.float32)
        for row in rows:
            merged = np.where(np.isnan(merged), row, merged).astype(np.float32)
        return merged

    def fit(self, bags: Sequence[Sequence[str]]) -> tuple[CovariateColumn, ...]:
        """How each covariate is encoded, by these bags (their slides) alone: those of train."""
        values = np.stack([self.of_bag(slide_ids) for slide_ids in bags])
        of_each = enumerate(self.categories.items())
        return tuple(fit_column(name, values[:, i], among) for i, (name, among) in of_each)


def find_kinds(
    rows: Sequence[SlideRow], names: Sequence[str], categorical: Collection[str], *, source: str
) -> dict[str, bool]:
    """Which covariates are categories; the others are numbers.

    Args:
        rows: The slides, with all that the table says.
        names: The columns.
        categorical: Those that are categories although they look like numbers.
        source: The table, for messages.

    Raises:
        LabelError: A column is not there or names slides, is empty or the same everywhere, mixes
            numbers and words, or has as many categories as names would be.
    """
    kinds = {}
    for name in names:
        cells = _cells(rows, name, source)
        known = [cell for cell in cells if cell]
        numeric = sum(not np.isnan(as_number(cell)) for cell in known)
        where = f"{source}, column {name!r}"
        if len(set(known)) < 2:
            raise LabelError(
                f"{where} holds {f'one value only ({known[0]!r})' if known else 'no value'}",
                expected="a covariate that differs between slides",
                remedy="leave it away from --data.covariates",
            )
        kinds[name] = name in categorical or numeric < len(known)
        if name not in categorical and 2 * numeric > len(known) > numeric:
            words = dict.fromkeys(c for c in known if np.isnan(as_number(c)))
            raise LabelError(
                f"{where} holds numbers and {name_some(map(repr, words))}",
                expected="numbers, or nothing where not known",
                remedy=number_remedy(list(words))
                or f"correct these cells, or give --data.categorical {name} if they are categories",
            )
        categories = sorted({_category(cell) for cell in known})
        most = max(LEAST_PER_CATEGORY, min(MOST_CATEGORIES, len(known) // LEAST_PER_CATEGORY))
        if kinds[name] and len(categories) > most:
            raise LabelError(
                f"{where} holds {len(categories)} different categories in {len(known)} slides, "
                f"such as {name_some(categories, most=3)}",
                expected=f"at most {most} categories, or numbers (of a date: a year, or days)",
                remedy="leave it away, put categories together, or write numbers as numbers",
            )
    return kinds


def read_covariates(
    rows: Sequence[SlideRow],
    kinds: Mapping[str, bool],
    *,
    source: str,
    spelled: Mapping[str, Collection[str]] | None = None,
) -> CovariateTable:
    """The covariates of slides.

    Args:
        rows: The slides, with all that the table says.
        kinds: By column: whether it is a category.
        source: The table, for messages.
        spelled: By column the categories a model knows; cells that differ from one in the case of
            letters and in spaces only are read as it, and told.

    Raises:
        LabelError: A column is not there, a number cannot be read, or categories differ in letters
            or spaces only.
    """
    categories: dict[str, tuple[str, ...] | None] = {}
    columns, notes = [], []
    spelled = spelled or {}
    for name, categorical in kinds.items():
        cells = _cells(rows, name, source)
        where = f"{source}, column {name!r}"
        if categorical:
            meant = {_plain(category): category for category in spelled.get(name, ())}
            found = [meant.get(_plain(c), c) for c in map(_category, cells)]
            pairs = zip(map(_category, cells), found, strict=True)
            other = {f"{cell!r} as {word!r}": None for cell, word in pairs if cell != word}
            if other:
                notes.append(f"covariate {name!r}: {name_some(other)}, as in training")
            categories[name] = _check_categories(found, where)
            columns.append([category_code(cell) if cell else np.nan for cell in found])
            continue
        categories[name] = None
        columns.append([_number(cell) for cell in cells])
        wrong = [
            (row.slide_id, cell)
            for row, cell, value in zip(rows, cells, columns[-1], strict=True)
            if cell and np.isnan(value)
        ]
        if wrong:
            raise LabelError(
                f"{where} is {name_some(repr(cell) for _, cell in wrong)}",
                expected=f"a number up to {MOST_NUMBER:g}, or nothing where not known",
                remedy=number_remedy([cell for _, cell in wrong]) or "correct the cells",
                slide=wrong[0][0],
            )
    values = np.array(columns, dtype=np.float32).T
    by_slide = {row.slide_id: values[i] for i, row in enumerate(rows)}
    return CovariateTable(categories, by_slide, tuple(notes))


def describe_missing(
    table: CovariateTable, bags: Iterable[Sequence[str]], *, noun: str = "slide"
) -> tuple[str, ...]:
    """Which covariates are not known of some bags, a line each.

    Args:
        table: The covariates.
        bags: The slides of each bag.
        noun: What a bag is.

    Raises:
        LabelError: Slides of a bag contradict each other.
    """
    gone = np.isnan([table.of_bag(slide_ids) for slide_ids in bags]).sum(axis=0)
    return tuple(
        f"covariate {name!r}: not known of {count_of(noun, int(count))}, imputed"
        for name, count in zip(table.names, gone, strict=True)
        if count
    )


def contradicting_patients(
    table: CovariateTable, patients: Mapping[str, Sequence[str]]
) -> dict[str, list[str]]:
    """By covariate the patients whose slides have different values.

    Args:
        table: The covariates.
        patients: The slides of each patient.
    """
    found: dict[str, list[str]] = {}
    for patient, slide_ids in patients.items():
        wrong = _contradicting(np.stack([table.values[slide_id] for slide_id in slide_ids]))
        for i in np.flatnonzero(wrong):
            found.setdefault(table.names[int(i)], []).append(patient)
    return found


def _contradicting(rows: FloatArray) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """(n, V) values of one patient: in which columns two known ones differ."""
    low, high = np.where(np.isnan(rows), np.inf, rows), np.where(np.isnan(rows), -np.inf, rows)
    wrong: np.ndarray[tuple[int], np.dtype[np.bool_]] = high.max(axis=0) > low.min(axis=0)
    return wrong


def _cells(rows: Sequence[SlideRow], name: str, source: str) -> list[str]:
    """One column without spaces around its cells; "" where nothing is known."""
    known = list(dict.fromkeys(key for row in rows for key in row.labels))
    if name in SLIDE_COLUMNS or name not in known:
        alike = [column for column in known if _plain(column) == _plain(name)]
        near = alike or difflib.get_close_matches(name, known, n=1)
        raise LabelError(
            f"{source}: the column {name!r} says which slide or patient it is"
            if name in SLIDE_COLUMNS
            else f"{source} has no column {name!r}, a covariate",
            expected=f"one of {name_some(known)}" if known else "a table with that column",
            remedy=f"did you mean {near[0]}?" if near else "",
        )
    cells = [row.labels.get(name, "").strip() for row in rows]
    return ["" if is_missing(cell) or is_doubtful(cell) else cell for cell in cells]


def _category(cell: str) -> str:
    """Spreadsheets turn a category 1 into 1.0 once a cell of its column is empty."""
    value = as_number(cell)
    return str(int(value)) if not np.isnan(value) and value == int(value) else cell


def _number(cell: str) -> float:
    value = as_number(cell)
    return value if abs(value) <= MOST_NUMBER else np.nan


def _plain(category: str) -> str:
    """The same however it is written; hyphens count: the stages I-II and III are two."""
    return " ".join(category.casefold().split())


def _check_categories(found: Sequence[str], where: str) -> tuple[str, ...]:
    names = tuple(sorted({cell for cell in found if cell}))
    written: dict[str, str] = {}
    for name in names:
        first = written.setdefault(_plain(name), name)
        if first != name:
            raise LabelError(
                f"{where} holds {first!r} and {name!r}",
                expected="one way of writing for each category",
                remedy="write them alike",
            )
    if len({category_code(name) for name in names}) < len(names):
        raise LabelError(f"{where}: two categories have the same code", remedy="rename one")
    return names

"""Which column of a CSV of predictions holds what: as the user says, else recognised by name."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from slidenet.core.errors import PredictionsError
from slidenet.core.vocabulary import as_number, is_missing, names_patients, names_slides
from slidenet.stores.csv_table import CsvTable
from slidenet.tasks import TASKS, Task, TaskKind
from slidenet.tasks.predictions import (
    BAG_COLUMN,
    CALLED_COLUMN,
    FOLD_COLUMN,
    PATIENT_COLUMN,
    PROBABILITY_PREFIX,
    RISK_COLUMN,
    SURVIVAL_PREFIX,
    VALUE_COLUMN,
    is_remark,
)

BAG_NAMES = (BAG_COLUMN, "slide_id", "case_id")
LABEL_NAMES = ("label", "labels", "target", "y_true", "Y", "y")
TIME_NAMES, EVENT_NAMES = ("time", "days", "months", "duration"), ("event", "status", "observed")
OTHER_NAMES = ("prediction", "pred", "loss", "y_pred", "Y_hat", "slide_path", "mpp", "site", "")
STAMP_VALUE, STAMP_LOSS = "pred", "loss"
"""Of STAMP's `patient-preds.csv`, whose probabilities are called `<label>_<class>`."""
NEGATIVE_POSITIVE = (("0", "1"), ("false", "true"), ("no", "yes"), ("negative", "positive"))


@dataclass(frozen=True)
class PredictionColumns:
    """Names of columns and classes, where they are not those slidenet writes.

    Where there are several, as a list or with commas between them.

    Args:
        label_columns: Column of the labels; time,event for survival; one per label for multilabel.
        class_names: Classes in the order of the probabilities; for binary the negative class first.
        probability_columns: Columns of probabilities, one per class in order.
        score_column: The one column of a model with one output: probability of the positive class,
            predicted value, or risk.
        bag_column: Column that names the bag (slide).
        patient_column: Column that names the patient.
        fold_column: Column of the fold, for predictions of cross-validation.
    """

    label_columns: list[str] | str = ""
    class_names: list[str] | str = ""
    probability_columns: list[str] | str = ""
    score_column: str | None = None
    bag_column: str | None = None
    patient_column: str | None = None
    fold_column: str | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """`label_columns` as a tuple."""
        return _split(self.label_columns)

    @property
    def classes(self) -> tuple[str, ...]:
        """`class_names` as a tuple."""
        return _split(self.class_names)

    @property
    def probabilities(self) -> tuple[str, ...]:
        """`probability_columns` as a tuple."""
        return _split(self.probability_columns)


@dataclass(frozen=True, slots=True)
class Roles:
    """What each column of a file is for.

    Attributes:
        task: What is predicted.
        bag: Names the bags.
        patient: Names the patients; None where there is no such column.
        fold: Of a cross-validation; None where there is no such column.
        labelled: Whether the label columns of the task are there.
        arrays: Columns of each array of `PredictionArrays`.
        survival_times: Of the survival columns.
    """

    task: Task
    bag: str
    patient: str | None
    fold: str | None
    labelled: bool
    arrays: Mapping[str, tuple[str, ...]]
    survival_times: tuple[float, ...] = ()


def recognise(
    table: CsvTable, kind: TaskKind | None, named: PredictionColumns, *, labelled: bool
) -> Roles:
    """Finds the columns.

    Raises:
        PredictionsError: A column is missing or could be one of several, saying how to name it.
    """
    # A file without slides is about patients, as that of STAMP.
    like_bags = (*filter(names_slides, table.columns), *filter(names_patients, table.columns))
    bag = _one(table, named.bag_column, (*BAG_NAMES, *like_bags))
    if bag is None:
        raise _unrecognised(table, "names the bags", "--bag-column", BAG_NAMES)
    patient = _one(
        table, named.patient_column, (PATIENT_COLUMN, *filter(names_patients, table.columns))
    )
    fold = _one(table, named.fold_column, (FOLD_COLUMN,))
    probabilities = _probability_columns(table, named)
    survival = tuple(n for n in table.columns if survival_time(n) > 0)
    of_kind = TASKS[kind or _kind(table, named, probabilities)]
    used = {bag, patient, fold, *probabilities, *survival, RISK_COLUMN, VALUE_COLUMN}
    used |= {named.score_column, *named.probabilities, CALLED_COLUMN}
    free = [n for n in table.columns if n not in used and not is_remark(n)]
    if of_kind.output == "probabilities":
        if of_kind.has_positive_class and named.score_column and not named.probabilities:
            probabilities = (table.require(named.score_column),)
        if not probabilities:
            raise _unrecognised(
                table,
                "holds probabilities",
                "--probability-columns",
                (PROBABILITY_PREFIX + "<class>",),
            )
        labels = _label_columns(table, of_kind, named, probabilities, free, labelled)
        names = _class_names(table, of_kind, named, probabilities, labels)
        task = of_kind(labels or _usual_labels(of_kind, names), names)
        return Roles(task, bag, patient, fold, bool(labels), {"probabilities": probabilities})
    usual = VALUE_COLUMN if of_kind.output == "value" else RISK_COLUMN
    if of_kind.output == "value" and usual not in table.columns and _is_of_stamp(table):
        usual = STAMP_VALUE
    score = table.require(named.score_column or usual, remedy="name it with --score-column")
    labels = _label_columns(table, of_kind, named, (), free, labelled)
    columns = labels or _usual_labels(of_kind, ())
    arrays: dict[str, tuple[str, ...]] = {of_kind.output: (score,)}
    if of_kind.output == "value":
        return Roles(of_kind(columns), bag, patient, fold, bool(labels), arrays)
    if survival:
        survival = tuple(sorted(survival, key=survival_time))
        arrays["survival"] = survival
    if of_kind.has_time_bins and len(survival) < 2:
        raise _unrecognised(
            table, "holds survival probabilities", "--task cox", (SURVIVAL_PREFIX + "<time>",)
        )
    times = tuple(map(survival_time, survival))
    task = of_kind(columns, time_edges=times if of_kind.has_time_bins else ())
    return Roles(task, bag, patient, fold, bool(labels), arrays, times)


def class_index(cell: str, class_names: Sequence[str]) -> int | None:
    """The class a cell names, as text or as the same number ("1.0" for "1"); None if none."""
    if cell in class_names:
        return class_names.index(cell)
    number = as_number(cell)
    matching = [i for i, name in enumerate(class_names) if as_number(name) == number]
    return matching[0] if matching else None


def _split(names: Sequence[str] | str) -> tuple[str, ...]:
    parts = names.split(",") if isinstance(names, str) else names
    return tuple(part.strip() for part in parts if part.strip())


def _one(table: CsvTable, named: str | None, names: Iterable[str]) -> str | None:
    if named is not None:
        return table.require(named)
    return next((name for name in names if name in table.columns), None)


def _probability_columns(table: CsvTable, named: PredictionColumns) -> tuple[str, ...]:
    if named.probabilities:
        return tuple(table.require(name) for name in named.probabilities)
    for pattern in (f"{PROBABILITY_PREFIX}.+", r"p_\d+"):
        found = tuple(name for name in table.columns if re.fullmatch(pattern, name))
        if found:
            return found
    for label in table.columns:
        found = tuple(name for name in table.columns if name.startswith(f"{label}_"))
        values = {cell for cell in table.cells(label) if not is_missing(cell)}
        classes = [name.removeprefix(f"{label}_") for name in found]
        if len(found) > 1 and values and all(class_index(v, classes) is not None for v in values):
            return found
    return ()


def _is_of_stamp(table: CsvTable) -> bool:
    return {STAMP_VALUE, STAMP_LOSS} <= set(table.columns)


def _common_label(table: CsvTable, probabilities: Sequence[str]) -> str | None:
    """The label column whose name, with that of a class, each column of probabilities has."""
    fitting = [
        label
        for label in table.columns
        if probabilities and all(name.startswith(f"{label}_") for name in probabilities)
    ]
    return fitting[0] if len(fitting) == 1 else None


def survival_time(name: str) -> float:
    """The time of a survival column; NaN for any other."""
    starts = name.startswith(SURVIVAL_PREFIX)
    return as_number(name.removeprefix(SURVIVAL_PREFIX)) if starts else math.nan


def _kind(table: CsvTable, named: PredictionColumns, probabilities: Sequence[str]) -> TaskKind:
    if probabilities:
        names = [_class_of(column) for column in probabilities]
        if set(names) <= set(table.columns) - set(probabilities) or len(named.labels) > 1:
            return "multilabel"
        return "multiclass" if len(probabilities) > 2 else "binary"
    if RISK_COLUMN in table.columns or len(named.labels) == 2:
        return "cox"
    if VALUE_COLUMN in table.columns or (not named.score_column and _is_of_stamp(table)):
        return "regression"
    if named.score_column:
        raise PredictionsError(
            f"{table.path}: column {named.score_column!r} could be a probability, a value "
            "or a risk",
            remedy="say which with --task binary, regression or cox",
        )
    raise _unrecognised(
        table,
        "holds predictions",
        "--probability-columns or --score-column",
        (PROBABILITY_PREFIX + "<class>", VALUE_COLUMN, RISK_COLUMN),
    )


def _class_of(column: str) -> str:
    return column.removeprefix(PROBABILITY_PREFIX)


def _label_columns(
    table: CsvTable,
    kind: type[Task],
    named: PredictionColumns,
    probabilities: Sequence[str],
    free: Sequence[str],
    labelled: bool,
) -> tuple[str, ...]:
    """The columns of the labels; none where there are none and none are needed."""
    if named.labels:
        return tuple(table.require(name) for name in named.labels)
    if kind.partial_labels:
        names = named.classes or tuple(map(_class_of, probabilities))
        if not labelled and not set(names) & set(table.columns):
            return ()
        return tuple(table.require(name, remedy="name them with --label-columns") for name in names)
    common = _common_label(table, probabilities)
    if common is not None:
        return (common,)
    survival = kind.output == "risk"
    wanted: list[str | None] = (
        [_one(table, None, TIME_NAMES), _one(table, None, EVENT_NAMES)]
        if survival
        else [_one(table, None, [n for n in LABEL_NAMES if n in free])]
    )
    found = tuple(name for name in wanted if name is not None)
    rest = tuple(name for name in free if name not in OTHER_NAMES)
    if len(found) < len(wanted):
        found = rest if len(rest) == len(wanted) else ()
    if found or not labelled:
        return found
    what = "hold time and event" if survival else "holds the labels"
    raise _unrecognised(table, what, "--label-columns", LABEL_NAMES[:1] if not survival else ())


def _class_names(
    table: CsvTable,
    kind: type[Task],
    named: PredictionColumns,
    probabilities: Sequence[str],
    labels: Sequence[str],
) -> tuple[str, ...]:
    """Names of the classes, in the order of the probabilities."""
    if kind.partial_labels:
        return tuple(labels) or tuple(map(_class_of, probabilities))
    single = len(probabilities) == 1
    if named.classes:
        wanted = 2 if single else len(probabilities)
        if len(named.classes) != wanted:
            raise PredictionsError(
                f"--class-names holds {len(named.classes)} names for the columns "
                f"{', '.join(map(repr, probabilities))} of {table.path}",
                expected=f"{wanted} names",
            )
        return named.classes
    values = (
        sorted(cell for cell in set(table.cells(labels[0])) if not is_missing(cell))
        if labels
        else []
    )
    if single:
        return _two_classes(table, probabilities[0], values)
    common = _common_label(table, probabilities)
    if common is not None:
        return tuple(name.removeprefix(f"{common}_") for name in probabilities)
    names = tuple(map(_class_of, probabilities))
    if all(class_index(value, names) is not None for value in values):
        return names
    # A column such as score_tumour belongs to the class its name ends with.
    ends = [[v for v in values if name.endswith(f"_{v}")] for name in probabilities]
    if all(len(found) == 1 for found in ends):
        return tuple(found[0] for found in ends)
    return tuple(name.removeprefix("p_") for name in names)


def _two_classes(table: CsvTable, column: str, values: Sequence[str]) -> tuple[str, ...]:
    for pair in NEGATIVE_POSITIVE:
        if values and all(class_index(value.lower(), pair) is not None for value in values):
            return tuple(next((v for v in values if v.lower() == n), n) for n in pair)
    positive = _class_of(column)
    if len(values) == 2 and positive in values:
        return (next(v for v in values if v != positive), positive)
    raise PredictionsError(
        f"{table.path}: which of the labels {', '.join(map(repr, values)) or '(none)'} is "
        f"the positive class of column {column!r} cannot be told",
        remedy="say --class-names NEGATIVE,POSITIVE",
    )


def _usual_labels(kind: type[Task], names: Sequence[str]) -> tuple[str, ...]:
    """Label columns of a task whose file has none."""
    if kind.partial_labels:
        return tuple(names)
    return (TIME_NAMES[0], EVENT_NAMES[0]) if kind.output == "risk" else ("label",)


def _unrecognised(table: CsvTable, what: str, flag: str, names: Sequence[str]) -> PredictionsError:
    for sign, name in ((";", "semicolons"), ("\t", "tabs")):
        if any(sign in column for column in table.columns):
            return PredictionsError(
                f"the columns of {table.path} look separated by {name}",
                remedy="separate them with commas",
            )
    return PredictionsError(
        f"which column of {table.path} {what} cannot be told from "
        f"{', '.join(map(repr, table.columns))}",
        expected=f"a column named {' or '.join(names)}" if names else "",
        remedy=f"name it with {flag}"
        + ("; for bags without labels see evaluate --bundle" if flag == "--label-columns" else ""),
    )

"""Labels of other centres in the words of a trained model: columns and classes matched, and said.

Whatever a label is taken for is said in a note; what cannot be matched is left out by name, or
refused where leaving it out would make the classes of the model disappear.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from slidenet.core.errors import ConfigError, LabelError
from slidenet.core.records import SlideRow
from slidenet.core.text import count_of, name_some
from slidenet.core.vocabulary import as_number, as_truth, is_doubtful, is_missing, spelling
from slidenet.data import LabelTable
from slidenet.data.labels.cells import has_no_label
from slidenet.data.labels.left_out import NO_LABEL, LeftOut
from slidenet.tasks import Task

CLASS_MAP = "--class-map"


@dataclass(frozen=True, eq=False)
class Truth:
    """The slides of another cohort that have a label the model knows.

    Attributes:
        table: Their rows, with labels in the model's columns and words.
        left_out: Those without.
        notes: What was taken for what, a line each.
    """

    table: LabelTable
    left_out: tuple[LeftOut, ...]
    notes: tuple[str, ...]


def match_truth(
    table: LabelTable,
    task: Task,
    *,
    label_columns: Sequence[str] = (),
    class_map: Mapping[str, str] | None = None,
) -> Truth:
    """The labels of a table as a model would write them.

    Args:
        table: Of the other cohort.
        task: What the model predicts.
        label_columns: The columns of the table, in the order of the task's; default: those of the
            same name.
        class_map: Class of the table to class of the model; "" leaves such slides out.

    Raises:
        LabelError: No column, no label, or classes that cannot be matched, saying how to name them.
        ConfigError: A map of classes that are not there.
    """
    columns, notes = _columns(table, task, label_columns)
    rows, left_out, lines = [], [], []
    cells = {ours: table.column(theirs) for ours, theirs in columns.items()}
    names: dict[str, str] = {}
    if task.exclusive_classes:
        ((_, theirs),) = columns.items()
        names, more = _classes(table, theirs, task, class_map or {})
        notes += more
    elif class_map:
        raise ConfigError(
            f"{CLASS_MAP} for a model of {task.describe()}", expected="a model of classes"
        )
    for position, row in enumerate(table.rows):
        found = {ours: cells[ours][position] for ours in columns}
        reason = _reason(found, task, names, class_map or {})
        if reason:
            left_out.append(LeftOut(row.slide_id, row.patient_id, reason))
            continue
        found = {
            ours: names.get(cell, "" if is_doubtful(cell) else cell) for ours, cell in found.items()
        }
        labels = {**row.labels, **dict.fromkeys(task.label_columns, ""), **found}
        rows.append(replace(row, labels=labels))
        lines.append(table.lines[position])
    if not rows:
        raise LabelError(
            f"{table.path}: no slide has a label in {' and '.join(map(repr, columns.values()))} "
            "that the model knows",
            expected="labels of " + task.describe(),
        )
    all_columns = tuple(dict.fromkeys((*table.columns, *task.label_columns)))
    kept = replace(table, columns=all_columns, rows=tuple(rows), lines=tuple(lines))
    return Truth(kept, tuple(left_out), tuple(notes))


def carried_labels(bags: Sequence[Sequence[SlideRow]], task: Task) -> dict[str, list[str]] | None:
    """Labels that stand in the table of the slides to be predicted, in the model's words.

    Args:
        bags: The slides of each bag.
        task: What the model predicts.

    Returns:
        By label column a cell for each bag, empty where nothing is known, where the slides of a bag
        differ, or where the model has no such class; None where the table lacks the columns.
    """
    columns = task.label_columns
    if not all(column in row.labels for rows in bags for row in rows for column in columns):
        return None
    found: dict[str, list[str]] = {column: [] for column in columns}
    for rows in bags:
        for column in columns:
            cells = {row.labels[column].strip() for row in rows}
            cell = cells.pop() if len(cells) == 1 else ""
            if task.exclusive_classes:
                cell = _nearest(cell, task.class_names) or ""
            elif has_no_label(cell, task.kind) or is_doubtful(cell):
                cell = ""
            found[column].append(cell)
    return found if any(any(cells) for cells in found.values()) else None


def left_out_lines(left_out: Sequence[LeftOut]) -> list[str]:
    """How many slides are left out for each reason, with names."""
    reasons: dict[str, list[str]] = {}
    for one in left_out:
        reasons.setdefault(one.reason, []).append(one.slide_id)
    return [
        f"Left out: {count_of('slide', len(slides))} ({reason}): {name_some(slides)}."
        for reason, slides in reasons.items()
    ]


def _columns(
    table: LabelTable, task: Task, named: Sequence[str]
) -> tuple[dict[str, str], list[str]]:
    """The column of the table for each label column of the task, and what to say about it."""
    ours = task.label_columns
    if named:
        if len(named) != len(ours):
            raise ConfigError(
                f"--label-columns names {count_of('column', len(named))}",
                expected=f"{len(ours)}, for {', '.join(map(repr, ours))} of the model",
            )
        for name in named:
            table.check_column(name)
        return dict(zip(ours, named, strict=True)), [
            f"Labels {' and '.join(map(repr, named))} are {' and '.join(map(repr, ours))} of the "
            "model."
        ]
    found, notes = {}, []
    for column in ours:
        if column in table.columns:
            found[column] = column
            continue
        near = [name for name in table.columns if spelling(name) == spelling(column)]
        if len(near) == 1:
            found[column] = near[0]
            notes.append(f"Column {near[0]!r} is taken for {column!r} of the model.")
    absent = [column for column in ours if column not in found]
    if absent and not (task.partial_labels and found):
        raise LabelError(
            f"{table.path} has no column {absent[0]!r}, which is what the model predicts",
            expected=f"one of {', '.join(map(repr, table.columns))} to be it",
            remedy="say which with --label-columns"
            + (f", {len(ours)} in the order {', '.join(ours)}" if len(ours) > 1 else ""),
        )
    if absent:
        notes.append(f"The table has no column {name_some(map(repr, absent))}: not judged.")
    return found, notes


def _classes(
    table: LabelTable, column: str, task: Task, class_map: Mapping[str, str]
) -> tuple[dict[str, str], list[str]]:
    """The model's class for each cell that names one, and what to say about it."""
    known, notes = task.class_names, list[str]()
    counts = Counter(c for c in table.column(column) if not is_missing(c, known) and c)
    given: dict[str, str | None] = {}
    for name, ours in class_map.items():
        theirs, target = _nearest(name, counts), _nearest(ours, known) if ours else None
        if theirs is None or (ours and target is None):
            raise ConfigError(
                f"{CLASS_MAP} {name}={ours}",
                expected=f"a class of {table.path} ({name_some(counts)}) and one of the model "
                f"({', '.join(known)}), or nothing to leave such slides out",
            )
        given[theirs] = target
    names: dict[str, str] = {}
    for cell in counts:
        meant = given[cell] if cell in given else _nearest(cell, known)
        if meant is not None:
            names[cell] = meant
    changed = [f"{cell} as {ours}" for cell, ours in names.items() if cell != ours]
    if changed:
        notes.append(f"Classes read in the model's words: {name_some(changed, most=20)}.")
    unknown = [
        cell for cell in counts if cell not in names and cell not in given and not is_doubtful(cell)
    ]
    absent = [name for name in known if name not in names.values()]
    if unknown and absent:
        example = f"{CLASS_MAP} {unknown[0]}={absent[0]}"
        raise LabelError(
            f"{table.path}, column {column!r} holds the classes {name_some(map(repr, unknown))}, "
            f"and none of the model's {name_some(map(repr, absent))}",
            expected=f"the classes {', '.join(known)}, or a word for each",
            remedy=f"say which is which, such as {example!r}; '{CLASS_MAP} {unknown[0]}=' leaves "
            "such slides out",
        )
    if absent:
        notes.append(f"No slide is of the class {name_some(absent)}.")
    return names, notes


def _nearest(word: str, names: Sequence[str] | Counter[str]) -> str | None:
    """The name that a word means: itself, its number, another spelling, or yes for 1."""
    if word in names:
        return word
    number, truth = as_number(word), as_truth(word)
    truths = [as_truth(name) for name in names]
    for same in (
        [name for name in names if not math.isnan(number) and as_number(name) == number],
        [name for name in names if word and spelling(name) == spelling(word)],
        # Only where both classes are such words, as 0 and 1: then yes is 1.
        [name for name, value in zip(names, truths, strict=True) if value == truth]
        if sorted(truths) == [0.0, 1.0]
        else [],
    ):
        if len(same) == 1:
            return same[0]
    return None


def _reason(
    found: Mapping[str, str], task: Task, names: Mapping[str, str], class_map: Mapping[str, str]
) -> str:
    """Why a slide has no label the model knows; "" where it has one."""
    if task.exclusive_classes:
        (cell,) = found.values()
        if cell in names:
            return ""
        if is_missing(cell):
            return NO_LABEL
        dropped = any(spelling(cell) == spelling(name) for name in class_map)
        return f"label {cell!r}, " + (
            f"left out by {CLASS_MAP}" if dropped else "which is no class of the model"
        )
    missing = [has_no_label(cell, task.kind) or is_doubtful(cell) for cell in found.values()]
    enough = all if task.partial_labels else any
    return NO_LABEL if enough(missing) else ""

"""The classes a column holds: as they are written, refused where two of them may be one."""

import json
import shlex
from collections.abc import Sequence

import numpy as np

from slidenet.core.errors import ConfigError, LabelError
from slidenet.core.text import name_some
from slidenet.core.vocabulary import (
    as_number,
    is_doubtful,
    is_missing,
    look_alike,
    spelling,
    usual_order,
)
from slidenet.data.labels.table import LabelTable
from slidenet.tasks import Task

CLASS_NAMES, LEAVE_OUT = "--data.class-names", "--data.leave-out"


def classes_found(table: LabelTable, kind: type[Task], column: str) -> tuple[str, ...]:
    """The classes in a column, sorted: by value if all are numbers, else by letter.

    Raises:
        LabelError: Words that may mean "not known", two spellings of one word, classes whose order
            is not known and needed, or too many or too few of them.
    """
    cells = table.column(column)
    labels = {cell for cell in cells if not is_missing(cell)}
    _refuse_doubtful(table, kind, column, cells, labels)
    numeric = all(not np.isnan(as_number(label)) for label in labels)
    if numeric:  # 1 and 1.0 are one class, called by the shorter
        by_value = {as_number(s): s for s in sorted(labels, key=lambda s: (-len(s), s))}
        names = tuple(by_value[value] for value in sorted(by_value))
    else:
        names = tuple(sorted(labels))
        _refuse_same_words(table, column, cells, names)
    shown = name_some(names)
    if kind.ordered_classes and not numeric:
        order = usual_order(names)
        raise LabelError(
            f"{table.path}, column {column!r} holds the classes {shown}, whose order is not known",
            expected="class_names in their order, for an ordinal task",
            remedy=f"give {list_flag(CLASS_NAMES, order)}, if that is the order you mean"
            if order
            else "give all of them as --data.class-names, the lowest first",
        )
    if len(names) < 2 or (kind.has_positive_class and len(names) > 2):
        raise LabelError(
            f"{table.path}, column {column!r} holds {len(names)} classes ({shown or 'no label'})"
            if len(names) != 1
            else f"{table.path}, column {column!r} holds one class only ({shown})",
            expected="two classes" if kind.has_positive_class else "at least two classes",
            remedy=_too_many(names, cells) if len(names) > 2 else "check it",
        )
    return names


def with_positive(names: tuple[str, ...], positive: str, *, given: bool) -> tuple[str, ...]:
    """Two classes in order, the positive one last.

    Args:
        names: The classes.
        positive: Which is the positive one; case, spaces and hyphens do not matter.
        given: Whether the user gave the classes in an order of their own.

    Raises:
        ConfigError: There is no such class, or the order given says otherwise.
    """
    same = [name for name in names if name == positive]
    same = same or [name for name in names if spelling(name) == spelling(positive)]
    if len(same) != 1:
        raise ConfigError(
            f"positive is {positive!r}", expected=f"one of the classes {', '.join(names)}"
        )
    if given and names[-1] != same[0]:
        raise ConfigError(
            f"positive is {positive!r}, and class_names put {names[-1]!r} last",
            expected="the positive class last in class_names",
            remedy="give one of the two",
        )
    return (*(name for name in names if name != same[0]), same[0])


def like_words(names: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of classes that may be one, mistyped."""
    return [
        (one, other)
        for i, one in enumerate(names)
        for other in names[i + 1 :]
        if look_alike(one, other)
    ]


def _refuse_doubtful(
    table: LabelTable, kind: type[Task], column: str, cells: Sequence[str], labels: set[str]
) -> None:
    doubtful = sorted(label for label in labels if is_doubtful(label))
    if doubtful:
        rows = [i for i, cell in enumerate(cells) if cell in doubtful]
        named = f"; if it is a class, name all of them: {list_flag(CLASS_NAMES, sorted(labels))}"
        if kind.ordered_classes:
            named = f"; if it is a class, name all of them with {CLASS_NAMES}, the lowest first"
        elif kind.has_positive_class and len(labels) > 2:  # naming three would be refused
            named = ""
        raise LabelError(
            f"{table.place(rows, column)}: {len(rows)} of {len(cells)} cells hold "
            f"{name_some(map(repr, doubtful))}, which may mean that nothing is known",
            expected="classes, or nothing where the label is not known",
            remedy=f"leave such slides out with {list_flag(LEAVE_OUT, doubtful)}{named}",
        )


def _refuse_same_words(
    table: LabelTable, column: str, cells: Sequence[str], names: Sequence[str]
) -> None:
    first: dict[str, str] = {}
    for name in names:
        number = as_number(name)
        other = first.setdefault(spelling(name) if np.isnan(number) else f"= {number}", name)
        if other != name:
            count = {word: sum(cell == word for cell in cells) for word in (other, name)}
            rare, usual = sorted(count, key=lambda word: count[word])
            rows = [i for i, cell in enumerate(cells) if cell == rare]
            raise LabelError(
                f"{table.place(rows, column)} is {rare!r}, elsewhere {usual!r}: they differ in "
                "case, spaces or hyphens only, or are one number",
                expected="one spelling for each class",
                remedy=f"write {usual!r} in both; if they are two classes, name all of them with "
                "--data.class-names",
            )


def _too_many(names: Sequence[str], cells: Sequence[str]) -> str:
    pairs = like_words(names)
    if pairs:
        one, other = pairs[0]
        return f"write {one!r} and {other!r} alike if they are one class"
    rarest = min(names, key=cells.count)
    return (
        "predict all of them with --data.task multiclass, leave some out, such as "
        f"{list_flag(LEAVE_OUT, [rarest])}, or take another column"
    )


def list_flag(flag: str, names: Sequence[str]) -> str:
    """A flag with a list as it is typed: `--data.leave-out=unknown,'?'` in the shell's quotes."""
    plain = not any(mark in name for name in names for mark in ",[]{}\"'")
    text = ",".join(names) if plain else json.dumps(list(names), ensure_ascii=False)
    return f"{flag}={shlex.quote(text)}"

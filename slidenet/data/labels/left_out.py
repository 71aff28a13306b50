"""Slides of a table that nothing is learned from, and why: said by name, never dropped silently."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from slidenet.core.checks import refused
from slidenet.core.errors import LabelError
from slidenet.core.text import count_of, name_some
from slidenet.core.vocabulary import spelling
from slidenet.data.labels.cells import has_no_label, label_columns
from slidenet.data.labels.table import LabelTable
from slidenet.tasks import Task

NO_LABEL = "no label"
NO_FILE = "no features file"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A slide (or part of one) that is in the table and in no bag.

    Attributes:
        slide_id: Its name.
        patient_id: Whose it is; None where unknown.
        reason: In a few words: "no label", "no features file", "label 'unknown'".
    """

    slide_id: str
    patient_id: str | None
    reason: str


def blank_cells(
    table: LabelTable, columns: Sequence[str], words: Collection[str]
) -> tuple[LabelTable, dict[str, str]]:
    """The table with the cells emptied that hold words to be left out.

    Args:
        table: The labels.
        columns: Where the words may stand.
        words: As in the table; case, spaces and hyphens do not matter.

    Returns:
        The table, and what was written in the label columns of each slide concerned.

    Raises:
        LabelError: No such column, or no cell holds one of the words.
    """
    if isinstance(words, str):  # its letters would be taken for words
        raise refused("leave_out", words, f"a list, such as [{words!r}]")
    if not words:
        return table, {}
    wanted = {spelling(word): word for word in words}
    found: dict[str, str] = {}
    used = set()
    for column in columns:
        table.check_column(column, "--data.label-columns")
    cells = {column: table.column(column) for column in columns}
    for position, slide_id in enumerate(table.slide_ids):
        for column in columns:
            cell = cells[column][position]
            key = spelling(cell)
            if key in wanted:
                used.add(key)
                found.setdefault(slide_id, cell)
    unused = [word for key, word in wanted.items() if key not in used]
    if unused:
        held = sorted({cell for column in cells.values() for cell in column})
        raise LabelError(
            f"{table.path}: no cell of {' and '.join(map(repr, columns))} holds "
            f"{name_some(map(repr, unused))}, which --data.leave-out names",
            expected=f"words that are there, such as {name_some(map(repr, held))}",
            remedy="correct or remove the word",
        )
    rows = tuple(
        row
        if row.slide_id not in found
        else replace(
            row,
            labels={
                name: "" if name in cells and spelling(v) in wanted else v
                for name, v in row.labels.items()
            },
        )
        for row in table.rows
    )
    return replace(table, rows=rows), found


def without_label(
    rows: LabelTable,
    labelled: LabelTable,
    task: Task,
    words: dict[str, str],
) -> list[LeftOut]:
    """The rows that are not among the labelled ones, each with what stood in its cells.

    Args:
        rows: All rows, as `blank_cells` gives them.
        labelled: Those with a label.
        task: What is predicted.
        words: What was written in cells that were emptied, by slide.
    """
    cells = [(rows.column(column), of_column.kind) for column, of_column in label_columns(task)]
    found = []
    for position, row in enumerate(rows.rows):
        if row.slide_id in labelled.index:
            continue
        reason = NO_LABEL
        if row.slide_id in words:
            reason = f"label {words[row.slide_id]!r}"
        else:
            written = [c[position] for c, kind in cells if has_no_label(c[position], kind)]
            shown = next((word for word in written if word), "")
            reason += f" (written {shown})" if shown else ""
        found.append(LeftOut(row.slide_id, row.patient_id, reason))
    return found


def describe_left_out(
    left_out: Sequence[LeftOut], kept_patients: Collection[str], *, noun: str = "slide"
) -> list[str]:
    """Lines that count what was left out by reason, name it, and name patients who lost a part.

    Args:
        left_out: Slides in no bag.
        kept_patients: Patients some of whose slides are in bags.
        noun: What a row is about.
    """
    lines = []
    by_reason = Counter(one.reason for one in left_out)
    for reason, count in by_reason.items():
        names = name_some(one.slide_id for one in left_out if one.reason == reason)
        lines.append(f"left out, {reason}: {count_of(noun, count)} ({names})")
    reduced = reduced_patients(left_out, kept_patients)
    if reduced:
        shown = name_some(f"{patient} ({', '.join(lost)})" for patient, lost in reduced.items())
        verb = "have" if len(reduced) > 1 else "has"
        lines.append(
            f"{count_of('patient', len(reduced))} {verb} lost a {noun} and not all of them: {shown}"
        )
    return lines


def reduced_patients(
    left_out: Iterable[LeftOut], kept_patients: Collection[str]
) -> dict[str, list[str]]:
    """The slides that patients have lost who are still there with others."""
    lost: dict[str, list[str]] = {}
    for one in left_out:
        if one.patient_id is not None and one.patient_id in kept_patients:
            lost.setdefault(one.patient_id, []).append(one.slide_id)
    return lost

"""One split of slides into train, val and test, and what makes it unusable."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from slidenet.core.errors import SplitError
from slidenet.core.text import name_some, plural
from slidenet.core.vocabulary import id_spelling
from slidenet.data.labels.table import LabelTable

SplitName = Literal["train", "val", "test"]
SPLIT_NAMES: tuple[SplitName, ...] = get_args(SplitName)


@dataclass(frozen=True, slots=True)
class Split:
    """Which slides a model learns from, is chosen by, and is judged on.

    Attributes:
        train: slide_ids.
        val: slide_ids for early stopping and the choice of settings; may be empty.
        test: slide_ids; may be empty.
    """

    train: tuple[str, ...]
    val: tuple[str, ...] = ()
    test: tuple[str, ...] = ()

    def slides(self, name: SplitName) -> tuple[str, ...]:
        """The slide_ids of one split."""
        slides: tuple[str, ...] = getattr(self, name)
        return slides

    def among(self, slide_ids: Collection[str]) -> "Split":
        """The same split of these slides only."""
        kept = {n: tuple(s for s in self.slides(n) if s in slide_ids) for n in SPLIT_NAMES}
        return Split(**kept)

    def by_slide(self) -> dict[str, list[str]]:
        """The splits each slide is in; one, unless the record is faulty."""
        found: dict[str, list[str]] = {}
        for name in SPLIT_NAMES:
            for slide_id in dict.fromkeys(self.slides(name)):
                found.setdefault(slide_id, []).append(name)
        return found


def check_split(
    split: Split, table: LabelTable, *, group_column: str = "patient_id", name: str = "the split"
) -> None:
    """Refuses a split that leaks, or names slides nobody knows.

    Args:
        split: As read from a file, or made.
        table: The slides with their patients.
        group_column: What must stay on one side; a slide without it is a group of its own.
        name: What to call the split in messages ("fold 3").

    Raises:
        SplitError: An unknown slide_id, a slide in two splits, a patient in two splits, or nothing
            to train on.
    """
    if not split.train:
        raise SplitError(f"{name} has no slide to train on", expected="at least one")
    found = split.by_slide()
    unknown = [slide_id for slide_id in found if slide_id not in table.index]
    if unknown:
        raise SplitError(
            f"{name} names {_named('slide', unknown)} that {table.path} has no row of",
            expected="slide_ids as the table of labels spells them",
            remedy=_spelled(unknown, table)
            or "add the rows, or remove these slides from the split",
        )
    twice = [slide_id for slide_id, names in found.items() if len(names) > 1]
    if twice:
        raise SplitError(
            f"{name} has {_named('slide', twice)} in {' and '.join(found[twice[0]])} at once",
            expected="each slide in one split",
            remedy="keep each slide in one split only",
        )
    sides: dict[str, set[str]] = defaultdict(set)
    for slide_id, (side,) in found.items():
        sides[group_of(table, slide_id, group_column)].add(side)
    leaking = [group for group, names in sides.items() if len(names) > 1]
    if leaking:
        where = " and ".join(name for name in SPLIT_NAMES if name in sides[leaking[0]])
        noun = "patient" if group_column == "patient_id" else group_column
        raise SplitError(
            f"{name} has slides of {_named(noun, leaking)} in {where}",
            expected=f"all slides of one {noun} in one split",
            remedy="move them to one split, or let slidenet make the splits",
        )


def group_of(table: LabelTable, slide_id: str, group_column: str) -> str:
    """What must stay together with a slide; the slide itself where the table does not say."""
    if group_column == "patient_id":
        return table.patient_of(slide_id)
    table.check_column(group_column)
    return table.row(slide_id).labels[group_column].strip() or slide_id


def _spelled(unknown: Sequence[str], table: LabelTable) -> str:
    """What to do where the table spells slides otherwise; "" where it does not."""
    known = {id_spelling(slide_id, file_name=True): slide_id for slide_id in table.slide_ids}
    meant = {s: known[key] for s in unknown if (key := id_spelling(s, file_name=True)) in known}
    if not meant:
        return ""
    first = next(iter(meant))
    return f"write them as the table does: {first!r} as {meant[first]!r}"


def _named(noun: str, names: Sequence[str]) -> str:
    return f"{plural(noun, len(names))} {name_some(map(repr, names))}"

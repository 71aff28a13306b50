"""Checks of splits: nothing a model learns from may come back where it is judged."""

from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from slidenet.auditing.cohort import Cohort
from slidenet.auditing.finding import Finding
from slidenet.core.text import count_of, name_some
from slidenet.data.splits.record import SPLIT_NAMES
from slidenet.data.splits.strata import strata_of

_SPLIT_REMEDY = "keep each patient in one part, or let slidenet make the splits"


def unknown_slides(cohort: Cohort) -> Iterator[Finding]:
    """Slides of a split without a row in the table."""
    names = {s for split in cohort.splits for s in split.by_slide()}
    unknown = sorted(names - set(cohort.table.slide_ids))
    if unknown:
        yield Finding(
            "unknown-slide",
            "error",
            f"the splits name {count_of('slide', len(unknown))} that {cohort.table.path} has no "
            f"row of: {name_some(unknown)}",
            "add the rows, or correct the names in the splits",
        )


def slides_in_two_splits(cohort: Cohort) -> Iterator[Finding]:
    """One slide_id in two of train, val and test."""
    for number, split in enumerate(cohort.splits):
        twice = {s: names for s, names in split.by_slide().items() if len(names) > 1}
        if twice:
            where = name_some(f"{slide} in {' and '.join(names)}" for slide, names in twice.items())
            slides = count_of("slide", len(twice))
            yield Finding(
                "slide-in-two-parts",
                "error",
                f"{cohort.split_name(number)}: {slides} in two parts: {where}",
                _SPLIT_REMEDY,
            )


def patients_in_two_splits(cohort: Cohort) -> Iterator[Finding]:
    """Different slides of one patient in two of train, val and test."""
    for number, split in enumerate(cohort.splits):
        slides: dict[str, dict[str, str]] = defaultdict(dict)
        for slide_id, names in split.by_slide().items():
            if slide_id in cohort.table.index:
                slides[cohort.table.patient_of(slide_id)][slide_id] = names[0]
        leaking = {p: found for p, found in slides.items() if len(set(found.values())) > 1}
        if leaking:
            where = name_some(
                f"{patient} ({', '.join(f'{slide} in {name}' for slide, name in found.items())})"
                for patient, found in leaking.items()
            )
            yield Finding(
                "patient-in-two-parts",
                "error",
                f"{cohort.split_name(number)}: {count_of('patient', len(leaking))} in two parts: "
                f"{where}",
                _SPLIT_REMEDY,
            )


def splits_without_class(cohort: Cohort) -> Iterator[Finding]:
    """Train, val or test without a class (an event, for survival) that the table has.

    Test parts may be what they are, one hospital or one patient: of those it is a note where all
    folds together test every class, and a warning where they do not.
    """
    if cohort.task is None or cohort.labelled is None:
        return
    strata = strata_of(cohort.labelled, cohort.task, group_column="patient_id")
    index = {slide_id: i for i, slide_id in enumerate(strata.slide_ids)}
    tested = np.zeros(len(strata.names), np.bool_)
    lacking_tests: list[str] = []
    for number, split in enumerate(cohort.splits):
        for split_name in SPLIT_NAMES:
            rows = [index[s] for s in split.slides(split_name) if s in index]
            if not split.slides(split_name):
                continue
            there = strata.members[rows].any(0)
            wanted = strata.needed if split_name == "train" else strata.everywhere
            absent = wanted & ~there & strata.members.any(0)
            lacking = [name for name, gone in zip(strata.names, absent, strict=True) if gone]
            words = (
                f"{cohort.split_name(number)}: the {split_name} part has "
                f"{count_of('labelled slide', len(rows))}, none with {name_some(lacking)}"
            )
            if split_name == "test":
                tested |= there
                lacking_tests += [words] if lacking else []
            elif lacking:
                remedy = "use fewer folds, or make the splits in proportion to the labels"
                yield Finding("part-without-class", "error", words, remedy)
    if lacking_tests:
        whole = bool((tested | ~strata.everywhere | ~strata.members.any(0)).all())
        others = len(lacking_tests) - 1
        yield Finding(
            "part-without-class",
            "note" if whole else "warning",
            lacking_tests[0] + (f" (and {others} more such test parts)" if others else ""),
            "metrics that need every class are not defined there"
            + ("; those of all folds together are" if whole else ""),
        )

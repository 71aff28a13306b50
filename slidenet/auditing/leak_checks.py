"""Checks of splits: nothing a model learns from may come back where it is judged."""

from collections import defaultdict
from collections.abc import Iterator

from slidenet.auditing.cohort import Cohort
from slidenet.auditing.finding import Finding
from slidenet.core.words import count_of, name_some
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


def slides_in_two_parts(cohort: Cohort) -> Iterator[Finding]:
    """One slide_id in two parts of a split."""
    for number, split in enumerate(cohort.splits):
        twice = {s: parts for s, parts in split.by_slide().items() if len(parts) > 1}
        if twice:
            where = name_some(f"{slide} in {' and '.join(parts)}" for slide, parts in twice.items())
            slides = count_of("slide", len(twice))
            yield Finding(
                "slide-in-two-parts",
                "error",
                f"{cohort.split_name(number)}: {slides} in two parts: {where}",
                _SPLIT_REMEDY,
            )


def patients_in_two_parts(cohort: Cohort) -> Iterator[Finding]:
    """Different slides of one patient in two parts of a split."""
    for number, split in enumerate(cohort.splits):
        slides: dict[str, dict[str, str]] = defaultdict(dict)
        for slide_id, parts in split.by_slide().items():
            if slide_id in cohort.table.index:
                slides[cohort.table.patient_of(slide_id)][slide_id] = parts[0]
        leaking = {p: found for p, found in slides.items() if len(set(found.values())) > 1}
        if leaking:
            where = name_some(
                f"{patient} ({', '.join(f'{slide} in {part}' for slide, part in found.items())})"
                for patient, found in leaking.items()
            )
            yield Finding(
                "patient-in-two-parts",
                "error",
                f"{cohort.split_name(number)}: {count_of('patient', len(leaking))} in two parts: "
                f"{where}",
                _SPLIT_REMEDY,
            )


def parts_without_class(cohort: Cohort) -> Iterator[Finding]:
    """Parts of a split that lack a class (an event, for survival) the table has."""
    if cohort.task is None or cohort.labelled is None:
        return
    strata = strata_of(cohort.labelled, cohort.task, group_column="patient_id")
    index = {slide_id: i for i, slide_id in enumerate(strata.slide_ids)}
    for number, split in enumerate(cohort.splits):
        for part in SPLIT_NAMES:
            rows = [index[s] for s in split.slides(part) if s in index]
            if not split.slides(part):
                continue
            absent = strata.needed & ~strata.members[rows].any(0) & strata.members.any(0)
            lacking = [name for name, gone in zip(strata.names, absent, strict=True) if gone]
            if lacking:
                yield Finding(
                    "part-without-class",
                    "error",
                    f"{cohort.split_name(number)}: the {part} part has "
                    f"{count_of('labelled slide', len(rows))}, none with {name_some(lacking)}",
                    "use fewer folds, or make the splits in proportion to the labels",
                )


def same_slide_files(cohort: Cohort) -> Iterator[Finding]:
    """Slides whose features come from the same slide file, by its fingerprint."""
    slides: dict[str, list[str]] = defaultdict(list)
    for slide_id, bag in cohort.opened[0].items():
        if bag.fingerprint:
            slides[bag.fingerprint].append(slide_id)
    for found in slides.values():
        for other in found[1:]:
            yield pair_finding(
                cohort,
                "same-slide-two-names",
                found[0],
                other,
                "come from the same slide file (by its fingerprint)",
            )


def pair_finding(cohort: Cohort, code: str, first: str, second: str, what: str) -> Finding:
    """A finding about two slides that are one: an error where a split takes them apart.

    Without splits, slides of two patients are a warning: whoever splits by patient takes them
    apart.
    """
    patients = [cohort.table.patient_of(s) for s in (first, second)]
    rows = [cohort.table.lines[cohort.table.index[s]] for s in (first, second)]
    whose = f"patients {patients[0]} and {patients[1]}"
    if patients[0] == patients[1]:
        whose = f"patient {patients[0]}"
    text = (
        f"slides {first} and {second} of {whose} ({cohort.table.path}, rows {rows[0]} and "
        f"{rows[1]}) {what}"
    )
    apart = cohort.shared_folds(first, second)
    if apart:
        number, one, other = apart[0]
        text += f", and are in {one} and {other} of {cohort.split_name(number)}"
        text += f" and {len(apart) - 1} more" if len(apart) > 1 else ""
    return Finding(
        code,
        "error" if apart else "warning",
        text,
        "remove one of them, or give both the same patient_id",
    )

"""Checks of whose slides they are: patients unknown, under two names, or split over several."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator

from slidenet.auditing.cohort import Cohort
from slidenet.auditing.finding import Finding
from slidenet.core.text import count_of, name_some
from slidenet.core.vocabulary import (
    PATIENT_COLUMN,
    TCGA,
    id_spelling,
    is_no_id,
    names_patients,
    tcga_case,
)
from slidenet.data.labels.table import LabelTable
from slidenet.stores import SLIDE_COLUMNS
from slidenet.stores.manifest.look_alikes import as_drawn
from slidenet.stores.manifest.patients import SLIDE_ITSELF, barcodes, like_patients

_FLAG = "--data.patient-column"
_MOST_PER_PATIENT = 6
_LAST_PART = re.compile(r"[\s_.-]*[A-Za-z]{0,6}\d{0,3}$")


def unknown_patients(cohort: Cohort) -> Iterator[Finding]:
    """Rows that do not say whose slide it is."""
    table = cohort.table
    unnamed = [i for i, row in enumerate(table.rows) if row.patient_id is None]
    if not unnamed:
        return
    if len(unnamed) < len(table):
        yield Finding(
            "no-patients",
            "warning",
            f"{table.place(unnamed, table.patient_column or PATIENT_COLUMN)}: "
            f"{count_of('slide', len(unnamed))} without a patient count as patients of their own",
            "fill the cells",
        )
        return
    found, remedy = _where_patients_may_stand(cohort)
    yield Finding(
        "no-patients",
        "warning",
        f"{table.path} names no patients{found}: each slide counts as a patient of its own, and "
        "slides of one patient may be on both sides of a split",
        remedy,
    )


def similar_ids(cohort: Cohort) -> Iterator[Finding]:
    """Ids that differ in case, spaces, leading zeros or the encoding of letters only."""
    patients = dict.fromkeys(row.patient_id for row in cohort.table.rows if row.patient_id)
    column = cohort.table.patient_column or PATIENT_COLUMN
    if column not in (TCGA, SLIDE_ITSELF):
        yield from _alike(cohort, "patients", column, patients)
    yield from _alike(cohort, "slides", "slide_id", cohort.table.slide_ids)


def patients_of_two_names(cohort: Cohort) -> Iterator[Finding]:
    """Another column, or the barcode of TCGA, puts slides together that are of several patients."""
    table = cohort.table
    if table.patients_known not in ("all", "some") or table.patient_column == TCGA:
        return
    others = {
        f"column {name!r}": table.column(name)
        for name in table.columns
        if names_patients(name) and name not in (table.patient_column, *SLIDE_COLUMNS)
    }
    others["TCGA barcode"] = [tcga_case(slide_id) or "" for slide_id in table.slide_ids]
    for what, cells in others.items():
        patients: dict[str, dict[str, None]] = defaultdict(dict)
        for cell, slide_id in zip(cells, table.slide_ids, strict=True):
            if not is_no_id(cell):
                patients[cell][table.patient_of(slide_id)] = None
        several = {cell: list(found) for cell, found in patients.items() if len(found) > 1}
        if several:
            shown = name_some(f"{cell}: {' and '.join(f)}" for cell, f in several.items())
            yield Finding(
                "patient-of-two-names",
                "warning",
                f"{table.path}: slides that share a {what} are of several patients by "
                f"{table.patient_column!r} ({shown})",
                f"if the {what} is the patient, give {_FLAG} "
                + (TCGA if what == "TCGA barcode" else what.removeprefix("column ")),
            )


def _where_patients_may_stand(cohort: Cohort) -> tuple[str, str]:
    """What is known of patients in a table that names none, and what to do."""
    table = cohort.table
    alone = f"if every slide is of another patient, say so with {_FLAG} {SLIDE_ITSELF}"
    cases = barcodes(table.slide_ids)
    if cases:
        return (
            f", but its slide_ids are TCGA barcodes of {count_of('case', len(cases))}",
            f"give {_FLAG} {TCGA} to take the cases as patients; {alone}",
        )
    labels = () if cohort.task is None else cohort.task.label_columns
    columns = {
        name: table.column(name)
        for name in table.columns
        if name not in SLIDE_COLUMNS and name not in labels
    }
    like = like_patients(columns)
    if like:
        shown = name_some(map(repr, like))
        return f", but {shown} may be a column of them", f"give {_FLAG} {like[0]}; {alone}"
    shared = _shared_beginnings(table)
    return shared, f"add a column patient_id; {alone}"


def _shared_beginnings(table: LabelTable) -> str:
    """Words about slide_ids such as P01_1 and P01_2; "" where no two share more than others do."""
    groups: dict[str, list[str]] = defaultdict(list)
    for slide_id in table.slide_ids:
        groups[_LAST_PART.sub("", slide_id)].append(slide_id)
    shared = [names for begin, names in groups.items() if len(names) > 1 and _is_id(begin)]
    if not shared or len(groups) < max(3, len(table) / _MOST_PER_PATIENT):
        return ""
    return f", but slide_ids such as {' and '.join(shared[0][:2])} share their beginning"


def _is_id(begin: str) -> bool:
    return len(begin) >= 2 and any(letter.isdigit() for letter in begin)


def _alike(cohort: Cohort, noun: str, column: str, names: Iterable[str]) -> Iterator[Finding]:
    spellings: dict[str, list[str]] = defaultdict(list)
    for name in names:
        spellings[id_spelling(as_drawn(name), file_name=noun == "slides")].append(name)
    twins = [found for found in spellings.values() if len(found) > 1]
    if twins:
        shown = name_some(" and ".join(map(repr, found)) for found in twins)
        yield Finding(
            "similar-ids",
            "warning",
            f"{cohort.table.path}, column {column!r}: {noun} whose names differ in case, spaces, "
            f"zeros, encoding or letters that look alike only count as different ones: {shown}",
            "write each of them in one way",
        )

"""What a run says of its cohort: whose slides they are, what is positive, who is left out."""

from collections.abc import Sequence
from pathlib import Path

from slidenet.core.text import count_of, name_some
from slidenet.data import Split
from slidenet.data.datamodule import BagDataModule
from slidenet.data.splits.record import SPLIT_NAMES
from slidenet.data.splits.strata import joined_sites
from slidenet.evaluation import Predictions
from slidenet.pipelines.results.sections import Section
from slidenet.stores import whole_of
from slidenet.stores.csv_writing import write_csv
from slidenet.stores.features.objects import staged_objects
from slidenet.stores.objects import shown_uri

LEFT_OUT_NAME, OBJECTS_NAME = "left_out.csv", "objects.csv"


def write_left_out(folder: Path, data: BagDataModule) -> list[Path]:
    """Writes `left_out.csv`, one row per slide that is in no bag; nothing where there is none.

    Raises:
        OutputError: The folder cannot be written.
    """
    rows = [(one.slide_id, one.patient_id or "", one.reason) for one in data.cohort.left_out]
    if not rows:
        return []
    path = folder / LEFT_OUT_NAME
    write_csv(path, ("slide_id", "patient_id", "reason"), rows)
    return [path]


def write_objects(folder: Path, data: BagDataModule) -> list[Path]:
    """Writes `objects.csv`: which version of each object in a store the features were read from.

    Nothing where the features are files of this machine.

    Raises:
        OutputError: The folder cannot be written.
    """
    sets = (data.cohort.files, *data.cohort.others)
    found = {
        (whole_of(file).slide_id, facts.uri): facts
        for files in sets
        for file in files.values()
        for facts in staged_objects(whole_of(file))
    }
    if not found:
        return []
    rows = [(slide, shown_uri(uri), one.size, one.version) for (slide, uri), one in found.items()]
    path = folder / OBJECTS_NAME
    write_csv(path, ("slide_id", "uri", "size", "version"), rows)
    return [path]


def cohort_section(
    data: BagDataModule, splits: Sequence[Split], *, site_column: str | None = None
) -> Section:
    """The cohort as a part of the results.

    Args:
        data: The bags.
        splits: What was trained and tested on.
        site_column: By which the folds were made; None where sites were not kept together.
    """
    lines = list(data.cohort.describe())
    num_printed = len(lines)  # by `audit_data`
    used = {bag for split in splits for name in SPLIT_NAMES for bag in split.slides(name)}
    unused = [bag for bag in data.label_table.slide_ids if bag not in used]
    if unused:
        what = "any of the splits" if len(splits) > 1 else "the split"
        lines.append(f"not in {what}: {count_of('bag', len(unused))} ({name_some(unused)})")
    joined = [] if site_column is None else joined_sites(data.label_table, site_column)
    if joined:
        shown = "; ".join(name_some(sites) for sites in joined)
        lines.append(f"tested together, as they share patients ({site_column!r}): {shown}")
    return Section("Cohort", tuple(lines), num_printed=num_printed)


def words_of_unseen(data: BagDataModule, found: Sequence[Predictions]) -> str:
    """How many bags a cross-validation has predicted, and what is known of their patients.

    Args:
        data: The bags.
        found: Out of fold; of several targets those of each, as a bag may have one only.
    """
    patient_of = {
        bag: patient
        for predictions in found
        for bag, patient in zip(predictions.bag_ids, predictions.patient_ids, strict=True)
    }
    bags, known = len(patient_of), data.cohort.patients_known
    if known == "all":
        patients = len(set(patient_of.values()))
        return (
            f"{bags} bags of {patients} patients, each predicted by a model that has not seen the "
            "patient"
        )
    if known == "some":
        unnamed = sum(patient is None for patient in patient_of.values())
        return (
            f"{bags} bags, each predicted by a model that has not seen the patient as far as the "
            f"table names one; {count_of('bag', unnamed)} without a patient may have had another "
            "of theirs in training"
        )
    return (
        f"{bags} bags, each predicted by a model that has not seen the slide; the table names no "
        "patients, so it may have seen another slide of the patient"
    )

"""Which bags a trained model predicts, from the rows of a table of slides."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from slidenet.core.errors import ConfigError, ManifestError
from slidenet.core.provenance import IDENTITY_HASH_LENGTH
from slidenet.core.records import SlideRow
from slidenet.core.text import count_of
from slidenet.data import read_label_table
from slidenet.data.bags.parts import PART_BAGS, DividingRule
from slidenet.evaluation import Predictions, average_by_patient
from slidenet.evaluation.predictions.targets import descriptions
from slidenet.metrics import DEFAULT_THRESHOLD
from slidenet.pipelines.cohort.slides import Slides, rows_of
from slidenet.stores import read_csv_table
from slidenet.stores.manifest.patients import describe_patients, find_patient_column
from slidenet.tasks import Calibration
from slidenet.training import Bundle, Ensemble


def read_rows(
    slides: Slides,
    features: Path | None,
    patient_column: str | None = None,
    *,
    recursive: bool = False,
) -> list[SlideRow]:
    """The slides; their files are not needed where features are given."""
    if (
        features is not None
        and isinstance(slides, str | Path)
        and not (recursive or Path(slides).is_dir())
    ):
        return list(read_label_table(Path(slides), patient_column=patient_column).rows)
    return rows_of(slides, patient_column=patient_column, recursive=recursive)


def describe_patients_of(slides: Slides, patient_column: str | None = None) -> list[str]:
    """From which column of a manifest patients are known; nothing of slides given otherwise."""
    if not isinstance(slides, str | Path) or Path(slides).suffix.lower() != ".csv":
        return []
    table = read_csv_table(slides, error=ManifestError)
    column = find_patient_column(table, patient_column, refuse=False)
    return [f"patients: {describe_patients(column)}"]


def describe_call(model: Bundle | Ensemble) -> list[str]:
    """Which class is the positive one, and from which probability on it is called."""
    if not model.task.has_positive_class:
        return []
    threshold = model.calibration.threshold
    cut = DEFAULT_THRESHOLD if threshold is None else threshold
    return [
        f"positive class of {model.task.label_columns[0]!r}: {model.task.class_names[1]!r}, called "
        f"from a probability of {cut:.3f} on"
    ]


def source_of(slides: Slides) -> str:
    """Where the slides are named, for messages."""
    return str(slides) if isinstance(slides, str | Path) else "the table of slides"


def check_number_of_sets(model: Bundle | Ensemble, bundle: Path, folders: Sequence[Path]) -> None:
    """Refuses another number of folders than the model takes feature sets; none is as good."""
    wanted = 1 + len(model.more_identities)
    if len(folders) not in (0, wanted):
        raise ConfigError(
            f"{count_of('folder', len(folders))} of features for {bundle}, which was trained on "
            f"{count_of('feature set', wanted)}",
            expected=f"{wanted}, in the order of the training, or none to make them of the slides",
            remedy="give --features and --more-features" if wanted > 1 else "give --features only",
        )


def takes_patients(model: Bundle | Ensemble) -> bool:
    """Whether a bag of the model is all slides of a patient."""
    return model.training.get("bag") == "patient"


def dividing(model: Bundle | Ensemble) -> DividingRule | None:
    """How slides are cut into the bags of the model; every tile is taken, whatever was drawn."""
    bag = model.training.get("bag")
    if bag not in PART_BAGS:
        return None
    least: Any = model.training["min_region_share"]
    return DividingRule(str(bag), float(least))


def check_patients(rows: Sequence[SlideRow]) -> list[str]:
    """Refuses slides of unknown patients; names those that count as patients of their own."""
    alone = [row.slide_id for row in rows if row.patient_id is None]
    if len(alone) == len(rows):
        raise ManifestError(
            "no slide has a patient_id, and predictions are to be one per patient",
            expected="a manifest with the column patient_id, or one named alike",
            remedy="name the column with --patient-column",
        )
    if not alone:
        return []
    return [f"without a patient, so each a patient of its own: {', '.join(alone)}"]


def averaged_by_patient(
    predictions: Predictions, rows: Sequence[SlideRow], calibration: Calibration
) -> tuple[Predictions | None, list[str]]:
    """One row per patient of whom every slide was predicted, and what to say about it."""
    there = set(predictions.bag_ids)
    patients = {row.patient_id for row in rows if row.slide_id not in there and row.patient_id}
    whole = np.array([patient not in patients for patient in predictions.patient_ids])
    notes = []
    if patients:
        notes = [f"left out, because a slide of theirs failed: {', '.join(sorted(patients))}"]
    if not whole.any():
        return None, notes
    averaged = average_by_patient(predictions.take(whole))
    lines = zip(averaged.bag_ids, descriptions(averaged, calibration), strict=True)
    return averaged, ["patients:", *(f"  {patient}  {words}" for patient, words in lines), *notes]


def members_of(rows: Sequence[SlideRow], model: Bundle | Ensemble) -> dict[str, list[SlideRow]]:
    """The slides of each bag: one, or all of a patient where the model was trained so."""
    members: dict[str, list[SlideRow]] = {}
    for row in rows:
        bag_id = (row.patient_id or row.slide_id) if takes_patients(model) else row.slide_id
        members.setdefault(bag_id, []).append(row)
    return members


def asked_bags(
    members: Mapping[str, Sequence[SlideRow]], model: Bundle | Ensemble, *, by_patient: bool
) -> set[str] | None:
    """The bag_ids there will be if nothing fails; None where only the files tell."""
    if dividing(model) is not None:
        return None
    if not by_patient:
        return set(members)
    return {row.patient_id or row.slide_id for rows in members.values() for row in rows}


def digest_of_bags(members: Mapping[str, Sequence[SlideRow]]) -> str:
    """What tells these bags from others."""
    bags = [(b, [(r.slide_id, r.patient_id) for r in rows]) for b, rows in members.items()]
    return hashlib.sha256(repr(bags).encode()).hexdigest()[:IDENTITY_HASH_LENGTH]

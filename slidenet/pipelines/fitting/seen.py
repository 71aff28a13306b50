"""Which slides and patients a model has seen, so that nobody takes them for new ones later.

A bundle keeps a short digest of each id, not the id. Digests of ids that can be guessed can be
guessed, too: they keep names out of a file, they are no encryption.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from unicodedata import normalize

from slidenet.core.provenance import Identity
from slidenet.core.records import SlideRow
from slidenet.core.vocabulary import tcga_case
from slidenet.data.bags.parts import SEPARATOR
from slidenet.data.datamodule import BagDataModule
from slidenet.stores import whole_of

DIGEST_LENGTH = 12
KINDS = ("slides", "patients", "files")


def seen_ids(data: BagDataModule) -> Identity:
    """Digests of the slides, patients and slide files of train and val, sorted.

    A model has seen val too: it chose the epoch and the cut-off.
    """
    table, files = data.label_table, data.bag_files
    bags = [*data.split.train, *data.split.val]
    slides = [bag.partition(SEPARATOR)[0] for bag in bags]
    patients = patients_of([table.row(bag) for bag in bags])
    fingerprints = [f for bag in bags if (f := whole_of(files[bag]).fingerprint)]
    return {
        "slides": _digests(slides),
        "patients": _digests(patients),
        "files": _digests(fingerprints),
    }


def patients_of(rows: Iterable[SlideRow]) -> list[str]:
    """Who is known to be a patient of these slides: as the table says, or a TCGA barcode."""
    found: list[str] = []
    for row in rows:
        case = tcga_case(row.slide_id)
        found += [name for name in (row.patient_id, case) if name]
    return list(dict.fromkeys(found))


def find_seen(training: Mapping[str, Any], kind: str, names: Iterable[str]) -> list[str] | None:
    """Which of the names a model has seen; None where it does not say.

    Args:
        training: Of a bundle.
        kind: One of `KINDS`.
        names: slide_ids, patient_ids or fingerprints of slide files.
    """
    seen = training.get("seen")
    known = seen.get(kind) if isinstance(seen, Mapping) else None
    if not isinstance(known, Sequence):
        return None
    digests = set(map(str, known))
    return [name for name in dict.fromkeys(names) if _digest(name) in digests]


def _digests(names: Iterable[str]) -> list[str]:
    return sorted({_digest(name) for name in names})


def _digest(name: str) -> str:
    """Of an id, whatever the case of its letters."""
    text = normalize("NFC", name.strip()).casefold()
    return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_LENGTH]

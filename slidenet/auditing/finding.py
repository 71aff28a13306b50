"""What an audit says: findings by code, each with its severity and what to do."""

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "note"]

CODES: dict[str, str] = {
    "duplicate-row": "the table has several rows of one slide",
    "labels-unusable": "the labels do not make the task",
    "labels-of-parts": "labels are of regions or tiles, not of slides",
    "missing-label": "a slide has no label",
    "contradicting-labels": "slides of one patient have different labels",
    "few-patients": "a class (or event) has too few patients to learn or to judge",
    "no-patients": "no row, or not every row, says whose slide it is",
    "similar-ids": "ids of patients or slides differ in case, spaces or zeros only",
    "patient-of-two-names": "another column, or TCGA's barcode, joins slides of several patients",
    "similar-classes": "two classes look like one, mistyped",
    "event-column": "the column of events is named for its opposite",
    "row-without-file": "a row of the table has no features file",
    "file-without-row": "a features file has no row in the table",
    "file-refused": "a features file cannot be opened: broken, empty, or of unknown frame",
    "features-refused": "features cannot be read, or hold NaN or infinite values",
    "constant-features": "a slide's features are 0 throughout, or the same in every tile",
    "mixed-dims": "features of different lengths",
    "mixed-encoders": "features of different tile encoders",
    "mixed-recipes": "features made with different settings",
    "unknown-slide": "a split names a slide the table does not have",
    "slide-in-two-parts": "one slide is in two parts of a split",
    "patient-in-two-parts": "slides of one patient are in two parts of a split",
    "part-without-class": "a part of a split lacks a class",
    "same-slide-two-names": "two slide_ids have the same slide file",
    "same-features-two-names": "two slide_ids have the same features, to the last bit",
    "near-duplicate-features": "slides of two patients have nearly the same features",
    "covariate-tells-label": "a covariate alone tells the label nearly always",
    "covariate-of-acquisition": "a covariate says where or how slides were made",
    "metadata-tells-label": "a column such as the site tells the label without any picture",
    "site-robustness": "how far features of slides lie together by class rather than by site",
    "size-tells-label": "the number of tiles or the size of the file tells the label",
}
"""Every code, and what it means."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault of a cohort.

    Attributes:
        code: One of `CODES`.
        severity: "error" where results cannot be believed or training will be refused, "warning"
            where they may mislead, "note" where something was measured, or could not be checked.
        text: What was found, on one line, naming file, column, rows or slides.
        remedy: What to do.
    """

    code: str
    severity: Severity
    text: str
    remedy: str = ""

    def __post_init__(self) -> None:
        assert self.code in CODES, f"{self.code!r} is not described in CODES"

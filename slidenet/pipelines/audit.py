"""`slidenet audit`: is this cohort fit to train on, and are its splits fair?"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from slidenet.auditing import (
    DEFAULT_SETTINGS,
    AuditSettings,
    Finding,
    Severity,
    audit_cohort,
    read_table_leniently,
)
from slidenet.core.errors import AuditError, ConfigError, LabelError, StoreError
from slidenet.core.extras import data_frame
from slidenet.core.text import count_of, text_table
from slidenet.core.vocabulary import PATIENT_COLUMN
from slidenet.data.bags.files import find_bag_files
from slidenet.data.bags.parts import PART_BAGS, split_slides
from slidenet.data.labels.cells import labelled_rows
from slidenet.data.labels.left_out import blank_cells
from slidenet.data.labels.table import REGION_COLUMN, LabelTable
from slidenet.data.labels.task import make_task
from slidenet.data.splits.files import read_splits
from slidenet.data.splits.record import Split
from slidenet.pipelines.settings import settings_with
from slidenet.stores import FeatureFile, FeatureMemory, check_output_folder
from slidenet.stores.atomic import write_json
from slidenet.stores.manifest.patients import describe_patients
from slidenet.tasks import Task, TaskKind

if TYPE_CHECKING:
    import pandas

FINDINGS_NAME = "audit.json"


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What an audit found.

    Attributes:
        findings: Errors first, then warnings, then notes.
        checked: What was looked at, for the last line.
        strict: Whether warnings fail too.
    """

    findings: tuple[Finding, ...]
    checked: str
    strict: bool = False

    @property
    def exit_code(self) -> int:
        """1 when there is an error, or with `strict` a warning, else 0."""
        return int(bool(self.failures))

    @property
    def failures(self) -> tuple[Finding, ...]:
        """The findings that fail the audit."""
        failing = ("error", "warning") if self.strict else ("error",)
        return tuple(f for f in self.findings if f.severity in failing)

    def count(self, severity: str) -> int:
        """Number of findings of one severity."""
        return sum(finding.severity == severity for finding in self.findings)

    def table(self) -> str:
        """One line per finding with its remedy below, and a line that sums up."""
        rows: list[tuple[str, ...]] = []
        for finding in self.findings:
            rows.append((f"{finding.severity:<7}", f"{finding.code}: {finding.text}"))
            if finding.remedy:
                rows.append(("", f"-> {finding.remedy}"))
        counts = [(severity, self.count(severity)) for severity in ("error", "warning", "note")]
        found = ", ".join(count_of(severity, count) for severity, count in counts if count)
        total = f"{found or 'nothing found'} in {self.checked}"
        return "\n".join([text_table(None, rows), total] if rows else [total])

    def to_pandas(self) -> "pandas.DataFrame":
        """One row per finding.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        return data_frame([asdict(finding) for finding in self.findings])

    def write(self, path: Path) -> None:
        """Writes the findings as JSON.

        Raises:
            OutputError: The folder cannot be written.
        """
        findings = [asdict(finding) for finding in self.findings]
        write_json(path, {"checked": self.checked, "findings": findings})


def audit(
    labels: str | Path,
    features: str | Path | None = None,
    out: str | Path | None = None,
    settings: AuditSettings | None = None,
    *,
    task: TaskKind = "binary",
    label_columns: Sequence[str] = ("label",),
    bag: Literal["slide", "patient", "region", "core", "tile"] = "slide",
    class_names: Sequence[str] | None = None,
    time_edges: Sequence[float] | None = None,
    patient_column: str | None = None,
    leave_out: Sequence[str] = (),
    drop_unlabelled: bool = False,
    allow_missing: bool = False,
    splits: str | Path | None = None,
    slide_mpp: float | None = None,
    tile_size_px: int | None = None,
    target_mpp: float | None = None,
    strict: bool = False,
    **keywords: Any,
) -> AuditReport:
    """Look for faults of a cohort before anything is trained on it.

    Args:
        labels: Table of labels: slide_id, patient_id, labels, and whatever else is known.
        features: Folder of features files; without it only labels and splits are looked at.
        out: Folder that gets the findings, as audit.json.
        settings: What is tolerated.
        task: What is predicted.
        label_columns: Columns of the labels (time and event for survival).
        bag: What will be one bag. Of regions and tiles the slides are looked at, and not labels.
        class_names: Classes in order; default: those found.
        time_edges: Upper edges of the bins of discrete_time; default: quantiles.
        patient_column: Column that says whose slide it is; default: patient_id, or one named alike.
            "tcga" reads TCGA barcodes; "slide_id" says that every slide is of another patient.
        leave_out: Words in the label columns whose slides will be left out.
        drop_unlabelled: Whether slides without a label will be left out: a note then, no error.
        allow_missing: The same of slides without a features file.
        splits: Splits to check: a table of ours, one of CLAM's splits_0.csv, or a folder of them.
        slide_mpp: Microns per pixel of level 0, for features files that do not say it.
        tile_size_px: Side of a tile, for features files that do not say it.
        target_mpp: Microns per pixel of the tiles, for features files that do not say it.
        strict: Fail for warnings too.
        **keywords: Fields of `AuditSettings`.
    """
    settings = settings_with(AuditSettings, settings, keywords)
    if out is not None and Path(out).suffix == ".json":
        raise ConfigError(
            f"out is {str(out)!r}",
            expected=f"a folder, which gets {FINDINGS_NAME}",
            remedy=f"give {str(Path(out).parent)!r}",
        )
    table, findings = read_table_leniently(Path(labels), patient_column=patient_column)
    found: Task | None = None
    words: Mapping[str, str] = {}
    of_parts = bag in PART_BAGS
    if not of_parts:
        try:
            blank, words = blank_cells(table, label_columns, leave_out)
            found = make_task(blank, task, label_columns, class_names, time_edges)
            names = found.class_names
            labelled = labelled_rows(blank, task, label_columns, class_names=names).index
            table = blank.select(s for s in blank.slide_ids if s in labelled or s not in words)
        except LabelError as error:
            text = f"{error.found}; expected {error.expected}" if error.expected else error.found
            remedy = error.remedy
            if REGION_COLUMN in table.columns:
                remedy += "; if the rows are about regions, pass --data.bag region"
            findings.append(Finding("labels-unusable", "error", text, remedy))
    files = None if features is None else find_bag_files(Path(features))
    if files is not None:  # files of slides left out have a row, if not in this table
        files = {s: path for s, path in files.items() if s in table.index or s not in words}
    read = [] if splits is None else read_splits(Path(splits), table)
    if of_parts:
        read = [split_slides(split) for split in read]
    given = {"slide_mpp": slide_mpp, "tile_size_px": tile_size_px, "target_mpp": target_mpp}
    findings += audit_cohort(table, found, files, read, settings=settings, given=given)
    if of_parts:
        text = f"labels of bags of kind {bag!r} are not looked at: they differ within a slide"
        findings.append(Finding("labels-of-parts", "note", text))
    accepted = {"missing-label": drop_unlabelled, "row-without-file": allow_missing}
    findings = [
        replace(found, severity="note", remedy="") if accepted.get(found.code) else found
        for found in findings
    ]
    findings.sort(key=lambda finding: get_args(Severity).index(finding.severity))
    report = AuditReport(tuple(findings), _checked(table, files, read), strict)
    if out is not None:
        report.write(check_output_folder(out) / FINDINGS_NAME)
    return report


def audit_or_raise(
    table: LabelTable,
    task: Task | None,
    files: Mapping[str, Path | FeatureFile],
    splits: Sequence[Split],
    *,
    strict: bool = False,
    settings: AuditSettings = DEFAULT_SETTINGS,
    given: Mapping[str, Any] | None = None,
    memory: FeatureMemory | None = None,
    warn: Callable[[str], None] = warnings.warn,
) -> AuditReport:
    """The audit at the start of training: warns of what it finds, or refuses to go on.

    Features that cannot be read end it whatever `strict` says: an epoch would end there.

    Args:
        table: The labels.
        task: What they mean; None to leave labels alone.
        files: The features file of each slide_id, opened already or by its path.
        splits: What will be trained and tested on.
        strict: Raise for errors and warnings, instead of warning of them.
        settings: What is tolerated.
        given: `slide_mpp`, `tile_size_px` and `target_mpp` for `open_features`.
        memory: Keeps the features that are read, as far as it has room.
        warn: Called with one line per error or warning found.

    Returns:
        What was found.

    Raises:
        StoreError: A features file is broken, or holds NaN or infinite values.
        AuditError: With `strict`, when there is an error or a warning.
    """
    findings = audit_cohort(
        table, task, files, splits, settings=settings, given=given, memory=memory
    )
    report = AuditReport(tuple(findings), _checked(table, files, splits), strict)
    unreadable = [f for f in findings if f.code in ("file-refused", "features-refused")]
    if unreadable:
        first, others = unreadable[0], len(unreadable) - 1
        more = f" (and {others} more such findings)" if others else ""
        raise StoreError(f"{first.text}{more}", remedy=first.remedy)
    if strict and report.failures:
        first, others = report.failures[0], len(report.failures) - 1
        more = f" (and {others} more)" if others else ""
        raise AuditError(
            f"audit, {first.code}: {first.text}{more}",
            expected="a cohort without errors and warnings, as asked by strict",
            remedy=f"{first.remedy}; `slidenet audit` lists all findings",
        )
    for finding in report.findings:
        if finding.severity != "note":
            remedy = f". To fix: {finding.remedy}" if finding.remedy else ""
            warn(f"audit, {finding.severity} {finding.code}: {finding.text}{remedy}")
    return report


def _checked(table: LabelTable, files: Mapping[str, object] | None, splits: Sequence[Split]) -> str:
    patients = len({table.patient_of(slide_id) for slide_id in table.slide_ids})
    of_patients = ""
    if table.patients_known in ("all", "some"):
        usual = table.patient_column in (None, PATIENT_COLUMN)
        of_patients = " of " + (
            count_of("patient", patients)
            if usual
            else describe_patients(table.patient_column, patients)
        )
    parts = [f"{len(table)} slides{of_patients}"]
    if files is not None:
        parts.append(f"{len(files)} features files")
    if splits:
        parts.append("one split" if len(splits) == 1 else f"{len(splits)} splits")
    return ", ".join(parts)

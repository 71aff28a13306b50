"""`slidenet evaluate`: any file of predictions to a report, tables and pictures."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slidenet.core.errors import ConfigError, PredictionsError
from slidenet.core.extras import data_frame
from slidenet.core.text import count_of, name_some, text_table
from slidenet.evaluation import (
    PredictionColumns,
    Predictions,
    Summary,
    SummarySettings,
    average_by_patient,
    check_evaluable,
    read_predictions,
    summarise,
)
from slidenet.evaluation.predictions.sidecar import own_threshold
from slidenet.evaluation.report.figures import Compared, draw_pictures
from slidenet.evaluation.report.markdown import cautions, first_sentence, markdown
from slidenet.evaluation.report.tables import (
    csv_files,
    metric_header,
    metric_rows,
    site_header,
    site_rows,
)
from slidenet.pipelines.applying.external import ExternalSettings, judge_elsewhere
from slidenet.pipelines.applying.work import PREDICTIONS_NAME
from slidenet.pipelines.cohort.run import LOCAL
from slidenet.pipelines.cohort.runner import Runner
from slidenet.pipelines.objects.outputs import to_buckets
from slidenet.pipelines.settings import divide_keywords, settings_with
from slidenet.stores import atomic_path, check_output_folder, read_csv_table
from slidenet.tasks import TaskKind
from slidenet.visualisation import save_figure

if TYPE_CHECKING:
    import pandas

REPORT = "report.md"


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """What was found, and where it is written.

    Attributes:
        sentence: The result in one sentence.
        summary: All findings.
        folder: Holds report.md, the tables and the pictures.
        files: Their names.
        cautions: What must be known before the sentence is quoted.
        lines: How the predictions came about.
        exit_code: 1 when a slide failed, else 0.
    """

    sentence: str
    summary: Summary
    folder: Path
    files: tuple[str, ...]
    cautions: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()
    exit_code: int = 0

    def table(self) -> str:
        """The sentence, what qualifies it, the metrics and where the rest is."""
        header, rows = metric_header(self.summary), metric_rows(self.summary, digits=3)
        text = text_table(header, rows, right=range(1, len(header)), rule=False)
        where = f"{self.folder / REPORT}, with {', '.join(n for n in self.files if n != REPORT)}"
        parts = [self.sentence, *self.cautions, *self.lines, "", text]
        if self.summary.sites:
            header, rows = site_header(self.summary), site_rows(self.summary, digits=3)
            cells = [[str(cell) for cell in row] for row in rows]
            parts += ["", text_table(header, cells, right=range(1, len(header)), rule=False)]
        return "\n".join([*parts, "", where])

    def to_pandas(self) -> "pandas.DataFrame":
        """The metrics with their intervals: the rows of metrics.csv.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        header, rows = metric_header(self.summary), metric_rows(self.summary)
        return data_frame([dict(zip(header, row, strict=True)) for row in rows])


@to_buckets
def evaluate(
    predictions: str | Path | None = None,
    out: str | Path | None = None,
    settings: SummarySettings | None = None,
    columns: PredictionColumns | None = None,
    external: ExternalSettings | None = None,
    *,
    compare: str | Path | None = None,
    validation: str | Path | None = None,
    task: TaskKind | None = None,
    by_patient: bool = False,
    runner: Runner = LOCAL,
    **keywords: Any,
) -> EvaluationReport:
    """Turn a CSV of predictions, or a model and slides of another cohort, into a report.

    Args:
        predictions: CSV with one row per bag: id, label and what was predicted, of bags the model
            was not trained on. Or give a bundle with labels.
        out: Folder for report.md, the tables and the pictures.
        settings: How predictions are judged.
        columns: Names of columns that are not recognised by themselves; with a bundle those of the
            table of labels (label_columns in the order of the model's, patient_column).
        external: The model and the cohort to judge it on, instead of predictions.
        compare: The same of another model on the same bags, to say which wins.
        validation: Predictions of the same model on other bags, to choose cut-offs and the
            temperature on; without it each fold takes those of the other folds.
        task: What is predicted; default: recognised from the columns. Say ordinal where the classes
            have an order.
        by_patient: Average the predictions of a patient's slides first and judge patients.
        runner: Who does the work on slides.
        **keywords: Fields of `SummarySettings`, `PredictionColumns` and `ExternalSettings`.
    """
    parts = divide_keywords(
        keywords,
        {
            "settings": ({}, [f.name for f in fields(SummarySettings)]),
            "columns": ({}, [f.name for f in fields(PredictionColumns)]),
            "external": ({}, [f.name for f in fields(ExternalSettings)]),
        },
    )
    settings = settings_with(SummarySettings, settings, parts["settings"])
    columns = settings_with(PredictionColumns, columns, parts["columns"])
    external = settings_with(ExternalSettings, external, parts["external"])
    if out is None:
        raise ConfigError("--out is missing", expected="a folder for the report")
    out = Path(out)
    compare, validation = (None if p is None else Path(p) for p in (compare, validation))
    if validation is not None and compare is not None and validation == compare:
        raise ConfigError("--validation and --compare are the same file", expected="two files")
    _check_source(predictions, external)

    without_label: list[str] = []
    alone = compare is None and validation is None  # nothing else of one class is defined

    def read(path: Path) -> Predictions:
        found = read_predictions(
            path, task=task, columns=columns, left_out=without_label, one_class=alone
        )
        return average_by_patient(found) if by_patient else found

    other, held_out = (None if path is None else read(path) for path in (compare, validation))
    elsewhere = None
    if predictions is None:
        elsewhere = judge_elsewhere(
            external,
            out,
            label_columns=columns.labels,
            patient_column=columns.patient_column,
            by_patient=by_patient,
            runner=runner,
        )
        judged, threshold, sites = elsewhere.predictions, elsewhere.threshold, elsewhere.sites
        check_evaluable(judged, where=f"{elsewhere.path}: ", one_class=True)
        assert external.bundle is not None
        source = external.bundle
    else:
        source = Path(predictions)
        judged = read(source)
        threshold, sites = own_threshold(source), None
        if external.site_column is not None:
            sites = _sites_of_file(source, judged, external.site_column, by_patient=by_patient)
    if not judged.task.has_positive_class:
        threshold = None
    check_output_folder(out)
    summary = summarise(
        judged, settings, other=other, validation=held_out, threshold=threshold, sites=sites
    )
    name, other_name = _names(source, compare)
    pictures = draw_pictures(Compared(summary, name, other, other_name))
    for picture in pictures:
        save_figure(picture.figure, out / picture.file, dpi=150)
    captions = [(picture.file, picture.caption) for picture in pictures]
    named = judged.task.kind if elsewhere is not None else task
    warnings, tables = cautions(summary, named), csv_files(summary)
    if without_label:
        names = name_some(dict.fromkeys(without_label))
        line = f"Left out: {count_of('bag', len(set(without_label)))} without a label: {names}."
        warnings = (line, *warnings)
    lines = () if elsewhere is None else elsewhere.lines
    if elsewhere is not None:
        warnings = (*elsewhere.cautions, *warnings)
    report = markdown(summary, name, other_name, captions, warnings, lines)
    for file, text in {**tables, REPORT: report}.items():
        with atomic_path(out / file) as temporary:
            temporary.write_text(text, encoding="utf-8")
    files = [REPORT, *tables, *(picture.file for picture in pictures)]
    files += [] if elsewhere is None else [elsewhere.path.name]
    sentence = first_sentence(summary, name, other_name)
    code = 0 if elsewhere is None else elsewhere.exit_code
    return EvaluationReport(sentence, summary, out, tuple(files), warnings, tuple(lines), code)


def _check_source(predictions: str | Path | None, external: ExternalSettings) -> None:
    """Refuses a file of predictions together with a model, and neither of both."""
    if (predictions is None) == (external.bundle is None):
        raise ConfigError(
            "neither predictions nor --bundle"
            if predictions is None
            else "predictions and --bundle",
            expected="a CSV of predictions, or --bundle MODEL --labels TABLE (with --features or "
            "slides)",
        )
    alone = [
        f.name
        for f in fields(ExternalSettings)
        if f.name not in ("bundle", "site_column") and getattr(external, f.name) != f.default
    ]
    if external.bundle is None and alone:
        raise ConfigError(
            f"--{alone[0].replace('_', '-')} with a file of predictions",
            expected="--bundle MODEL in its place",
        )


def _sites_of_file(
    path: Path, predictions: Predictions, column: str, *, by_patient: bool
) -> list[str]:
    """The centre of each bag, as a column of the file of predictions says it."""
    table = read_csv_table(path, error=PredictionsError, unnamed_first=True)
    cells = table.cells(column)
    if len(cells) != len(predictions):  # averaged, or some without a label
        raise ConfigError(
            f"--site-column for {len(predictions)} judged of {len(cells)} rows",
            expected="bags as they are in the file",
            remedy="leave --by-patient away"
            if by_patient
            else f"remove the rows without a label from {path}",
        )
    return [cell or "(none)" for cell in cells]


def _names(predictions: Path, compare: Path | None) -> tuple[str, str]:
    """What the models are called: their files, or the folders of files named alike."""
    first, second = predictions.resolve(), compare.resolve() if compare else None
    if second is None and first.name == PREDICTIONS_NAME:  # which says nothing of the model
        return first.parent.name, ""
    if second is None or first.stem != second.stem:
        return first.stem, second.stem if second else ""
    if first.parent.name != second.parent.name:
        return first.parent.name, second.parent.name
    return str(first), str(second)

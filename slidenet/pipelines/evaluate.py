"""`slidenet evaluate`: any file of predictions to a report, tables and pictures."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slidenet.core.errors import ConfigError
from slidenet.core.extras import data_frame
from slidenet.core.text import text_table
from slidenet.evaluation import (
    PredictionColumns,
    Predictions,
    Summary,
    SummarySettings,
    average_by_patient,
    read_predictions,
    summarise,
)
from slidenet.evaluation.report.figures import Compared, draw_pictures
from slidenet.evaluation.report.markdown import cautions, first_sentence, markdown
from slidenet.evaluation.report.tables import csv_files, metric_header, metric_rows
from slidenet.pipelines.settings import divide_keywords, settings_with
from slidenet.stores import atomic_path, check_output_folder
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
    """

    sentence: str
    summary: Summary
    folder: Path
    files: tuple[str, ...]
    cautions: tuple[str, ...] = ()
    exit_code: int = 0

    def table(self) -> str:
        """The sentence, what qualifies it, the metrics and where the rest is."""
        header, rows = metric_header(self.summary), metric_rows(self.summary, digits=3)
        text = text_table(header, rows, right=range(1, len(header)), rule=False)
        where = f"{self.folder / REPORT}, with {', '.join(n for n in self.files if n != REPORT)}"
        return "\n".join([self.sentence, *self.cautions, "", text, "", where])

    def to_pandas(self) -> "pandas.DataFrame":
        """The metrics with their intervals: the rows of metrics.csv.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        header, rows = metric_header(self.summary), metric_rows(self.summary)
        return data_frame([dict(zip(header, row, strict=True)) for row in rows])


def evaluate(
    predictions: str | Path,
    out: str | Path,
    settings: SummarySettings | None = None,
    columns: PredictionColumns | None = None,
    *,
    compare: str | Path | None = None,
    validation: str | Path | None = None,
    task: TaskKind | None = None,
    by_patient: bool = False,
    **keywords: Any,
) -> EvaluationReport:
    """Turn a CSV of predictions into a report with intervals, tables and pictures.

    Args:
        predictions: CSV with one row per bag: id, label and what was predicted, of bags the model
            was not trained on.
        out: Folder for report.md, the tables and the pictures.
        settings: How predictions are judged.
        columns: Names of columns that are not recognised by themselves.
        compare: The same of another model on the same bags, to say which wins.
        validation: Predictions of the same model on other bags, to choose cut-offs and the
            temperature on; without it each fold takes those of the other folds.
        task: What is predicted; default: recognised from the columns. Say ordinal where the classes
            have an order.
        by_patient: Average the predictions of a patient's slides first and judge patients.
        **keywords: Fields of `SummarySettings` and `PredictionColumns`.
    """
    parts = divide_keywords(
        keywords,
        {
            "settings": ({}, [f.name for f in fields(SummarySettings)]),
            "columns": ({}, [f.name for f in fields(PredictionColumns)]),
        },
    )
    settings = settings_with(SummarySettings, settings, parts["settings"])
    columns = settings_with(PredictionColumns, columns, parts["columns"])
    predictions, out = Path(predictions), Path(out)
    compare, validation = (None if p is None else Path(p) for p in (compare, validation))
    if validation is not None and compare is not None and validation == compare:
        raise ConfigError("--validation and --compare are the same file", expected="two files")

    def read(path: Path) -> Predictions:
        found = read_predictions(path, task=task, columns=columns)
        return average_by_patient(found) if by_patient else found

    judged = read(predictions)
    other, held_out = (None if path is None else read(path) for path in (compare, validation))
    check_output_folder(out)
    summary = summarise(judged, settings, other=other, validation=held_out)
    name, other_name = _names(predictions, compare)
    pictures = draw_pictures(Compared(summary, name, other, other_name))
    for picture in pictures:
        save_figure(picture.figure, out / picture.file, dpi=150)
    captions = [(picture.file, picture.caption) for picture in pictures]
    warnings, tables = cautions(summary, task), csv_files(summary)
    report = markdown(summary, name, other_name, captions, warnings)
    for file, text in {**tables, REPORT: report}.items():
        with atomic_path(out / file) as temporary:
            temporary.write_text(text, encoding="utf-8")
    files = (REPORT, *tables, *(picture.file for picture in pictures))
    sentence = first_sentence(summary, name, other_name)
    return EvaluationReport(sentence, summary, out, files, warnings)


def _names(predictions: Path, compare: Path | None) -> tuple[str, str]:
    """What the models are called: their files, or the folders of files named alike."""
    first, second = predictions.resolve(), compare.resolve() if compare else None
    if second is None or first.stem != second.stem:
        return first.stem, second.stem if second else ""
    if first.parent.name != second.parent.name:
        return first.parent.name, second.parent.name
    return str(first), str(second)

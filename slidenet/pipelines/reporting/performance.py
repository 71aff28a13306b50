"""How good the predictions are: metrics with intervals, calibration, confusion, survival."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from slidenet.core.records import SlideRow
from slidenet.core.text import count_of, name_some
from slidenet.data.bags.parts import SEPARATOR
from slidenet.evaluation import Predictions, Summary, SummarySettings, read_predictions, summarise
from slidenet.evaluation.predictions.sidecar import own_threshold
from slidenet.evaluation.report.figures import Compared, draw_pictures
from slidenet.evaluation.report.markdown import cautions, first_sentence, how_judged
from slidenet.evaluation.report.tables import metric_header, metric_rows
from slidenet.metrics import METRICS
from slidenet.pipelines.fitting.seen import find_seen, patients_of
from slidenet.pipelines.reporting.cohort_files import UNREADABLE, line_of
from slidenet.pipelines.reporting.results_text import first_words, shown_pictures, shown_results
from slidenet.pipelines.reporting.run_files import ALL, PredictionFile, RunFound
from slidenet.visualisation.html import (
    Child,
    Column,
    Html,
    Section,
    element,
    figure,
    gallery,
    missing,
    note,
    paragraph,
    picture_of_figure,
    table,
)

APPLIED = ("predict", "evaluate")
"""Verbs that apply a trained model to any slides."""
CHART_PX = 900
MOST_ERRORS = 12
MOST_FILES = 12
"""Files of predictions that are judged: one for each target of a model."""


@dataclass
class Performance:
    """The section, and what others quote of it.

    Attributes:
        section: For the page.
        sentences: The result of each file that was judged, in one sentence.
        cautions: What must be known before a sentence is quoted.
    """

    section: Section
    sentences: list[str] = field(default_factory=list)
    cautions: list[str] = field(default_factory=list)


def judge(runs: Sequence[RunFound], settings: SummarySettings) -> Performance:
    """Judges the predictions of runs, on the bags a model has not seen.

    Args:
        runs: Folders, in order.
        settings: How predictions are judged.
    """
    found = Performance(Section("performance", "Performance", []))
    parts: list[Html] = []
    files = [(run, file) for run in runs for file in _to_judge(run)]
    for run, file in files[:MOST_FILES]:
        parts += _of_file(run, file, settings, found, runs)
    if len(files) > MOST_FILES:
        parts.append(
            note(
                "plain", f"The first {MOST_FILES} of {len(files)} files of predictions are judged."
            )
        )
    for run in runs:
        if run.evaluation is not None and not _to_judge(run):
            parts += _as_evaluated(run, run.evaluation, found)
    lacks = ""
    if not found.sentences:
        lacks = "nothing to judge"
        parts.append(
            missing(
                "predictions of bags with labels: give RUN, the folder of `slidenet train`, "
                "`crossval`, `evaluate`, or of `slidenet predict` on slides whose table has the "
                "label."
            )
        )
    found.section = Section("performance", "Performance", parts, lacks)
    return found


def _as_evaluated(run: RunFound, path: Path, found: Performance) -> list[Html]:
    """What `slidenet evaluate` has found out, where the predictions it judged lie elsewhere."""
    found.sentences.append(first_words(path))
    charts = shown_pictures(path, longest=CHART_PX)
    text = "As `slidenet evaluate` judged it, from predictions that lie elsewhere."
    return [
        element("h3", f"{run.folder.name}/{path.name}"),
        note("plain", text),
        *shown_results(path),
        *([gallery(charts, "charts")] if charts else []),
    ]


def _to_judge(run: RunFound) -> list[PredictionFile]:
    """Predictions on test where there are any, else those of all bags, else those on val."""
    by_split: dict[str, list[PredictionFile]] = {}
    for file in run.predictions:
        if not file.path.stem.startswith(ALL):
            by_split.setdefault(file.split, []).append(file)
    return next((by_split[s] for s in ("test", "", "val") if s in by_split), [])


def _of_file(
    run: RunFound,
    file: PredictionFile,
    settings: SummarySettings,
    found: Performance,
    runs: Sequence[RunFound],
) -> list[Html]:
    where = f"{run.folder.name}/{file.path.name}"
    parts: list[Html] = [element("h3", where)]
    without: list[str] = []
    try:
        predictions = read_predictions(file.path, left_out=without, one_class=True)
        threshold = own_threshold(file.path) if predictions.task.has_positive_class else None
        summary = summarise(predictions, settings, threshold=threshold)
    except UNREADABLE as error:
        return [*parts, *_unlabelled(file, error)]
    name = run.network or run.folder.name
    sentence = first_sentence(summary, name)
    told = list(cautions(summary, predictions.task.kind))
    if file.split == "val":
        told.append(
            "These are the bags that chose the epoch and the cut-off, not new ones: the numbers "
            "are too good."
        )
    told += _not_new(predictions, file, runs)
    found.sentences.append(sentence)
    found.cautions += told
    parts += [paragraph(element("strong", sentence)), paragraph(how_judged(summary))]
    parts += [note("bad", text) for text in told]
    if without:
        text = f"Left out: {count_of('bag', len(set(without)))} without a label"
        parts.append(note("plain", f"{text} ({name_some(dict.fromkeys(without))})."))
    header, rows = metric_header(summary), metric_rows(summary, digits=3)
    columns = [Column(str(cell), number > 0) for number, cell in enumerate(header)]
    caption = (
        f"Metrics with 95 % intervals of {summary.metrics.num_resamples:,} bootstrap resamples of "
        f"{count_of('patient', summary.metrics.num_patients)}"
    )
    parts.append(table(columns, rows, caption=caption))
    charts = [
        figure(picture_of_figure(p.figure, dpi=88), f"{p.caption} ({where})", p.caption)
        for p in draw_pictures(Compared(summary, name))
    ]
    parts.append(gallery(charts, "charts"))
    parts += [*_cut_offs(summary), *_calibration(summary), *_errors(predictions, threshold)]
    return parts + [note("plain", f"Not computed: {text}") for text in summary.notes]


def _not_new(predictions: Predictions, file: PredictionFile, runs: Sequence[RunFound]) -> list[str]:
    """Says which bags of a model that was applied it had seen in its training."""
    origin = None if file.sidecar is None else file.sidecar.origin
    if origin is None or origin.verb not in APPLIED:
        return []  # of a split or of folds, which the training held out
    known = next((r.model for r in runs if r.model and r.model.digests == origin.models), None)
    if known is None:
        return [
            "The model that made these predictions lies in none of the folders, so nobody can say "
            "here whether it was trained on some of these bags."
        ]
    bags = zip(predictions.bag_ids, predictions.patient_ids, strict=True)
    rows = [SlideRow(bag.partition(SEPARATOR)[0], "", patient_id=who) for bag, who in bags]
    told = []
    for kind, names in (("patients", patients_of(rows)), ("slides", [r.slide_id for r in rows])):
        found = [find_seen(member.training, kind, names) or () for member in known.members]
        if seen := len({name for names_seen in found for name in names_seen}):
            told.append(
                f"The model was trained on {seen:,} of these {len(set(names)):,} {kind}, by their "
                "ids: on them it is no test."
            )
    return told


def _unlabelled(file: PredictionFile, why: BaseException) -> list[Html]:
    """Predictions that cannot be judged: how many of what."""
    try:
        predictions = read_predictions(file.path, labelled=False)
    except UNREADABLE as error:
        return [note("bad", line_of(error))]
    if predictions.targets is not None:
        return [note("bad", line_of(why))]
    parts: list[Html] = [
        paragraph(f"{count_of('bag', len(predictions))} predicted; without labels, not judged.")
    ]
    origin = None if file.sidecar is None else file.sidecar.origin
    called = predictions.task.decide(
        predictions.predicted, None if origin is None else origin.threshold
    )
    if called:
        names, counts = np.unique(called, return_counts=True)
        rows = [
            (str(n), int(c), f"{c / len(called):.1%}") for n, c in zip(names, counts, strict=True)
        ]
        columns = [Column("called"), Column("bags", True), Column("share", True)]
        parts.append(table(columns, rows, caption="What is called, by the cut-off of the model"))
    return parts


def _cut_offs(summary: Summary) -> list[Html]:
    points = summary.operating_points
    if not points:
        return []
    names = ("rule", "cut-off", "chosen on", "sensitivity", "specificity", "PPV", "NPV")
    rows: list[list[Child]] = [
        [p.rule, f"{p.threshold:.3f}", p.chosen_on,
         *map(str, (p.sensitivity, p.specificity, p.ppv, p.npv))]
        for p in points
    ]  # fmt: skip
    columns = [Column(name, name not in ("rule", "chosen on")) for name in names]
    return [table(columns, rows, caption="Cut-offs; none was chosen on the bags it is judged on")]


def _calibration(summary: Summary) -> list[Html]:
    found = summary.calibrated
    if found is None:
        return []
    words = {name: METRICS[name].words for name in ("ece", "brier")} | {"log_loss": "log loss"}
    rows = [(w, f"{found.before[n]:.3f}", f"{found.after[n]:.3f}") for n, w in words.items()]
    columns = [Column("error"), Column("as predicted", True), Column("after scaling", True)]
    caption = (
        f"Calibration before and after temperature scaling, fitted on {found.scaling.fitted_on}; "
        f"for new bags {found.temperature:.2f}"
    )
    return [table(columns, rows, caption=caption)]


def _errors(predictions: Predictions, threshold: float | None) -> list[Html]:
    """The bags that are wrong with the highest probability: the first to look at."""
    task = predictions.task
    called = task.decide(predictions.predicted, threshold) if task.exclusive_classes else None
    if called is None:
        return []
    decided = np.array([task.class_names.index(name) for name in called])
    wrong = np.flatnonzero(decided != predictions.labels)
    if not len(wrong):
        return [paragraph("No bag is called wrongly.")]
    sure = predictions.probabilities[wrong, decided[wrong]]
    worst = wrong[np.argsort(-sure, kind="stable")][:MOST_ERRORS]
    rows = [
        (
            predictions.bag_ids[i],
            task.class_names[int(predictions.labels[i])],
            called[i],
            f"{predictions.probabilities[i, decided[i]]:.3f}",
        )
        for i in worst
    ]
    columns = [Column("bag"), Column("true"), Column("called"), Column("its probability", True)]
    caption = f"{len(worst)} of {count_of('bag', len(wrong))} called wrongly, the surest first"
    return [table(columns, rows, caption=caption)]

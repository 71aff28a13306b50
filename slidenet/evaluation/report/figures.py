"""The charts of a report: which ones suit what was found, and what they say.

To add a chart, write its drawing in `slidenet.visualisation`, list it in `CHARTS`, and test it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from slidenet.evaluation.calibration import forecasts_of, reliability_curve
from slidenet.evaluation.predictions.record import Predictions
from slidenet.evaluation.report.markdown import format_p
from slidenet.evaluation.report.summary import Summary
from slidenet.evaluation.statistics.comparison import align
from slidenet.evaluation.statistics.curves import (
    CurveKind,
    discrimination_curve,
    one_against_rest,
)
from slidenet.metrics import METRICS
from slidenet.visualisation.curves import (
    Line,
    SurvivalLine,
    agreement_figure,
    calibration_figure,
    precision_recall_figure,
    roc_figure,
    survival_figure,
)
from slidenet.visualisation.matrices import confusion_figure

NUM_TICKS = 6


@dataclass(frozen=True, eq=False)
class Compared:
    """What charts are drawn from.

    Attributes:
        summary: The findings.
        name: Of the model judged.
        other: Predictions of the model compared with, drawn beside those of a binary task.
        other_name: Its name.
    """

    summary: Summary
    name: str
    other: Predictions | None = None
    other_name: str = ""


@dataclass(frozen=True)
class Chart:
    """One kind of chart.

    Attributes:
        file: Name of its picture.
        suits: Whether the findings have what it shows.
        draw: The figure and its caption.
    """

    file: str
    suits: Callable[[Summary], bool]
    draw: Callable[[Compared], tuple[Figure, str]]


@dataclass(frozen=True, eq=False)
class Picture:
    """A figure with its file name and caption."""

    file: str
    caption: str
    figure: Figure


def draw_pictures(compared: Compared) -> list[Picture]:
    """The charts that suit the findings."""
    pictures = []
    for chart in CHARTS:
        if chart.suits(compared.summary):
            figure, caption = chart.draw(compared)
            pictures.append(Picture(chart.file, caption, figure))
    return pictures


def _roc(compared: Compared) -> tuple[Figure, str]:
    figure = roc_figure(_lines(compared, "roc", "auroc"), _title(compared.summary))
    return figure, "ROC curves; shaded: pointwise 95 % bootstrap band"


def _precision_recall(compared: Compared) -> tuple[Figure, str]:
    lines = _lines(compared, "precision_recall", "average_precision")
    curves = one_against_rest(compared.summary.predictions)
    prevalences = [float(truth.mean()) for _, _, truth, _ in curves]
    figure = precision_recall_figure(lines, prevalences, _title(compared.summary))
    return figure, "Precision against recall; dashed: the share of positive bags"


def _lines(compared: Compared, kind: CurveKind, metric: str) -> list[Line]:
    """One line per class; for a binary task one per model. Bands only where few enough to see."""
    summary, words = compared.summary, METRICS[metric].words
    binary = summary.predictions.task.has_positive_class
    curves = one_against_rest(summary.predictions)
    labels = []
    for class_name, *_ in curves:
        interval = summary.metrics.interval(metric if binary else f"{metric}_{class_name}")
        labels.append(f"{compared.name if binary else class_name}: {words} {interval}")
    if binary and compared.other is not None and summary.comparison is not None:
        curves += one_against_rest(align(summary.predictions, compared.other))
        interval = summary.comparison.second.interval(metric)
        labels.append(f"{compared.other_name}: {words} {interval}")
    num_resamples = summary.settings.num_bootstrap if len(curves) <= 2 else 0
    lines = []
    for (_, score, truth, patients), label in zip(curves, labels, strict=True):
        curve = discrimination_curve(
            kind, score, truth, patients, num_resamples=num_resamples, seed=summary.settings.seed
        )
        band = (curve.band_x, curve.low, curve.high) if len(curve.band_x) else ()
        lines.append(Line(curve.x, curve.y, label, *band))
    return lines


def _told_apart(summary: Summary) -> bool:
    """Whether there are bags on both sides of some question."""
    predictions = summary.predictions
    if not predictions.task.has_classes or summary.only_class is not None:
        return False
    return bool(one_against_rest(predictions))


def _title(summary: Summary) -> str:
    """What the curves are about."""
    task = summary.predictions.task
    if task.has_positive_class:
        return f"{task.label_columns[0]}: {task.class_names[1]}"
    if not task.exclusive_classes:
        return "Each label"
    return f"{task.label_columns[0]}: each class against the rest"


def _calibration(compared: Compared) -> tuple[Figure, str]:
    summary = compared.summary
    before = reliability_curve(summary.predictions)
    label = f"as predicted: ECE {summary.metrics.interval('ece')}"
    lines = [Line(before.confidence, before.frequency, label, None, before.low, before.high)]
    if summary.calibrated is not None:
        after = reliability_curve(summary.calibrated.scaling.predictions)
        label = f"after temperature scaling: ECE {summary.calibrated.after['ece']:.3f}"
        lines.append(Line(after.confidence, after.frequency, label))
    confidences = forecasts_of(summary.predictions).confidence
    title = ", ".join(summary.predictions.task.label_columns)
    figure = calibration_figure(lines, confidences, before.what, title)
    return figure, "How often predictions of each probability were right; bars: 95 % intervals"


def _confusion(compared: Compared) -> tuple[Figure, str]:
    summary, predictions = compared.summary, compared.summary.predictions
    task, number = predictions.task, predictions.task.num_classes
    decided, how = predictions.probabilities.argmax(axis=1), "most probable class"
    if task.has_positive_class:
        own = summary.threshold is not None  # which comes first
        point = summary.operating_points[0 if own or len(summary.operating_points) < 2 else 1]
        decided = point.called.astype(np.int64)
        how = f"cut-off: {point.rule}, chosen on {point.chosen_on}"
        if point.rule == "0.5":
            how = "cut-off 0.5"
    counts = np.zeros((number, number), dtype=np.int64)
    np.add.at(counts, (predictions.labels, decided), 1)
    caption = how[:1].upper() + how[1:]
    figure = confusion_figure(counts, task.class_names, task.label_columns[0], caption=caption)
    return figure, f"True against predicted class; {how}"


def _survival(compared: Compared) -> tuple[Figure, str]:
    predictions, groups = compared.summary.predictions, compared.summary.survival
    assert groups is not None
    last = float(predictions.labels[:, 0].max())
    # Round steps from 0, not beyond the last time.
    step = 10.0 ** np.floor(np.log10(last / NUM_TICKS))
    factor = next(f for f in (1, 2, 5, 10, 20) if last / (f * step) < NUM_TICKS)
    ticks = np.arange(0.0, last, factor * step)
    lines = []
    for name, curve in (("low risk", groups.low), ("high risk", groups.high)):
        events = int(curve.events.sum())
        median = f"median {curve.median:.4g}" if np.isfinite(curve.median) else "median not reached"
        label = f"{name}: {curve.at_risk[0]} patients, {events} events, {median}"
        at_risk = curve.num_at_risk(ticks).tolist()
        lines.append(
            SurvivalLine(curve.times, curve.survival, curve.low, curve.high, name, label, at_risk)
        )
    figure = survival_figure(
        lines,
        ticks,
        time_label=predictions.task.label_columns[0],
        title="Survival by predicted risk",
        note=f"cut at {groups.cut}; log-rank {format_p(groups.test.p)}",
    )
    return figure, "Kaplan-Meier curves; shaded: 95 % intervals"


def _agreement(compared: Compared) -> tuple[Figure, str]:
    summary, predictions = compared.summary, compared.summary.predictions
    assert predictions.predicted.value is not None
    note = "\n".join(
        f"{words} {summary.metrics.interval(name)}"
        for name, words in (("r2", "R²"), ("mae", "mean absolute error"), ("spearman", "Spearman"))
    )
    column = predictions.task.label_columns[0]
    figure = agreement_figure(predictions.labels, predictions.predicted.value, column, note=note)
    return figure, "Predicted against true values; dashed: equal"


CHARTS = (
    Chart("roc.png", _told_apart, _roc),
    Chart("precision_recall.png", _told_apart, _precision_recall),
    Chart("calibration.png", lambda s: s.predictions.task.has_classes, _calibration),
    Chart("confusion.png", lambda s: s.predictions.task.exclusive_classes, _confusion),
    Chart("survival.png", lambda s: s.survival is not None, _survival),
    Chart("agreement.png", lambda s: s.predictions.task.output == "value", _agreement),
)
"""Every chart, in the order of the report."""

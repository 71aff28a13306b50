"""The pictures of `slidenet evaluate`: which ones a task has, and what they say."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from slidenet.evaluation import (
    Curve,
    CurveKind,
    Predictions,
    ReliabilityCurve,
    Summary,
    SurvivalGroups,
    align,
    discrimination_curve,
    forecasts_of,
    one_against_rest,
    reliability_curve,
)
from slidenet.evaluation.report.markdown import p_words
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
class Picture:
    """A figure with its file name and caption."""

    file: str
    caption: str
    figure: Figure


def draw_pictures(
    summary: Summary, judged: Predictions, other: Predictions | None, names: tuple[str, str]
) -> list[Picture]:
    """The pictures of the task.

    Args:
        summary: The findings.
        judged: The predictions.
        other: Of the model compared with, drawn beside them for a binary task.
        names: Of the two models.
    """
    if judged.task.is_survival:
        return [] if summary.survival is None else [_survival(judged, summary.survival)]
    if not judged.task.has_classes:
        return [_agreement(summary, judged)]
    pictures = [
        _roc(summary, judged, other, names),
        _precision_recall(summary, judged, other, names),
        _calibration(summary, judged),
    ]
    return [*pictures, _confusion(summary)] if judged.task.exclusive_classes else pictures


def _roc(
    summary: Summary, judged: Predictions, other: Predictions | None, names: tuple[str, str]
) -> Picture:
    lines = _lines(summary, judged, other, names, "auroc", "AUROC")
    caption = "ROC curves; shaded: pointwise 95 % bootstrap band"
    return Picture("roc.png", caption, roc_figure(lines, _title(judged)))


def _precision_recall(
    summary: Summary, judged: Predictions, other: Predictions | None, names: tuple[str, str]
) -> Picture:
    lines = _lines(summary, judged, other, names, "average_precision", "average precision")
    prevalences = [float(truth.mean()) for _, _, truth, _ in one_against_rest(judged)]
    caption = "Precision against recall; dashed: the share of positive bags"
    figure = precision_recall_figure(lines, prevalences, _title(judged))
    return Picture("precision_recall.png", caption, figure)


def _lines(
    summary: Summary,
    judged: Predictions,
    other: Predictions | None,
    names: tuple[str, str],
    metric: str,
    words: str,
) -> list[Line]:
    """One line per class; for a binary task one per model. Bands only where they can be told."""
    settings = summary.settings
    kind: CurveKind = "roc" if metric == "auroc" else "precision_recall"
    curves = one_against_rest(judged)
    labels = []
    for class_name, *_ in curves:
        key = metric if judged.task.has_positive_class else f"{metric}_{class_name}"
        shown = names[0] if judged.task.has_positive_class else class_name
        labels.append(f"{shown}: {words} {summary.metrics.interval(key)}")
    if judged.task.has_positive_class and other is not None and summary.comparison is not None:
        curves += one_against_rest(align(judged, other))
        labels.append(f"{names[1]}: {words} {summary.comparison.second.interval(metric)}")
    resamples = settings.num_bootstrap if len(curves) <= 2 else 0
    return [
        _line(
            discrimination_curve(
                kind, score, truth, patients, num_resamples=resamples, seed=settings.seed
            ),
            label,
        )
        for (_, score, truth, patients), label in zip(curves, labels, strict=True)
    ]


def _line(curve: Curve, label: str) -> Line:
    if not len(curve.band_x):
        return Line(curve.x, curve.y, label)
    return Line(curve.x, curve.y, label, curve.band_x, curve.low, curve.high)


def _calibration(summary: Summary, judged: Predictions) -> Picture:
    before = reliability_curve(judged)
    label = f"as predicted: ECE {summary.metrics.interval('ece')}"
    lines = [_reliability(before, label)]
    if summary.calibrated is not None:
        after = reliability_curve(summary.calibrated.scaling.predictions)
        label = f"after temperature scaling: ECE {summary.calibrated.after['ece']:.3f}"
        lines.append(Line(after.confidence, after.frequency, label))
    caption = "How often predictions of each probability were right; bars: 95 % intervals"
    title = ", ".join(judged.task.label_columns)
    confidences = forecasts_of(judged).confidence
    figure = calibration_figure(lines, confidences, before.what, title)
    return Picture("calibration.png", caption, figure)


def _reliability(curve: ReliabilityCurve, label: str) -> Line:
    return Line(curve.confidence, curve.frequency, label, None, curve.low, curve.high)


def _confusion(summary: Summary) -> Picture:
    predictions = summary.predictions
    task, number = predictions.task, predictions.task.num_classes
    if task.has_positive_class:
        point = summary.operating_points[min(1, len(summary.operating_points) - 1)]
        decided = point.called.astype(np.int64)
        how = f"cut-off by {point.rule}, chosen on {point.chosen_on}"
        if point.rule == "0.5":
            how = "cut-off 0.5"
    else:
        decided, how = predictions.probabilities.argmax(axis=1), "most probable class"
    counts = np.zeros((number, number), dtype=np.int64)
    np.add.at(counts, (predictions.labels, decided), 1)
    caption = how[:1].upper() + how[1:]
    figure = confusion_figure(counts, task.class_names, task.label_columns[0], caption=caption)
    return Picture("confusion.png", f"True against predicted class; {how}", figure)


def _survival(judged: Predictions, groups: SurvivalGroups) -> Picture:
    last = float(judged.labels[:, 0].max())
    ticks = _round_ticks(last)
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
        time_label=judged.task.label_columns[0],
        title="Survival by predicted risk",
        note=f"cut at {groups.cut}; log-rank {p_words(groups.test.p)}",
    )
    return Picture("survival.png", "Kaplan-Meier curves; shaded: 95 % intervals", figure)


def _agreement(summary: Summary, judged: Predictions) -> Picture:
    assert judged.predicted.value is not None
    note = "\n".join(
        f"{words} {summary.metrics.interval(name)}"
        for name, words in (("r2", "R²"), ("mae", "mean absolute error"), ("spearman", "Spearman"))
    )
    figure = agreement_figure(
        judged.labels, judged.predicted.value, judged.task.label_columns[0], note=note
    )
    return Picture("agreement.png", "Predicted against true values; dashed: equal", figure)


def _round_ticks(last: float) -> npt.NDArray[np.float64]:
    """From 0 in round steps, at most `NUM_TICKS`, not beyond the last time."""
    step = 10.0 ** np.floor(np.log10(last / NUM_TICKS))
    factor = next(f for f in (1, 2, 5, 10, 20) if last / (f * step) < NUM_TICKS)
    return np.arange(0.0, last, factor * step)


def _title(predictions: Predictions) -> str:
    """What the curves are about."""
    task = predictions.task
    if task.has_positive_class:
        return f"{task.label_columns[0]}: {task.class_names[1]}"
    if not task.exclusive_classes:
        return "Each label"
    return f"{task.label_columns[0]}: each class against the rest"

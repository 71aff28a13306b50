"""The findings in words: `report.md`, whose first sentence is the result, and its tables as CSV."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from slidenet.evaluation.conformal import ConformalSets
from slidenet.evaluation.predictions.record import Predictions
from slidenet.evaluation.report.summary import Calibrated, Summary
from slidenet.evaluation.statistics.bootstrap import Interval
from slidenet.evaluation.statistics.comparison import Comparison
from slidenet.evaluation.statistics.survival import SurvivalGroups
from slidenet.metrics import metric_words

Row = Sequence[Any]


def first_sentence(summary: Summary, name: str, other: str = "") -> str:
    """The result: the headline metric with its interval, or which of two models wins.

    Args:
        summary: The findings.
        name: The model, as the reader knows it.
        other: The model compared with.
    """
    task = summary.predictions.task
    metric, value = metric_words(task.headline), summary.headline
    if np.isnan(value.value):
        return (
            f"The {metric} of {name} is not defined on {_counts(summary.predictions)}"
            f"{_absent_classes(summary.predictions)}."
        )
    if summary.comparison is None:
        return (
            f"{name} reaches {_an(metric)} {value.value:.3f} (95 % interval "
            f"{value.low:.3f} to {value.high:.3f}) on {_counts(summary.predictions)}."
        )
    found = summary.comparison
    second = found.second.values[found.metric]
    sure = f"{_span(found.difference)}, {p_words(found.p)}, {found.method}"
    where = f"on {_counts(summary.predictions)}"
    if found.verdict == 0:
        return (
            f"{name} and {other} cannot be told apart {where}: {metric} {value.value:.3f} and "
            f"{second:.3f}, difference {found.difference.value:+.3f} ({sure})."
        )
    winner, loser = (name, other) if found.verdict > 0 else (other, name)
    values = (value.value, second) if found.verdict > 0 else (second, value.value)
    by = found.difference if found.verdict > 0 else _negated(found.difference)
    sure = f"{_span(by)}, {p_words(found.p)}, {found.method}"
    return (
        f"{winner} beats {loser} by {abs(by.value):.3f} {metric} ({sure}) {where}: "
        f"{values[0]:.3f} and {values[1]:.3f}."
    )


def markdown(
    summary: Summary,
    name: str,
    other: str = "",
    pictures: Sequence[tuple[str, str]] = (),
    cautions: Sequence[str] = (),
) -> str:
    """The text of `report.md`.

    Args:
        summary: The findings.
        name: The model judged.
        other: The model compared with.
        pictures: File name and caption of each picture.
        cautions: What must be known before the first sentence is quoted.
    """
    parts = [first_sentence(summary, name, other), *(f"**{words}**" for words in cautions)]
    parts += [_reading(summary), "## Metrics"]
    parts.append(_table(metric_header(summary), metric_rows(summary, digits=3)))
    if summary.comparison is not None:
        parts += ["## Comparison", _comparison(summary, summary.comparison, name, other)]
    if summary.operating_points:
        parts += ["## Cut-offs", _cut_offs(summary)]
    if summary.calibrated is not None:
        parts += ["## Calibration", _calibration(summary.calibrated)]
    if summary.conformal is not None:
        parts += ["## Prediction sets", _conformal(summary, summary.conformal)]
    if summary.survival is not None:
        parts += ["## Survival by predicted risk", _survival(summary.survival)]
    if summary.notes:
        parts += ["## Not computed", "\n".join(f"- {note}" for note in summary.notes)]
    if pictures:
        parts += ["## Pictures", *(f"![{caption}]({file})" for file, caption in pictures)]
    return "\n\n".join(parts) + "\n"


def metric_header(summary: Summary) -> tuple[str, ...]:
    """Columns of the table of metrics."""
    folds = ("fold_mean", "fold_sd") if summary.by_fold else ()
    return ("metric", "value", "low", "high", *folds)


def metric_rows(summary: Summary, *, digits: int | None = None) -> list[Row]:
    """The table of metrics; words and rounded numbers with `digits`, else names and all digits."""
    rows: list[Row] = []
    for name, interval in summary.metrics.intervals().items():
        numbers = [interval.value, interval.low, interval.high]
        if summary.by_fold:
            numbers += summary.fold_spread(name)
        words = name if digits is None else metric_words(name, summary.predictions.task.class_names)
        rows.append((words, *(_number(n, digits) for n in numbers)))
    return rows


def comparison_rows(summary: Summary, comparison: Comparison) -> list[Row]:
    """Every metric of both models, their difference with its interval, and p (all bootstrap)."""
    differences = comparison.differences
    return [
        (
            name,
            _number(summary.metrics.values[name]),
            _number(comparison.second.values[name]),
            *(_number(n) for n in (interval.value, interval.low, interval.high)),
            _number(differences.p_value(name)),
        )
        for name, interval in differences.intervals().items()
    ]


def conformal_rows(summary: Summary, sets: ConformalSets) -> tuple[Row, list[Row]]:
    """Header and rows of `conformal.csv`: each judged bag with its set."""
    predictions, names = summary.predictions, summary.predictions.task.class_names
    header = ("bag_id", "patient_id", *predictions.task.label_columns, "set_size", "covered")
    rows: list[Row] = []
    for row, inside in zip(sets.rows.tolist(), sets.sets, strict=True):
        truth = int(predictions.labels[row])
        rows.append(
            (
                predictions.bag_ids[row],
                predictions.patient_ids[row] or "",
                names[truth],
                int(inside.sum()),
                int(inside[truth]),
                *(int(i) for i in inside),
            )
        )
    return (*header, *(f"in_set_{name}" for name in names)), rows


def csv_text(header: Row, rows: Iterable[Row]) -> str:
    """A table as CSV."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def p_words(p: float) -> str:
    """`p = 0.012`, or `p < 0.001`."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def _reading(summary: Summary) -> str:
    """How the numbers were made: task, patients, resamples."""
    predictions, metrics = summary.predictions, summary.metrics
    task = predictions.task
    lines = [f"Task: {task.kind} ({', '.join(task.label_columns)})."]
    if task.has_positive_class:
        lines.append(f"The positive class is {task.class_names[1]}.")
        lines.append("Balanced accuracy and F1 are at a cut-off of 0.5.")
    elif task.class_names:
        lines.append(f"Classes: {', '.join(task.class_names)}.")
    if not any(predictions.patient_ids):
        lines.append("The file names no patients, so every bag counts as a patient of its own.")
    elif predictions.bag_ids == predictions.patient_ids:
        lines.append("A bag is a patient, not a slide.")
    lines.append(
        f"Intervals are 95 % percentiles of {metrics.num_resamples:,} bootstrap resamples of "
        f"{metrics.num_patients} patients (seed {summary.settings.seed}); "
        f"{metrics.num_redrawn} resamples lacked a class or a comparable pair and were drawn again."
    )
    if summary.headline.low == summary.headline.high:
        lines.append(
            "An interval without width says that the resamples look alike, not that the number is "
            "certain: there are too few bags, or they are too easy, for a bootstrap."
        )
    if any(
        metrics.values[name] < interval.low
        for name, interval in metrics.intervals().items()
        if name.startswith("ece")
    ):
        lines.append(
            "The expected calibration error can lie below its own interval: a resample holds some "
            "bags several times and others never, which makes its bins noisier and so the error "
            "larger. Read the interval as an upper bound."
        )
    if summary.by_fold:
        lines.append(
            f"Predictions of {len(summary.by_fold)} folds are pooled; fold_mean and fold_sd are "
            "over the folds on which the metric is defined. Intervals are about other patients for "
            "these models, not about training them again."
        )
    return " ".join(lines)


def _comparison(summary: Summary, found: Comparison, name: str, other: str) -> str:
    task = summary.predictions.task
    header = ("metric", name, other, "difference", "low", "high", "p")
    rows = []
    for metric, *numbers in comparison_rows(summary, found):
        cells = [_number(float(n), 3) for n in numbers]
        rows.append((metric_words(metric, task.class_names), *cells))
    return (
        f"Differences are {name} minus {other}, by paired bootstrap of patients; p is for "
        "no difference, two-sided, not corrected for looking at several metrics, and "
        f"{2 / (found.differences.num_resamples + 1):.3f} at least with so many resamples. "
        f"The first sentence uses {found.method}.\n\n{_table(header, rows)}"
    )


def _cut_offs(summary: Summary) -> str:
    header = ("rule", "cut-off", "chosen on", "sensitivity", "specificity", "PPV", "NPV")
    rows = [
        (
            p.rule,
            f"{p.threshold:.3f}",
            p.chosen_on,
            *map(str, (p.sensitivity, p.specificity, p.ppv, p.npv)),
        )
        for p in summary.operating_points
    ]
    return (
        "No cut-off was chosen on the bags it is judged on; where folds have their own, the mean "
        "is given. PPV and NPV hold for this share of positive bags "
        f"({float(np.mean(summary.predictions.labels == 1)):.1%}). Intervals are Wilson's, at the "
        f"effective number of independent bags.\n\n{_table(header, rows)}"
    )


def _calibration(found: Calibrated) -> str:
    words = {"ece": "expected calibration error", "brier": "Brier score", "log_loss": "log loss"}
    rows = [(w, f"{found.before[n]:.3f}", f"{found.after[n]:.3f}") for n, w in words.items()]
    each = ", ".join(f"{t:.2f}" for t in found.scaling.temperatures)
    return (
        f"Temperature scaling, each bag by a temperature fitted on {found.scaling.fitted_on} "
        f"({each}). For new bags: {found.temperature:.3f}, fitted on all; above 1 means the model "
        f"was too sure.\n\n{_table(('error', 'as predicted', 'after scaling'), rows)}"
    )


def _conformal(summary: Summary, found: ConformalSets) -> str:
    names = summary.predictions.task.class_names
    by_class = ", ".join(
        f"{name} {share}" for name, share in zip(names, found.class_coverage, strict=True)
    )
    sizes = np.bincount(found.sizes, minlength=len(names) + 1)
    spread = ", ".join(f"{count} of size {size}" for size, count in enumerate(sizes) if count)
    infinite = np.isinf(found.predictor.thresholds)
    lines = [
        f"Split-conformal sets ({found.predictor.method.upper()}"
        + (", one threshold per class" if summary.settings.class_conditional else "")
        + f") that should hold the true class for {1 - found.predictor.alpha:.0%} of bags: "
        f"calibrated on {found.num_calibration} bags of {found.num_calibration_patients} patients, "
        f"they hold it for {found.coverage} of the other {len(found.rows)}. "
        f"Sets: {spread}; mean size {found.sizes.mean():.2f}. By class: {by_class}."
    ]
    if infinite.any():
        lines.append("Too few calibration bags for this promise, so some sets hold every class.")
    return " ".join(lines)


def _survival(found: SurvivalGroups) -> str:
    rows = [
        (
            name,
            int(curve.at_risk[0]),
            int(curve.events.sum()),
            f"{curve.median:.4g}" if np.isfinite(curve.median) else "not reached",
        )
        for name, curve in (("low risk", found.low), ("high risk", found.high))
    ]
    test = found.test
    return (
        f"Patients are cut at {found.cut}. Log-rank test: chi-squared {test.statistic:.2f}, "
        f"{test.degrees} degree of freedom, {p_words(test.p)}.\n\n"
        + _table(("group", "patients", "events", "median survival"), rows)
    )


def _table(header: Row, rows: Iterable[Row]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(c).replace("|", "\\|") for c in r) + " |" for r in lines)


def _number(value: float, digits: int | None = None) -> str:
    if np.isnan(value):
        return "" if digits is None else "not defined"
    return repr(float(value)) if digits is None else f"{value:.{digits}f}"


def _counts(predictions: Predictions) -> str:
    bags, patients = predictions.num_bags, predictions.num_patients
    return (
        f"{bags:,} bag{'s' * (bags != 1)} of {patients:,} patient{'s' * (patients != 1)}"
        if any(predictions.patient_ids)
        else f"{bags:,} bags"
    )


def _absent_classes(predictions: Predictions) -> str:
    """Which classes have no bag, for metrics that need all of them."""
    task = predictions.task
    if not task.exclusive_classes:
        return ""
    absent = [n for k, n in enumerate(task.class_names) if k not in predictions.labels]
    return f": no bag of class {', '.join(absent)}" if absent else ""


def _span(interval: Interval) -> str:
    return f"95 % interval {interval.low:.3f} to {interval.high:.3f}"


def _negated(interval: Interval) -> Interval:
    return Interval(-interval.value, -interval.high, -interval.low)


def _an(metric: str) -> str:
    return f"{'an' if metric[0] in 'AaeRi' else 'a'} {metric} of"

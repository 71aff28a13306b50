"""The findings as text: `report.md`, whose first sentence is the result."""

from collections.abc import Iterable, Sequence

import numpy as np

from slidenet.core.escapes import in_markdown
from slidenet.core.text import plural
from slidenet.evaluation.conformal import ConformalSets
from slidenet.evaluation.predictions.record import ONE_PATIENT_PER_FOLD, Predictions
from slidenet.evaluation.report.summary import Calibrated, Summary
from slidenet.evaluation.report.tables import (
    Row,
    comparison_rows,
    metric_header,
    metric_rows,
    site_header,
    site_rows,
)
from slidenet.evaluation.statistics.bootstrap import Interval
from slidenet.evaluation.statistics.comparison import Comparison
from slidenet.evaluation.statistics.proportions import proportion_interval
from slidenet.evaluation.statistics.survival import SurvivalGroups
from slidenet.metrics import DEFAULT_THRESHOLD, METRICS, metric_words
from slidenet.tasks import MulticlassTask, TaskKind


def first_sentence(summary: Summary, name: str, other: str = "") -> str:
    """The result: the headline metric with its interval, or which of two models wins.

    Args:
        summary: The findings.
        name: The model, as the reader knows it.
        other: The model compared with.
    """
    task = summary.predictions.task
    metric, value = metric_words(task.headline), summary.headline
    if summary.only_class is not None:
        return _one_class(summary, name)
    if np.isnan(value.value):
        absent: list[str] = []
        if task.exclusive_classes:
            labels = summary.predictions.labels
            absent = [class_ for k, class_ in enumerate(task.class_names) if k not in labels]
        why = f": no bag of class {', '.join(absent)}" if absent else ""
        text = f"The {metric} of {name} is not defined on {_counts(summary.predictions)}{why}."
        over_present = summary.mean_over_present(task.headline)
        if over_present is None:
            return text
        mean, present = over_present
        return (
            f"{text} Over {', '.join(present)} alone it is {mean.value:.3f} (95 % interval "
            f"{mean.low:.3f} to {mean.high:.3f})."
        )
    if summary.comparison is None:
        article = "an" if metric[0] in "AaeRi" else "a"
        return (
            f"{name} reaches {article} {metric} of {value.value:.3f} (95 % interval "
            f"{value.low:.3f} to {value.high:.3f}) on {_counts(summary.predictions)}."
        )
    found, where = summary.comparison, f"on {_counts(summary.predictions)}"
    first, second = value.value, found.second.values[found.metric]
    difference = found.difference
    if found.verdict < 0:
        name, other, first, second = other, name, second, first
        difference = Interval(-difference.value, -difference.high, -difference.low)
    sure = (
        f"95 % interval {difference.low:.3f} to {difference.high:.3f}, {format_p(found.p)}, "
        f"{found.method}"
    )
    if found.verdict == 0:
        return (
            f"{name} and {other} cannot be told apart {where}: {metric} {first:.3f} and "
            f"{second:.3f}, difference {difference.value:+.3f} ({sure})."
        )
    return (
        f"{name} beats {other} by {abs(difference.value):.3f} {metric} ({sure}) {where}: "
        f"{first:.3f} and {second:.3f}."
    )


def _one_class(summary: Summary, name: str) -> str:
    """The result on bags of one class only: how many of them are called so."""
    predictions, only = summary.predictions, summary.only_class
    task = predictions.task
    assert only is not None
    cut = DEFAULT_THRESHOLD if summary.threshold is None else summary.threshold
    decided = task.decide(predictions.predicted, cut) or []
    right = np.array([called == task.class_names[only] for called in decided])
    share = proportion_interval(right, predictions.patients)
    what, where = f"share of {task.class_names[only]} that is called so", ""
    if task.has_positive_class:
        what, where = ("specificity", "sensitivity")[only], f" at the cut-off {cut:.3f}"
    return (
        f"All {_counts(predictions)} are {task.class_names[only]}: {name} has a {what} of "
        f"{share.value:.3f} (95 % interval {share.low:.3f} to {share.high:.3f}){where}; nothing "
        "else is defined."
    )


def cautions(summary: Summary, named_task: TaskKind | None) -> tuple[str, ...]:
    """Warnings that belong right after the first sentence; empty where it can be quoted as it is.

    Args:
        summary: The findings.
        named_task: The task as the user named it; None where it was read off the columns.
    """
    found = []
    task = summary.predictions.task
    if named_task is None and isinstance(task, MulticlassTask):
        found.append(
            f"The task was read off the columns as multiclass. If the classes "
            f"({', '.join(task.class_names)}) have an order, say --task ordinal, which judges by "
            "kappa; --task multiclass if not."
        )
    metric = METRICS[task.headline]
    pooled, (mean, spread) = summary.headline, summary.fold_spread(metric.name)
    beyond = np.isfinite(mean) and not pooled.low <= mean <= pooled.high
    if metric.of_order and beyond:  # only the order of bags suffers where folds differ in scale
        found.append(
            f"Do not quote this {metric.words}: within the folds it is {mean:.3f} on average (SD "
            f"{spread:.3f}), beyond the interval of the pooled {pooled.value:.3f}. The scores of "
            "the folds are not on one scale, so ordering bags of different folds says more of "
            "their models than of the bags. Quote the mean over the folds; cut-offs, curves and "
            "comparisons here are of pooled scores too."
        )
    if metric.of_order and summary.predictions.one_patient_per_fold:
        found.append(ONE_PATIENT_PER_FOLD)
    return tuple(found)


def markdown(
    summary: Summary,
    name: str,
    other: str = "",
    pictures: Sequence[tuple[str, str]] = (),
    cautions: Sequence[str] = (),
    lines: Sequence[str] = (),
) -> str:
    """The text of `report.md`.

    Args:
        summary: The findings.
        name: The model judged.
        other: The model compared with.
        pictures: File name and caption of each picture.
        cautions: What must be known before the first sentence is quoted.
        lines: How the predictions came about, a paragraph each.
    """
    parts = [in_markdown(first_sentence(summary, name, other))]
    parts += [f"**{in_markdown(words)}**" for words in cautions]
    parts += [in_markdown(line) for line in (how_judged(summary), *lines)]
    parts.append("## Metrics")
    parts.append(_table(metric_header(summary), metric_rows(summary, digits=3)))
    if summary.comparison is not None:
        parts += ["## Comparison", _comparison(summary, summary.comparison, name, other)]
    if summary.sites:
        parts += ["## By centre", _table(site_header(summary), site_rows(summary, digits=3))]
    if summary.operating_points:
        parts += ["## Cut-offs", _cut_offs(summary)]
    if summary.calibrated is not None:
        parts += ["## Calibration", _calibration(summary.calibrated)]
    if summary.conformal is not None:
        parts += ["## Prediction sets", in_markdown(_conformal(summary, summary.conformal))]
    if summary.survival is not None:
        parts += ["## Survival by predicted risk", _survival(summary.survival)]
    if summary.notes:
        parts += ["## Not computed", "\n".join(f"- {in_markdown(note)}" for note in summary.notes)]
    if pictures:
        parts += [
            "## Pictures",
            *(f"![{in_markdown(caption)}]({file})" for file, caption in pictures),
        ]
    return "\n\n".join(parts) + "\n"


def format_p(p: float) -> str:
    """`p = 0.012`, or `p < 0.001`."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def how_judged(summary: Summary) -> str:
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
    header = ("metric", name, other, "difference", "low", "high", "p")
    rows = comparison_rows(summary, found, digits=3)
    first, second = in_markdown(name), in_markdown(other)
    return (
        f"Differences are {first} minus {second}, by paired bootstrap of patients; p is for "
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
    words = {name: METRICS[name].words for name in ("ece", "brier")} | {"log_loss": "log loss"}
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
        f"{test.degrees} degree of freedom, {format_p(test.p)}.\n\n"
        + _table(("group", "patients", "events", "median survival"), rows)
    )


def _table(header: Row, rows: Iterable[Row]) -> str:
    cells = [[in_markdown(str(cell)) for cell in row] for row in (header, *rows)]
    lines = [cells[0], ["---"] * len(header), *cells[1:]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _counts(predictions: Predictions) -> str:
    bags, patients = predictions.num_bags, predictions.num_patients
    return (
        f"{bags:,} {plural('bag', bags)} of {patients:,} {plural('patient', patients)}"
        if any(predictions.patient_ids)
        else f"{bags:,} bags"
    )
